package instagram_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"postbus.dev/services/connectors"
	"postbus.dev/services/connectors/connectortest"
	"postbus.dev/services/connectors/instagram"
	"postbus.dev/services/connectors/sandbox"
	standin "postbus.dev/services/connectors/sandbox/instagram"
	"postbus.dev/services/connectors/sandbox/sandboxtest"
	"postbus.dev/services/connectors/sandbox/stage"
)

// connectBench starts a sandbox of the hostile profile, whose calls to us are
// caught.
func connectBench(t *testing.T) connectortest.ConnectBench {
	t.Helper()
	caught := make(chan connectors.CallbackRequest, 1)
	us := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		caught <- connectors.CallbackRequest{Kind: r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:], Header: r.Header, Body: body, Query: r.URL.Query()}
	}))
	t.Cleanup(us.Close)
	at := sandboxtest.New(t, standin.Name, sandbox.Config{Factor: factor, PublicURL: us.URL})
	b := at.Connect()
	b.Call = func(t testing.TB, kind string, forged bool) (calls []connectors.CallbackRequest) {
		ways := []string{""}
		if forged {
			ways = []string{"callback_forged", "callback_altered", "callback_algorithm"}
		}
		for _, way := range ways {
			if way != "" {
				if _, err := at.SetFault(stage.Fault{Switch: way, Provider: standin.Name, Count: 1}); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := at.Call(standin.Name, kind, at.Account.ID, ""); err != nil {
				t.Fatal(err)
			}
			calls = append(calls, <-caught)
		}
		return calls
	}
	return b
}

// connector is the connector for a stand-in; not configured, it has no client.
func connector(base string, c *connectors.Client, configured bool) (connectors.Connector, error) {
	cfg := instagram.Config{
		Client: c, BaseURL: base + "/instagram", TimeFactor: factor,
		AuthorizeURL: base + "/instagram/oauth/authorize", TokenURL: base + "/instagram/oauth/access_token",
	}
	if configured {
		app := sandbox.LocalClient(standin.Name, "")
		cfg.ClientID, cfg.ClientSecret = app.ID, connectors.NewSecret(app.Secret)
	}
	return instagram.New(cfg)
}

func TestConnectingConformance(t *testing.T) {
	connectortest.Connect{
		New: connectBench, Connector: connector, Spends: "POST /instagram/oauth/access_token", Request: checkConnectRequest,
		Scopes:    []string{"instagram_business_basic", "instagram_business_content_publish"},
		Callbacks: []string{connectors.CallbackDeauthorize, connectors.CallbackDeletion},
	}.Run(t)
}

// checkConnectRequest holds a request to what each endpoint takes; the person's
// own are not ours.
func checkConnectRequest(r *http.Request, body []byte) error {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return err
	}
	bearer := strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ")
	var got, want []string
	for name := range r.URL.Query() {
		got = append(got, name)
	}
	switch path := r.Method + " " + r.URL.Path; {
	case strings.HasSuffix(path, "/oauth/authorize"):
		return nil
	case path == "POST /instagram/oauth/access_token":
		if len(form) != 5 || bearer || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
			return fmt.Errorf("not the form that takes codes: %v", r.Header)
		}
	case path == "GET /instagram/access_token":
		want = []string{"access_token", "client_secret", "grant_type"}
	case path == "GET /instagram/refresh_access_token":
		want = []string{"access_token", "grant_type"}
	case path == "DELETE /instagram/me/permissions":
	case strings.HasPrefix(path, "GET /instagram/v25.0/"):
		want = []string{"fields"}
	default:
		return fmt.Errorf("nothing that Instagram has")
	}
	slices.Sort(got)
	if r.Method != http.MethodPost && (len(body) > 0 || bearer == slices.Contains(want, "access_token")) || !slices.Equal(got, want) {
		return fmt.Errorf("bearer %v, parameters %v, body of %d bytes", bearer, got, len(body))
	}
	return nil
}
