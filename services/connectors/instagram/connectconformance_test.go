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
	sb, err := sandbox.New(sandbox.Config{Factor: factor, PublicURL: us.URL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sb.Close)
	app, acct := sb.Clients(standin.Name)[0], sb.Accounts(standin.Name)[0]
	living := func(token string) bool {
		list := sb.Tokens(stage.TokenFilter{Token: token})
		return len(list) == 1 && list[0].Dead == nil && !list[0].Expired()
	}
	return connectortest.ConnectBench{
		Handler: sb.Handler(), RedirectURI: app.RedirectURIs[0], AccountID: acct.ID, Works: living,
		Decide: func(t testing.TB, authorizeURL string, deny ...string) *url.URL {
			back, err := sandbox.Person{Account: acct.ID, Deny: deny}.Decide(t.Context(), browser(), authorizeURL)
			if err != nil {
				t.Fatal(err)
			}
			return back
		},
		Kill: func() { sb.RevokeTokens(stage.TokenFilter{Account: acct.ID}, stage.Dead{Code: 190, Subcode: 460}) },
		Secrets: func() []string {
			list := []string{app.Secret}
			for _, tk := range sb.Tokens(stage.TokenFilter{}) {
				list = append(list, tk.Value)
			}
			return list
		},
		Call: func(t testing.TB, kind string, forged bool) (calls []connectors.CallbackRequest) {
			ways := []string{""}
			if forged {
				ways = []string{"callback_forged", "callback_altered", "callback_algorithm"}
			}
			for _, way := range ways {
				if way != "" {
					if _, err := sb.SetFault(stage.Fault{Switch: way, Provider: standin.Name, Count: 1}); err != nil {
						t.Fatal(err)
					}
				}
				if _, err := sb.Call(standin.Name, kind, acct.ID, ""); err != nil {
					t.Fatal(err)
				}
				calls = append(calls, <-caught)
			}
			return calls
		},
	}
}

// browser follows no redirect: the way back leads to us.
func browser() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func TestConnectingConformance(t *testing.T) {
	client := sandbox.LocalClient(standin.Name, "")
	connectortest.Connect{
		New: connectBench, Spends: "POST /instagram/oauth/access_token", Request: checkConnectRequest,
		Scopes:    []string{"instagram_business_basic", "instagram_business_content_publish"},
		Callbacks: []string{connectors.CallbackDeauthorize, connectors.CallbackDeletion},
		Connector: func(base string, c *connectors.Client, configured bool) (connectors.Connector, error) {
			cfg := instagram.Config{
				Client: c, BaseURL: base + "/instagram", TimeFactor: factor,
				AuthorizeURL: base + "/instagram/oauth/authorize", TokenURL: base + "/instagram/oauth/access_token",
			}
			if configured {
				cfg.ClientID, cfg.ClientSecret = client.ID, connectors.NewSecret(client.Secret)
			}
			return instagram.New(cfg)
		},
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
