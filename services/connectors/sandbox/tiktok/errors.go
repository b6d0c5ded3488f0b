package tiktok

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"postbus.dev/services/connectors/sandbox/stage"
)

// logID is TikTok's id of a request.
func (tk *TikTok) logID() string { return fmt.Sprintf("20261125%016X", tk.st.Uint64()) }

// refuse is an error of the OAuth endpoints. Some front ends answer 200 with it.
func (tk *TikTok) refuse(name, description string) stage.Answer {
	status := http.StatusBadRequest
	switch {
	case tk.alternate():
		status = http.StatusOK
	case name == "invalid_client" || name == "unauthorized_client":
		status = http.StatusUnauthorized
	}
	return tk.oauthError(status, name, description)
}

func (tk *TikTok) oauthError(status int, name, description string) stage.Answer {
	return tk.json(status, name, map[string]string{"error": name, "error_description": description, "log_id": tk.logID()})
}

// fail is an error of the API: in its envelope, or flat.
func (tk *TikTok) fail(status int, code, message string) stage.Answer {
	inner := map[string]string{"code": code, "message": message, "log_id": tk.logID()}
	if tk.alternate() {
		return tk.json(status, code, inner)
	}
	return tk.json(status, code, map[string]any{"data": map[string]any{}, "error": inner})
}

// ok is a success of the API.
func (tk *TikTok) ok(data any) stage.Answer {
	return tk.json(http.StatusOK, "", map[string]any{
		"data": data, "error": map[string]string{"code": "ok", "message": "", "log_id": tk.logID()},
	})
}

// checkUnknown refuses parameters that the call does not have, in strict mode:
// TikTok ignores them, and a connector that sends one has a mistake.
func (tk *TikTok) checkUnknown(c *call) string {
	if names := c.unknown(); tk.Now().Strict && len(names) > 0 {
		return "unknown parameters: " + strings.Join(names, ", ")
	}
	return ""
}

// Switches are the faults that only TikTok has.
func (tk *TikTok) Switches() []stage.Switch {
	token := []string{CallCode, CallRefresh, CallRevoke}
	params := map[string]string{
		"message": "the error's name, such as server_error", "status": "HTTP status", "after": "true: the call is carried out all the same",
		"delay": "with 429: Retry-After, provider time",
	}
	list := []struct {
		name, about string
		calls       []string
		preset      stage.Fault
	}{
		{"error", "any error by its name", append(token, CallUser, CallCreator), stage.Fault{Message: "server_error", Status: 500}},
		{"grant_dead", "invalid_grant, though the token is good", []string{CallCode, CallRefresh}, stage.Fault{Message: "invalid_grant", Status: 400}},
		{"client_refused", "invalid_client: the operator's fault", token, stage.Fault{Message: "invalid_client", Status: 401}},
		{"rate_limited", "429 rate_limit_exceeded", nil, stage.Fault{Message: "rate_limit_exceeded", Status: 429}},
		{"fails_after", "500 server_error, though the call was carried out", token, stage.Fault{Message: "server_error", Status: 500, After: true}},
		{"ok_fails_after", "200 with server_error in the body, though the call was carried out", token, stage.Fault{Message: "server_error", Status: 200, After: true}},
	}
	switches := make([]stage.Switch, len(list))
	for i, d := range list {
		switches[i] = stage.Switch{
			Name: d.name, Provider: Name, About: d.about, Calls: d.calls, Params: params,
			Plan: func(f stage.Fault, a stage.Act) stage.Plan { return tk.play(f, d.preset, a.Call) },
		}
	}
	return switches
}

// play is the plan of an error: what the fault names wins over the preset.
func (tk *TikTok) play(f, preset stage.Fault, name string) stage.Plan {
	if f.Message != "" {
		preset.Message = f.Message
	}
	if f.Status != 0 {
		preset.Status = f.Status
	}
	write := tk.fail
	if slices.Contains([]string{CallCode, CallRefresh, CallRevoke}, name) {
		write = tk.oauthError
	}
	a := write(preset.Status, preset.Message, "set by a fault")
	if f.Delay > 0 {
		a.Header.Set("Retry-After", fmt.Sprint(retryAfter(f.Delay)))
	}
	return stage.Plan{Skip: !f.After && !preset.After, Answer: &a}
}

// retryAfter is whole seconds, at least one.
func retryAfter(d stage.Duration) int { return max(1, int(d/stage.Duration(1e9))) }

// Hints map what TikTok's page on errors and its users say to faults.
func (tk *TikTok) Hints() []stage.Hint {
	var list []stage.Hint
	row := func(source, name, about string, f stage.Fault, e stage.Expect) {
		f.Provider = Name
		list = append(list, stage.Hint{Source: source, Row: name, About: about, Fault: &f, Expect: &e})
	}
	for _, e := range []struct {
		name   string
		status int
		about  string
	}{
		{"invalid_client", 401, "client_key or client_secret is wrong"}, {"unauthorized_client", 401, "the app may not do this"},
		{"invalid_grant", 400, "the refresh token is spent, expired or revoked"}, {"invalid_request", 400, "a parameter is missing or wrong"},
		{"invalid_scope", 400, "a scope that the app does not have"}, {"unsupported_grant_type", 400, "a grant_type that there is not"},
		{"server_error", 500, "TikTok failed"}, {"temporarily_unavailable", 503, "TikTok is overloaded"},
	} {
		row("errors", e.name, e.about, stage.Fault{Switch: "error", Message: e.name, Status: e.status}, stage.Expect{Call: CallRefresh, Status: e.status, Code: e.name})
	}
	row("errors", "rate_limit_exceeded", "too many calls in a minute", stage.Fault{Switch: "rate_limited"}, stage.Expect{Call: CallRefresh, Status: 429, Code: "rate_limit_exceeded"})
	row("errors", "access_token_invalid", "the access token has expired", stage.Fault{Switch: "error", Message: "access_token_invalid", Status: 401},
		stage.Expect{Call: CallUser, Status: 401, Code: "access_token_invalid"})
	row("errors", "scope_not_authorized", "the person did not grant it", stage.Fault{Switch: "error", Message: "scope_not_authorized", Status: 401},
		stage.Expect{Call: CallUser, Status: 401, Code: "scope_not_authorized"})
	row("hints", "an error with 200", "some gateways answer 200 with an error in the body", stage.Fault{Switch: "error", Message: "invalid_grant", Status: 200},
		stage.Expect{Call: CallRefresh, Status: 200, Code: "invalid_grant"})
	row("hints", "lost answer", "the pair is made and its answer never comes: the old token is dead", stage.Fault{Switch: "lost_after"},
		stage.Expect{Call: CallRefresh, Executed: true})
	row("hints", "failure after the fact", "500 though the pair was made", stage.Fault{Switch: "fails_after"},
		stage.Expect{Call: CallRefresh, Status: 500, Code: "server_error", Executed: true})
	row("hints", "failure after the fact with 200", "the same behind a gateway", stage.Fault{Switch: "ok_fails_after"},
		stage.Expect{Call: CallRefresh, Status: 200, Code: "server_error", Executed: true})
	row("hints", "sandbox apps", "apps in TikTok's own sandbox are said to get invalid_grant on every refresh", stage.Fault{Switch: "grant_dead"},
		stage.Expect{Call: CallRefresh, Status: 400, Code: "invalid_grant"})
	return append(list,
		stage.Hint{Source: "hints", Row: "rotation", About: "a second refresh with an old refresh token", Builtin: "invalid_grant, and the whole grant ends"},
		stage.Hint{Source: "hints", Row: "lives", About: "expires_in is told: two hours now, a day before", Builtin: "behavior accessLife, refreshLife, restarts"},
	)
}
