package onlyfans_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"testing"

	"postbus.dev/services/connectors"
	"postbus.dev/services/connectors/connectortest"
	"postbus.dev/services/connectors/onlyfans"
	"postbus.dev/services/connectors/sandbox"
	standin "postbus.dev/services/connectors/sandbox/onlyfans"
	"postbus.dev/services/connectors/sandbox/stage"
)

const factor = 0.01

// connectBench starts a sandbox of a profile.
func connectBench(profile sandbox.Profile) func(*testing.T) connectortest.ConnectBench {
	return func(t *testing.T) connectortest.ConnectBench {
		t.Helper()
		sb, err := sandbox.New(sandbox.Config{Factor: factor, Profile: profile})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(sb.Close)
		team, acct := sb.Clients(standin.Name)[0], sb.Accounts(standin.Name)[0]
		return connectortest.ConnectBench{
			Handler: sb.Handler(), RedirectURI: team.RedirectURIs[0], AccountID: acct.ID,
			Works: func(handle string) bool {
				list := sb.Tokens(stage.TokenFilter{Token: handle})
				return len(list) == 1 && list[0].Dead == nil
			},
			Decide: func(t testing.TB, authorizeURL string, deny ...string) *url.URL {
				back, err := sandbox.Person{Account: acct.Username, Deny: deny}.Decide(t.Context(), browser(), authorizeURL)
				if err != nil {
					t.Fatal(err)
				}
				return back
			},
			Kill:    func() { sb.RevokeTokens(stage.TokenFilter{Account: acct.ID}, stage.Dead{Code: 1}) },
			Secrets: func() []string { return []string{team.Secret} },
		}
	}
}

// browser follows no redirect: the way back leads to us.
func browser() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// connector is the connector for a stand-in; not configured, it has no key.
func connector(base string, c *connectors.Client, configured bool) (connectors.Connector, error) {
	cfg := onlyfans.Config{Client: c, BaseURL: base + "/onlyfans", AuthorizeURL: base + "/onlyfans/connect", TimeFactor: factor}
	if configured {
		cfg.Key = connectors.NewSecret(sandbox.LocalClient(standin.Name, "").Secret)
	}
	return onlyfans.New(cfg)
}

func TestConnectingConformance(t *testing.T) {
	for _, profile := range []sandbox.Profile{sandbox.Hostile, sandbox.Faithful} {
		t.Run(string(profile), func(t *testing.T) {
			t.Parallel()
			connectortest.Connect{
				New: connectBench(profile), Connector: connector, Spends: "GET /onlyfans/api/accounts", Rereads: true, Request: checkRequest,
			}.Run(t)
		})
	}
}

// checkRequest holds a request to what each endpoint takes.
func checkRequest(r *http.Request, body []byte) error {
	if r.URL.Path == "/onlyfans/connect" {
		return nil // the person's own
	}
	var query []string
	for name := range r.URL.Query() {
		query = append(query, name)
	}
	if r.Header.Get("Authorization") != "Bearer "+sandbox.LocalClient(standin.Name, "").Secret {
		return fmt.Errorf("without the team's key")
	}
	switch path := r.Method + " " + r.URL.Path; {
	case path == "POST /onlyfans/api/client-sessions":
		var session map[string]string
		if err := json.Unmarshal(body, &session); err != nil || len(session) != 2 || session["client_reference_id"] == "" || len(query) > 0 {
			return fmt.Errorf("not a session: %v", err)
		}
	case path == "GET /onlyfans/api/accounts":
		if !slices.Equal(query, []string{"onlyfans_id"}) || len(body) > 0 {
			return fmt.Errorf("parameters %v", query)
		}
	case r.Method == http.MethodDelete && len(query) == 0 && len(body) == 0:
	default:
		return fmt.Errorf("nothing that the gateway has, or not so: %v", query)
	}
	return nil
}
