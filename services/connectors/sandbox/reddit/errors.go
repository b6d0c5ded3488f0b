package reddit

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"postbus.dev/services/connectors/sandbox/stage"
)

// period is over which calls are counted.
const period = 10 * time.Minute

func hasScope(t stage.Token, scope string) bool { return slices.Contains(t.Scopes, scope) }

func (rd *Reddit) json(status int, code string, body any) stage.Answer {
	b, err := json.Marshal(body)
	if err != nil {
		return stage.Answer{Status: http.StatusInternalServerError}
	}
	return stage.Answer{Status: status, Header: http.Header{"Content-Type": {"application/json; charset=UTF-8"}}, Body: b, Code: code}
}

// fail is an error with a number, which is the status again.
func (rd *Reddit) fail(status int, message string) stage.Answer {
	return rd.json(status, fmt.Sprint(status), map[string]any{"message": message, "error": status})
}

// named is an error of the token endpoint with a name, which comes with 200.
func (rd *Reddit) named(name string) stage.Answer {
	return rd.json(http.StatusOK, name, map[string]string{"error": name})
}

// badRefresh was recorded in two shapes.
func (rd *Reddit) badRefresh() stage.Answer {
	if rd.alternate() {
		return rd.json(http.StatusBadRequest, "400", map[string]int{"error": 400})
	}
	return rd.fail(http.StatusBadRequest, "Bad Request")
}

// bearer refuses an access token.
func (rd *Reddit) bearer(status int, message, name string) stage.Answer {
	a := rd.fail(status, message)
	a.Header.Set("Www-Authenticate", `Bearer realm="reddit", error="`+name+`"`)
	return a
}

// agent refuses callers that do not say who they are, with a page.
func (rd *Reddit) agent(c *call) *stage.Answer {
	if !rd.Now().Strict || strings.Count(c.agent, ":") >= 2 {
		return nil
	}
	a := page(http.StatusTooManyRequests, "whoa there, pardner! Your User-Agent has to say who you are.")
	return &a
}

func page(status int, text string) stage.Answer {
	return stage.Answer{
		Status: status, Header: http.Header{"Content-Type": {"text/html; charset=UTF-8"}}, Code: fmt.Sprint(status),
		Body: fmt.Appendf(nil, "<!doctype html><html><title>%s</title><body>%s</body></html>", http.StatusText(status), text),
	}
}

// count counts a call of a client, or refuses it.
func (rd *Reddit) count(client string) *stage.Answer {
	w := rd.windows[client]
	if time.Since(w.began) >= rd.st.Scale(period) {
		w = window{began: time.Now()}
	}
	w.used++
	rd.windows[client] = w
	if w.used <= rd.Now().Calls {
		return nil
	}
	a := rd.fail(http.StatusTooManyRequests, "Too Many Requests")
	rd.rate(a.Header, client)
	return &a
}

// rate writes what is left: as a float or an integer, the time in seconds of the
// provider.
func (rd *Reddit) rate(h http.Header, client string) {
	w := rd.windows[client]
	left, format := max(0, rd.Now().Calls-w.used), "%d.0"
	if rd.alternate() {
		format = "%d"
	}
	passed := period.Seconds() * float64(time.Since(w.began)) / float64(rd.st.Scale(period))
	h.Set("X-Ratelimit-Used", fmt.Sprint(w.used))
	h.Set("X-Ratelimit-Remaining", fmt.Sprintf(format, left))
	h.Set("X-Ratelimit-Reset", fmt.Sprint(int(math.Ceil(max(0, period.Seconds()-passed)))))
}

// Switches are the faults that only Reddit has.
func (rd *Reddit) Switches() []stage.Switch {
	token := []string{CallCode, CallRefresh, CallRevoke}
	all := append(token, CallMe)
	number := func(status int) func(stage.Fault) stage.Answer {
		return func(stage.Fault) stage.Answer { return rd.fail(status, http.StatusText(status)) }
	}
	list := []struct {
		name, about string
		calls       []string
		params      map[string]string
		after       bool
		answer      func(stage.Fault) stage.Answer
	}{
		{"error", "any named error of the token endpoint, with 200", token, map[string]string{"message": "the name, default invalid_grant"}, false,
			func(f stage.Fault) stage.Answer { return rd.named(orName(f.Message)) }},
		{"grant_dead", "400 with the error as a number, though the token is good", []string{CallRefresh}, nil, false, number(http.StatusBadRequest)},
		{"client_refused", "401: client id or secret", token, nil, false, func(stage.Fault) stage.Answer {
			a := rd.fail(http.StatusUnauthorized, "Unauthorized")
			a.Header.Set("Www-Authenticate", `Basic realm="reddit"`)
			return a
		}},
		{"rate_limited", "429 in JSON", all, map[string]string{"delay": "Retry-After, provider time"}, false, func(f stage.Fault) stage.Answer {
			a := rd.fail(http.StatusTooManyRequests, "Too Many Requests")
			if f.Delay > 0 {
				a.Header.Set("Retry-After", fmt.Sprint(max(1, int(time.Duration(f.Delay).Seconds()))))
			}
			return a
		}},
		{"pardner", "429 as a page, as for a bad User-Agent", all, nil, false, func(stage.Fault) stage.Answer { return page(429, "whoa there, pardner!") }},
		{"blocked", "403 as a page: blocked by network security", all, nil, false,
			func(stage.Fault) stage.Answer { return page(403, "You've been blocked by network security.") }},
		{"bad_gateway_page", "400 as a page of whoever stands between", all, nil, false, func(stage.Fault) stage.Answer { return page(400, "Bad Request") }},
		{"fails_after", "500 with a number, though the call was carried out", token, nil, true, number(http.StatusInternalServerError)},
	}
	switches := make([]stage.Switch, len(list))
	for i, d := range list {
		switches[i] = stage.Switch{
			Name: d.name, Provider: Name, About: d.about, Calls: d.calls, Params: d.params,
			Plan: func(f stage.Fault, _ stage.Act) stage.Plan {
				a := d.answer(f)
				return stage.Plan{Skip: !d.after && !f.After, Answer: &a}
			},
		}
	}
	return switches
}

func orName(name string) string {
	if name == "" {
		return "invalid_grant"
	}
	return name
}

// Hints map what is known of Reddit's OAuth to faults.
func (rd *Reddit) Hints() []stage.Hint {
	var list []stage.Hint
	row := func(source, name, about string, f stage.Fault, e stage.Expect) {
		f.Provider = Name
		list = append(list, stage.Hint{Source: source, Row: name, About: about, Fault: &f, Expect: &e})
	}
	row("errors", "200 invalid_grant", "a code that is not good", stage.Fault{Switch: "error"}, stage.Expect{Call: CallCode, Status: 200, Code: "invalid_grant"})
	row("errors", "200 unauthorized_client", "the app may not do this", stage.Fault{Switch: "error", Message: "unauthorized_client"},
		stage.Expect{Call: CallRefresh, Status: 200, Code: "unauthorized_client"})
	row("errors", "400", "the refresh token is dead", stage.Fault{Switch: "grant_dead"}, stage.Expect{Call: CallRefresh, Status: 400, Code: "400"})
	row("errors", "401", "client id or secret", stage.Fault{Switch: "client_refused"}, stage.Expect{Call: CallRefresh, Status: 401, Code: "401"})
	row("errors", "429", "too many calls", stage.Fault{Switch: "rate_limited"}, stage.Expect{Call: CallRefresh, Status: 429, Code: "429"})
	row("errors", "429 HTML", "a User-Agent or address that Reddit does not like", stage.Fault{Switch: "pardner"}, stage.Expect{Call: CallRefresh, Status: 429, Code: "429"})
	row("errors", "403 HTML", "blocked by network security", stage.Fault{Switch: "blocked"}, stage.Expect{Call: CallMe, Status: 403, Code: "403"})
	row("hints", "400 HTML", "a page that is no word of Reddit's on a grant", stage.Fault{Switch: "bad_gateway_page"}, stage.Expect{Call: CallRefresh, Status: 400, Code: "400"})
	row("hints", "failure after the fact", "500 though there is a new token", stage.Fault{Switch: "fails_after"},
		stage.Expect{Call: CallRefresh, Status: 500, Code: "500", Executed: true})
	return append(list,
		stage.Hint{Source: "hints", Row: "code twice", About: "a second use of a code ends its tokens", Builtin: "always"},
		stage.Hint{Source: "hints", Row: "rate headers", About: "1000 calls in 600 s of a client id, 429 at 0", Builtin: "behavior calls"},
		stage.Hint{Source: "hints", Row: "refresh token with a refresh", About: "the same, another one or none comes back", Builtin: "behavior alternate"},
	)
}
