package onlyfans

import (
	"fmt"
	"net/http"
	"time"

	"postbus.dev/services/connectors/sandbox/stage"
)

// Switches are the faults that only the gateway has.
func (of *OnlyFans) Switches() []stage.Switch {
	api := []string{CallSession, CallAccounts, CallDelete, CallWhoami}
	answered := func(a stage.Answer) func(stage.Fault, stage.Act) stage.Plan {
		return func(stage.Fault, stage.Act) stage.Plan { return stage.Plan{Skip: true, Answer: &a} }
	}
	return []stage.Switch{
		{Name: "signed_out", Provider: Name, Calls: []string{CallAccounts},
			About: "accounts are shown as signed out; with count, until they come back by themselves"},
		{Name: "key_refused", Provider: Name, Calls: api, About: "401: our API key is refused", Plan: answered(refuseKey())},
		{Name: "out_of_credits", Provider: Name, Calls: api, About: "402: the team's credits are used up",
			Plan: answered(jsonAnswer(http.StatusPaymentRequired, map[string]string{"error": "You have run out of credits."}))},
		{Name: "rate_limited", Provider: Name, Calls: api, About: "429: too many calls of the team",
			Params: map[string]string{"delay": "Retry-After, provider time, default 30s"},
			Plan: func(f stage.Fault, _ stage.Act) stage.Plan {
				a := jsonAnswer(http.StatusTooManyRequests, map[string]string{"message": "Too Many Attempts."})
				wait := 30 * time.Second
				if f.Delay > 0 {
					wait = time.Duration(f.Delay)
				}
				a.Header.Set("Retry-After", fmt.Sprint(int(wait.Seconds())))
				return stage.Plan{Skip: true, Answer: &a}
			}},
		{Name: "wrapped", Provider: Name, Calls: api, About: "an answer of OnlyFans, wrapped in another status",
			Params: map[string]string{"status": "of the wrapper, default 400", "code": "what OnlyFans answered, default 503"},
			Plan:   wrapped},
	}
}

// wrapped is how the gateway tells what OnlyFans answered it.
func wrapped(f stage.Fault, _ stage.Act) stage.Plan {
	status, inner := http.StatusBadRequest, http.StatusServiceUnavailable
	if f.Status != 0 {
		status = f.Status
	}
	if f.Code != 0 {
		inner = f.Code
	}
	a := jsonAnswer(status, map[string]any{
		"error": "ONLYFANS_COM_ERROR", "message": "Bad Request", "onlyfans_response": map[string]any{"status": inner, "body": map[string]any{"error": map[string]any{"code": 0}}},
	})
	return stage.Plan{Skip: true, Answer: &a}
}

// Hints map what the gateway's pages and users say to faults.
func (of *OnlyFans) Hints() []stage.Hint {
	row := func(source, name, about string, f stage.Fault, status int) stage.Hint {
		f.Provider = Name
		return stage.Hint{Source: source, Row: name, About: about, Fault: &f, Expect: &stage.Expect{Call: CallAccounts, Status: status}}
	}
	signedOut := row("hints", "signed out", "the session has ended and the gateway cannot log in by itself", stage.Fault{Switch: "signed_out"}, 200)
	recovers := row("hints", "recovers by itself", "a dropped session comes back without anybody", stage.Fault{Switch: "signed_out", Count: 2}, 200)
	signedOut.Expect.Executed, recovers.Expect.Executed = true, true
	return []stage.Hint{
		row("errors", "401", "our API key is refused", stage.Fault{Switch: "key_refused"}, 401),
		row("errors", "402", "credits are used up", stage.Fault{Switch: "out_of_credits"}, 402),
		row("errors", "429", "too many calls in a minute", stage.Fault{Switch: "rate_limited"}, 429),
		row("errors", "ONLYFANS_COM_ERROR", "OnlyFans refused the gateway, in another status", stage.Fault{Switch: "wrapped"}, 400),
		row("hints", "gateway down", "Cloudflare answers with HTML", stage.Fault{Switch: "http_before", Status: 502}, 502),
		signedOut, recovers,
	}
}
