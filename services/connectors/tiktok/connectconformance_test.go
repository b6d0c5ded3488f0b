package tiktok_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"postbus.dev/services/connectors"
	"postbus.dev/services/connectors/connectortest"
	"postbus.dev/services/connectors/sandbox"
	"postbus.dev/services/connectors/sandbox/stage"
	standin "postbus.dev/services/connectors/sandbox/tiktok"
	"postbus.dev/services/connectors/tiktok"
)

// factor makes a provider's minute 0.6 s: a code is good for 6 s.
const factor = 0.01

// connectBench starts a sandbox of the hostile profile.
func connectBench(t *testing.T) connectortest.ConnectBench {
	t.Helper()
	sb, err := sandbox.New(sandbox.Config{Factor: factor})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sb.Close)
	app, acct := sb.Clients(standin.Name)[0], sb.Accounts(standin.Name)[0]
	return connectortest.ConnectBench{
		Handler: sb.Handler(), RedirectURI: app.RedirectURIs[0], AccountID: acct.ID,
		Works: func(token string) bool {
			list := sb.Tokens(stage.TokenFilter{Token: token})
			return len(list) == 1 && list[0].Dead == nil && !list[0].Expired()
		},
		Decide: func(t testing.TB, authorizeURL string, deny ...string) *url.URL {
			back, err := sandbox.Person{Account: acct.ID, Deny: deny}.Decide(t.Context(), browser(), authorizeURL)
			if err != nil {
				t.Fatal(err)
			}
			return back
		},
		Kill: func() { sb.RevokeTokens(stage.TokenFilter{Account: acct.ID}, stage.Dead{Code: 1}) },
		Secrets: func() []string {
			list := []string{app.Secret}
			for _, tk := range sb.Tokens(stage.TokenFilter{}) {
				list = append(list, tk.Value)
			}
			return list
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

// connector is the connector for a stand-in; not configured, it has no client.
func connector(base string, c *connectors.Client, configured bool) (connectors.Connector, error) {
	cfg := tiktok.Config{Client: c, BaseURL: base + "/tiktok", AuthorizeURL: base + "/tiktok/v2/auth/authorize/", TimeFactor: factor}
	if configured {
		app := sandbox.LocalClient(standin.Name, "")
		cfg.ClientID, cfg.ClientSecret = app.ID, connectors.NewSecret(app.Secret)
	}
	return tiktok.New(cfg)
}

func TestConnectingConformance(t *testing.T) {
	connectortest.Connect{
		New: connectBench, Connector: connector, Spends: "POST /tiktok/v2/oauth/token/", Request: checkRequest,
		Scopes: []string{"user.info.basic", "video.publish"},
	}.Run(t)
}

// checkRequest holds a request to what each endpoint takes, and to nothing more;
// the person's own are not ours.
func checkRequest(r *http.Request, body []byte) error {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return err
	}
	var want []string
	bearer := strings.HasPrefix(r.Header.Get("Authorization"), "Bearer act.")
	switch path := strings.TrimPrefix(r.URL.Path, "/tiktok"); r.Method + " " + path {
	case "POST /v2/auth/authorize/":
		return nil
	case "POST /v2/oauth/token/":
		want = []string{"client_key", "client_secret", "code", "grant_type", "redirect_uri"}
		if form.Get("grant_type") == "refresh_token" {
			want = []string{"client_key", "client_secret", "grant_type", "refresh_token"}
		}
	case "POST /v2/oauth/revoke/":
		want = []string{"client_key", "client_secret", "token"}
	case "GET /v2/user/info/", "POST /v2/post/publish/creator_info/query/":
		if !bearer || len(body) > 0 || (r.Method == http.MethodGet) != r.URL.Query().Has("fields") {
			return fmt.Errorf("bearer %v, query %v, body of %d bytes", bearer, r.URL.Query(), len(body))
		}
		return nil
	default:
		return fmt.Errorf("nothing that TikTok has")
	}
	var got []string
	for name := range form {
		got = append(got, name)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) || r.URL.RawQuery != "" || bearer || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
		return fmt.Errorf("parameters %v, query %q, headers %v", got, r.URL.RawQuery, r.Header)
	}
	return nil
}
