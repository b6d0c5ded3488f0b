package onlyfans

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"postbus.dev/services/connectors"
	"postbus.dev/services/connectors/internal/answer"
)

// The calls, as spans and errors name them.
const (
	callSession  = "client_session"
	callAccounts = "accounts"
	callDelete   = "account_delete"
)

// request is a call of the gateway. A handle in the path is not in the route.
func (c *Connector) request(name, method, route string, segments ...string) connectors.Request {
	address := c.base
	for _, s := range segments {
		address += "/" + url.PathEscape(s)
	}
	return connectors.Request{Name: name, Method: method, URL: address, Route: route, Token: c.key}
}

// account is one of the gateway's, as much of it as is read: there are secrets of
// the session in it, too.
type account struct {
	Handle        string    `json:"id"`
	OnlyFansID    answer.ID `json:"onlyfans_id"`
	Username      string    `json:"onlyfans_username"`
	DisplayName   string    `json:"display_name"`
	Reference     string    `json:"client_reference_id"`
	Authenticated bool      `json:"is_authenticated"`
}

// failure is what a refusal looks like, in the shapes that are known of it.
type failure struct {
	Upstream *struct {
		Status int `json:"status"`
	} `json:"onlyfans_response"`
}

const (
	// limitWait is how long a rate limit rests where the gateway does not tell: it
	// counts by the minute.
	limitWait = time.Minute
	// creditsWait is when spent credits are looked at again: somebody has to buy more.
	creditsWait = 15 * time.Minute
)

// judge says what an answer means that is no success. The key is the team's:
// what limits it limits everybody.
//
// What OnlyFans answered the gateway counts more than how the gateway wraps it:
// the two statuses differ in practice. An answer that is not JSON is from a
// front end that knows nothing.
func (c *Connector) judge(resp *connectors.Response) *connectors.Error {
	e := &connectors.Error{
		Kind: connectors.KindRetry, Code: connectors.CodeUnavailable, Call: resp.Call,
		ProviderCode: fmt.Sprintf("HTTP %d", resp.Status), Message: "unreadable answer, or trouble at the gateway",
	}
	var body failure
	readable := json.Unmarshal(resp.Body, &body) == nil
	switch {
	case resp.Status == http.StatusTooManyRequests:
		e.Kind, e.Code, e.Reason, e.Scope = connectors.KindWait, connectors.CodeRateLimited, connectors.ReasonRateLimit, connectors.ScopeProvider
		e.Wait, e.Message = c.scale(cmp.Or(answer.RetryAfter(resp.Header), limitWait)), "too many calls of our team"
	case resp.Status == http.StatusPaymentRequired:
		e.Kind, e.Code, e.Reason, e.Scope = connectors.KindWait, connectors.CodeQuotaExhausted, connectors.ReasonQuota, connectors.ScopeProvider
		e.Wait, e.Message = c.scale(creditsWait), "our team's credits at the gateway are used up"
	case !readable || resp.Status >= http.StatusInternalServerError:
	case body.Upstream != nil:
		e.ProviderCode = fmt.Sprintf("OnlyFans %d", body.Upstream.Status)
		if s := body.Upstream.Status; s == http.StatusUnauthorized || s == http.StatusForbidden {
			c.signedOut(e)
		}
	case resp.Status == http.StatusUnauthorized, resp.Status == http.StatusForbidden:
		e.Kind, e.Code, e.Message = connectors.KindReject, connectors.CodeInternal, "the gateway refuses our API key"
	case resp.Status >= http.StatusBadRequest:
		e.Kind, e.Code, e.Message = connectors.KindReject, connectors.CodeInternal, "the gateway refuses our request"
	}
	return e
}

func (c *Connector) signedOut(e *connectors.Error) {
	e.Kind, e.Code, e.Reason = connectors.KindReauthorize, connectors.CodeReauthRequired, connectors.ReasonSignedOut
	e.Wait, e.Message = c.scale(lookAgain), "the session at OnlyFans has ended"
}
