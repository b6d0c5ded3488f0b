package instagram

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"postbus.dev/services/connectors/sandbox/stage"
)

const (
	shortLife    = time.Hour // of a code too
	longLife     = 60 * 24 * time.Hour
	publishScope = "instagram_business_content_publish"
	basicScope   = "instagram_business_basic"
)

// Account fills in what spec leaves open, from the username.
func (ig *Instagram) Account(spec stage.Account) (stage.Account, error) {
	if spec.Username == "" {
		return stage.Account{}, fmt.Errorf("an account needs a username")
	}
	sum := sha256.Sum256([]byte("instagram/" + spec.Username))
	spec.Provider = Name
	spec.ID = cmp.Or(spec.ID, fmt.Sprintf("1784140%010d", binary.BigEndian.Uint64(sum[:])%1e10))
	spec.AppID = cmp.Or(spec.AppID, fmt.Sprintf("2%016d", binary.BigEndian.Uint64(sum[8:])%1e16))
	spec.Token = cmp.Or(spec.Token, "IGAA"+hex.EncodeToString(sum[16:]))
	spec.Kind = cmp.Or(spec.Kind, "Business")
	spec.Name = cmp.Or(spec.Name, spec.Username)
	if spec.Scopes == nil {
		spec.Scopes = []string{basicScope, publishScope}
	}
	if err := ig.st.Accounts.Put(spec); err != nil {
		return stage.Account{}, err
	}
	issued := time.Now().Add(-ig.st.Scale(time.Duration(spec.TokenAge)))
	ig.issue(stage.Token{Value: spec.Token, Account: spec.ID, Kind: "access", Scopes: spec.Scopes, Issued: issued}, longLife)
	return spec, nil
}

// issue makes a token known that is good for life, from its Issued on.
func (ig *Instagram) issue(t stage.Token, life time.Duration) {
	t.Provider, t.Expires = Name, t.Issued.Add(ig.st.Scale(life))
	ig.st.Accounts.Issue(t)
}

// checkToken refuses calls without a token that works, and calls that its
// permissions do not cover.
func (ig *Instagram) checkToken(c *call) *apiError {
	t, e := ig.valid(c)
	if e != nil {
		return e
	}
	if c.name == CallDisconnect {
		return nil // who has a token may give it up
	}
	publishes := c.name == CallCreate || c.name == CallPublish || c.name == CallLimit
	if publishes && !slices.Contains(t.Scopes, publishScope) || !slices.Contains(t.Scopes, basicScope) {
		return documented(10, 0)
	}
	return nil
}

func (ig *Instagram) valid(c *call) (stage.Token, *apiError) {
	t, ok := ig.st.Accounts.Token(Name, c.token)
	switch {
	case !ok || t.Kind == "code":
		e := documented(190, 0)
		e.Message = "Invalid OAuth access token - Cannot parse access token"
		return t, e
	case t.Dead != nil:
		e := documented(cmp.Or(t.Dead.Code, 190), t.Dead.Subcode)
		e.Message = cmp.Or(t.Dead.Message, e.Message)
		return t, e
	case t.Expired() && t.Refreshable && c.name == CallRefresh:
		return t, nil
	case t.Expired():
		return t, ig.expired(t)
	}
	return t, nil
}

// expired is the error of a token whose time is over. It was seen with subcode
// 0 and with 463, with status 400 and 401, and with another type.
func (ig *Instagram) expired(t stage.Token) *apiError {
	e := documented(190, 463)
	e.Message = fmt.Sprintf("Error validating access token: Session has expired on %s. The current time is %s.",
		t.Expires.UTC().Format("Monday, 02-Jan-06 15:04:05 MST"), time.Now().UTC().Format("Monday, 02-Jan-06 15:04:05 MST"))
	if t.Refreshable || ig.alternate() { // 463 would say that no refresh helps
		e.Subcode, e.Status, e.Type = 0, 401, "IGApiException"
	}
	return e
}

// throttle counts the call against the account's limit.
func (ig *Instagram) throttle(c *call) *apiError {
	if c.account.CallLimit <= 0 {
		return nil
	}
	ig.mu.Lock()
	defer ig.mu.Unlock()
	u, now := ig.user(c.account.ID), time.Now()
	block := ig.st.Scale(19 * time.Minute)
	if now.Before(u.blockedUntil) {
		u.blockedUntil = now.Add(block) // calls made while throttled extend it
		return documented(80002, 0)
	}
	if now.Sub(u.callsSince) > ig.st.Scale(24*time.Hour) || !u.blockedUntil.IsZero() {
		u.calls, u.callsSince, u.blockedUntil = 0, now, time.Time{}
	}
	u.calls++
	if u.calls > c.account.CallLimit {
		u.blockedUntil = now.Add(block)
		return documented(80002, 0)
	}
	return nil
}

// me is GET /me: the two shapes are both documented or seen.
func me(ig *Instagram, c *call) (any, *apiError) {
	a := c.account
	all := map[string]any{
		"id": a.AppID, "user_id": a.ID, "username": a.Username, "name": a.Name, "account_type": a.Kind,
		"profile_picture_url": "https://scontent.cdninstagram.com/" + a.Username, "media_count": len(ig.user(a.ID).feed),
		"followers_count": 1, "follows_count": 1,
	}
	out := map[string]any{"id": a.AppID}
	for field := range fields(c) {
		v, ok := all[field]
		if !ok {
			return nil, errField(field, "IGUser")
		}
		out[field] = v
	}
	if ig.alternate() {
		return map[string]any{"data": []any{out}}, nil
	}
	return out, nil
}
