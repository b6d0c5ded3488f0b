package reddit

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"postbus.dev/services/connectors"
	"postbus.dev/services/connectors/internal/answer"
)

// meaning is what an answer says that is no success.
type meaning int

const (
	obscure   meaning = iota // it cannot be read, or nobody knows what it means
	failed                   // Reddit has trouble
	limited                  // too many calls, or a User-Agent that it does not like
	ours                     // our client or our request is refused
	deadGrant                // the code or refresh token is not good, or not any more
)

// names is the table of errors that have a name; they come with 200 and with 400.
func names() map[string]meaning {
	return map[string]meaning{
		"invalid_grant":             deadGrant,
		"unauthorized_client":       ours,
		"invalid_client":            ours,
		"invalid_request":           ours,
		"invalid_scope":             ours,
		"unsupported_grant_type":    ours,
		"unsupported_response_type": ours,
	}
}

// numbers is the table of errors that are a number, of the OAuth endpoints. Only
// with a body that says so: a front end has the same statuses.
func numbers() map[int]meaning {
	return map[int]meaning{
		http.StatusBadRequest:   deadGrant,
		http.StatusUnauthorized: ours,
		http.StatusForbidden:    ours,
	}
}

// texts says it to people; there is none of Reddit's own.
func (m meaning) text() string {
	return map[meaning]string{
		obscure: "unreadable answer", failed: "Reddit has trouble", limited: "too many calls", ours: "Reddit refuses our client or request",
		deadGrant: "the code or token is not good any more",
	}[m]
}

// meaning of an answer of the OAuth endpoints.
func (e *apiError) meaning() meaning {
	basic := strings.HasPrefix(strings.ToLower(e.Header.Get("Www-Authenticate")), "basic")
	switch {
	case e.Status >= http.StatusInternalServerError, e.Status == http.StatusRequestTimeout:
		return failed
	case e.Status == http.StatusTooManyRequests, e.Number == http.StatusTooManyRequests:
		return limited
	case e.Status == http.StatusUnauthorized && basic:
		return ours
	case e.Name != "":
		return names()[e.Name]
	case e.Number == e.Status:
		return numbers()[e.Number]
	}
	return obscure
}

// limitWait is how long a limit rests that does not say: calls are counted over
// ten minutes.
const limitWait = 10 * time.Minute

// wait reads how long it is until calls are taken again.
func (c *Connector) wait(e *apiError) time.Duration {
	if after := answer.RetryAfter(e.Header); after > 0 {
		return c.scale(after)
	}
	seconds, err := strconv.ParseFloat(e.Header.Get("X-Ratelimit-Reset"), 64)
	if err != nil || seconds <= 0 || seconds > limitWait.Seconds() {
		return c.scale(limitWait)
	}
	return c.scale(max(time.Duration(seconds*float64(time.Second)), time.Second))
}

func (c *Connector) fail(e *apiError, kind connectors.Kind, code string) *connectors.Error {
	return &connectors.Error{Kind: kind, Code: code, Call: e.Call, ProviderCode: e.providerCode(), Message: e.meaning().text()}
}

// rest is the error of a limit, which is our client's: Reddit counts by client id
// and not by account.
func (c *Connector) rest(e *apiError) *connectors.Error {
	out := c.fail(e, connectors.KindWait, connectors.CodeRateLimited)
	out.Reason, out.Scope, out.Wait = connectors.ReasonRateLimit, connectors.ScopeClient, c.wait(e)
	return out
}
