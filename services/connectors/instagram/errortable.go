package instagram

import "postbus.dev/services/connectors"

// row is what one documented error means: while preparing, and as the answer
// to media_publish. The second is more than "unknown" only where the error
// proves that the call was not carried out; the reason stands beside it.
type row struct {
	code, subcode int // star stands for every one
	prepare       action
	publish       action
	text          string
}

const star = -1 << 30

type errorTable map[[2]int]row

// lookup finds the row of a code and subcode. Some errors are known by their
// subcode alone.
func (t errorTable) lookup(code, subcode int) (row, bool) {
	for _, key := range [][2]int{{code, subcode}, {star, subcode}, {code, star}} {
		if r, ok := t[key]; ok {
			return r, true
		}
	}
	if code >= 200 && code <= 299 {
		return t[[2]int{200, star}], true
	}
	return row{}, false
}

// bySubcode finds the row that a failed container's status names.
func (t errorTable) bySubcode(subcode int) (row, bool) {
	for _, r := range t {
		if r.subcode == subcode {
			return r, true
		}
	}
	return row{}, false
}

func newErrorTable() errorTable {
	t := errorTable{}
	for _, group := range [][]row{temporary(), containerRows(), limitRows(), accountRows(), refusals()} {
		for _, r := range group {
			t[[2]int{r.code, r.subcode}] = r
		}
	}
	return t
}

func retry(a again) action {
	return action{kind: connectors.KindRetry, again: a, code: connectors.CodeUnavailable}
}

func unknownOutcome() action {
	return action{kind: connectors.KindUnknown, code: connectors.CodeUnavailable}
}

func reject(code string) action { return action{kind: connectors.KindReject, code: code} }

func refresh() action {
	return action{kind: connectors.KindRefresh, code: connectors.CodeReauthRequired, reason: connectors.ReasonToken}
}

func reauthorize() action {
	return action{kind: connectors.KindReauthorize, code: connectors.CodeReauthRequired, reason: connectors.ReasonReauth}
}

func limited(s connectors.Scope) action {
	return action{
		kind: connectors.KindWait, code: connectors.CodeRateLimited, reason: connectors.ReasonRateLimit, scope: s, wait: limitWait,
	}
}

func blocked(k connectors.Kind) action {
	return action{
		kind: k, code: connectors.CodeAccountRestricted, reason: connectors.ReasonRateLimit, scope: connectors.ScopeAccount, wait: blockWait,
	}
}

// temporary: the server had trouble. It may have published and had the trouble
// afterwards, which is seen in practice: unknown.
func temporary() []row {
	return []row{
		{1, star, retry(same), unknownOutcome(), "unknown error at Instagram"},
		{2, star, retry(same), unknownOutcome(), "temporary error at Instagram"},
		{-1, 2207001, retry(same), unknownOutcome(), "server error at Instagram"},
	}
}

// containerRows: something is wrong with the container. Where Meta asks for a
// new one, the outcome of media_publish is unknown: the old one has to be
// proven not PUBLISHED first, and only Find does that.
func containerRows() []row {
	notReady := action{kind: connectors.KindRetry, code: connectors.CodeUnavailable, wait: notReadyWait}
	return []row{
		{-1, 2207032, retry(fresh), unknownOutcome(), "container creation failed"},
		{-1, 2207053, retry(fresh), unknownOutcome(), "upload failed"},
		{-2, 2207003, retry(fresh), unknownOutcome(), "download of the media took too long"},
		{-2, 2207020, retry(fresh), unknownOutcome(), "media expired"},
		{star, 2207082, retry(fresh), unknownOutcome(), "media could not be uploaded"},
		// Unknown or expired creation id: documented with the advice to read
		// whether the container is published before anything else.
		{24, 2207008, retry(fresh), unknownOutcome(), "container unknown or expired"},
		// Media not found, or no permission for it. A dead token shows by
		// itself when the new container is created.
		{24, 2207006, retry(fresh), unknownOutcome(), "media not found"},
		// A proof: the container is refused because it is not ready, so the call
		// published nothing and the same container stays good.
		{9007, 2207027, notReady, notReady, "container not ready"},
		{9007, 0, notReady, notReady, "container not ready"},
		// The media host. Only creating a container fetches anything, so nothing
		// is known of it as an answer to media_publish.
		{9004, 2207052, action{kind: connectors.KindRetry, again: few, code: connectors.CodeMediaUnreachable}, unknownOutcome(), "media URL could not be fetched"},
		{star, 2207077, action{kind: connectors.KindRetry, again: few, code: connectors.CodeMediaUnreachable}, unknownOutcome(), "video could not be downloaded"},
		// A known recurring fault at Meta: the object may be there all the same.
		// It says neither "deleted" nor "not published".
		{100, 33, retry(same), unknownOutcome(), "object unreadable"},
	}
}

// limitRows: rate limits and quota. A proof, except for the blocks: the limit
// is counted before the call is carried out, and the quota is enforced by
// media_publish itself.
func limitRows() []row {
	quota := action{
		kind: connectors.KindWait, code: connectors.CodeQuotaExhausted, reason: connectors.ReasonQuota,
		scope: connectors.ScopeAccount, wait: quotaWait,
	}
	return []row{
		{4, 0, limited(connectors.ScopeClient), limited(connectors.ScopeClient), "application request limit reached"},
		// The same code with a subcode that is not documented could be a
		// relative of 2207051: unknown.
		{4, star, limited(connectors.ScopeClient), unknownOutcome(), "application request limit reached"},
		{17, star, limited(connectors.ScopeAccount), limited(connectors.ScopeAccount), "user request limit reached"},
		{32, star, limited(connectors.ScopeAccount), limited(connectors.ScopeAccount), "page request limit reached"},
		{613, star, limited(connectors.ScopeAccount), limited(connectors.ScopeAccount), "call rate limit reached"},
		{80002, star, limited(connectors.ScopeAccount), limited(connectors.ScopeAccount), "too many calls to this account"},
		{9, 2207042, quota, quota, "publishing quota of 24 hours used up"},
		// The anti-spam block has been seen on posts that were live. Besides the
		// look, the account has to rest for hours.
		{4, 2207051, blocked(connectors.KindWait), blocked(connectors.KindUnknown), "action blocked by Instagram's spam protection"},
		// The temporary policy block is its relative and documented no better.
		{368, star, blocked(connectors.KindWait), blocked(connectors.KindUnknown), "temporarily blocked for policy reasons"},
	}
}

// accountRows: token, permission, standing. A proof: who asks is checked before
// what is asked for, and all of them are refusals of whoever asked.
func accountRows() []row {
	const dead, gone = "access token expired or invalid", "account has to be connected again"
	rows := []row{
		// Subcode 463 says that the time of the token is over, which no refresh
		// repairs. Without it the token may only have been replaced a moment ago.
		{190, star, refresh(), refresh(), dead},
		{102, star, refresh(), refresh(), dead},
		{467, star, refresh(), refresh(), dead},
		{463, star, reauthorize(), reauthorize(), dead},
		{190, 463, reauthorize(), reauthorize(), dead},
		{3, star, reauthorize(), reauthorize(), "permission missing"},
		{10, star, reauthorize(), reauthorize(), "permission missing"},
		{200, star, reauthorize(), reauthorize(), "permission missing"}, // and up to 299
		{25, 2207050, reject(connectors.CodeAccountRestricted), reject(connectors.CodeAccountRestricted), "account restricted, checkpointed or inactive: its owner has to act in the app"},
	}
	// Removed app, checkpoint, password, unconfirmed user, no role.
	for _, subcode := range []int{458, 459, 460, 464, 492} {
		rows = append(rows, row{190, subcode, reauthorize(), reauthorize(), gone})
	}
	return rows
}

// refusals: Instagram will never take this post. Where the fault is one of the
// media or of a documented parameter it is a proof also from media_publish: a
// check of what would be published failed.
func refusals() []row {
	media, content := reject(connectors.CodeMediaRejected), reject(connectors.CodeContentRejected)
	return []row{
		// Any other bad parameter. media_publish gets one parameter, the
		// container's id, so what this means there nobody knows.
		{100, star, content, unknownOutcome(), "parameter refused"},
		{100, 2207023, content, content, "unknown media type"},
		{100, 2207028, content, content, "a carousel needs 2 to 10 items"},
		{100, 2207040, content, content, "too many tags"},
		{352, 2207026, media, media, "video format not supported"},
		{36000, 2207004, media, media, "image larger than 8 MiB"},
		{36001, 2207005, media, media, "image format not supported"},
		{36003, 2207009, media, media, "aspect ratio not supported"},
		{36004, 2207010, content, content, "caption too long"},
		{1, 2207057, content, content, "thumbnail offset outside of the video"},
		// Seen, not documented.
		{star, 2207081, content, unknownOutcome(), "account does not support trial reels"},
		// A duplicate of what? Possibly of this very container's post.
		{506, star, content, unknownOutcome(), "duplicate post"},
	}
}
