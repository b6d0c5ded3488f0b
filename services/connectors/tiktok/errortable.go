package tiktok

import (
	"net/http"
	"time"

	"postbus.dev/services/connectors"
	"postbus.dev/services/connectors/internal/answer"
)

// meaning is what an answer says that is no success.
type meaning int

const (
	obscure   meaning = iota // it cannot be read, or the name is not documented
	failed                   // TikTok has trouble; what it did before is not told
	limited                  // too many calls: it was counted before it was carried out
	ours                     // our client or our request is wrong: checked before anything else
	deadGrant                // a code or refresh token is not good, or not any more
	deadToken                // the same of an access token
	forbidden                // the person has not granted this
)

// meanings is TikTok's error table, as far as tokens go.
func meanings() map[string]meaning {
	return map[string]meaning{
		"invalid_grant":             deadGrant,
		"invalid_client":            ours,
		"unauthorized_client":       ours,
		"invalid_request":           ours,
		"invalid_scope":             ours,
		"unsupported_grant_type":    ours,
		"unsupported_response_type": ours,
		"server_error":              failed,
		"temporarily_unavailable":   failed,
		"internal_error":            failed,
		"rate_limit_exceeded":       limited,
		"access_token_invalid":      deadToken,
		"access_denied":             forbidden,
		"scope_not_authorized":      forbidden,
		"scope_permission_missed":   forbidden,
	}
}

// texts says it to people; there is none of TikTok's own, which may repeat what
// was sent.
func (m meaning) text() string {
	return map[meaning]string{
		obscure: "unreadable answer", failed: "TikTok has trouble", limited: "too many calls", ours: "TikTok refuses our client or request",
		deadGrant: "the code or token is not good any more", deadToken: "the access token is not good any more", forbidden: "a permission is missing",
	}[m]
}

// meaning goes by the status first, where it is one that is given before or
// after TikTok has looked at the call.
func (e *apiError) meaning() meaning {
	switch {
	case e.Status >= http.StatusInternalServerError:
		return failed
	case e.Status == http.StatusTooManyRequests:
		return limited
	}
	return meanings()[e.Name]
}

// limitWait is how long a rate limit rests: TikTok counts by the minute and
// documents no header that would tell.
const limitWait = time.Minute

func (c *Connector) limitWait(e *apiError) time.Duration {
	return c.scale(max(answer.RetryAfter(e.Header), limitWait))
}

func (c *Connector) fail(e *apiError, kind connectors.Kind, code string) *connectors.Error {
	return &connectors.Error{Kind: kind, Code: code, Call: e.Call, ProviderCode: e.providerCode(), Message: e.meaning().text()}
}

// wait is the error of a limit. It is our client's: the pages count by app where
// they do not count by token, and no token is what these calls are made with.
func (c *Connector) wait(e *apiError) *connectors.Error {
	out := c.fail(e, connectors.KindWait, connectors.CodeRateLimited)
	out.Reason, out.Scope, out.Wait = connectors.ReasonRateLimit, connectors.ScopeClient, c.limitWait(e)
	return out
}
