package onlyfans_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"

	"postbus.dev/services/connectors"
	"postbus.dev/services/connectors/connectortest"
	"postbus.dev/services/connectors/onlyfans"
	"postbus.dev/services/connectors/sandbox"
	standin "postbus.dev/services/connectors/sandbox/onlyfans"
	"postbus.dev/services/connectors/sandbox/sandboxtest"
	"postbus.dev/services/connectors/sandbox/stage"
)

const factor = 0.01

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
				New: func(t *testing.T) connectortest.ConnectBench {
					at := sandboxtest.New(t, standin.Name, sandbox.Config{Factor: factor, Profile: profile})
					b := at.Connect()
					b.Secrets = func() []string { return []string{at.App.Secret} } // a handle is none: callbacks name accounts by it
					return b
				},
				Connector: connector, Spends: "GET /onlyfans/api/accounts", Rereads: true, Request: checkRequest,
			}.Run(t)
		})
	}
}

func TestWatchingConformance(t *testing.T) {
	connectortest.Refresh{
		New: func(t *testing.T) connectortest.RefreshBench {
			return sandboxtest.New(t, standin.Name, sandbox.Config{Factor: factor}).Refresh(stage.Fault{Switch: "rate_limited"})
		},
		Connector: connector, Request: checkRequest,
	}.Run(t)
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
			return fmt.Errorf("not a session: %s", body)
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
