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
	"postbus.dev/services/connectors/sandbox/sandboxtest"
	"postbus.dev/services/connectors/sandbox/stage"
	standin "postbus.dev/services/connectors/sandbox/tiktok"
	"postbus.dev/services/connectors/tiktok"
)

// factor makes a provider's minute 0.6 s: a code is good for 6 s.
const factor = 0.01

// connector is the connector for a stand-in; not configured, it has no client.
func connector(base string, c *connectors.Client, configured bool) (connectors.Connector, error) {
	cfg := tiktok.Config{Client: c, BaseURL: base + "/tiktok", AuthorizeURL: base + "/tiktok/v2/auth/authorize/", TimeFactor: factor}
	if configured {
		app := sandbox.LocalClient(standin.Name, "")
		cfg.ClientID, cfg.ClientSecret = app.ID, connectors.NewSecret(app.Secret)
	}
	return tiktok.New(cfg)
}

// at is a sandbox of the hostile profile.
func at(t *testing.T) sandboxtest.At {
	t.Helper()
	return sandboxtest.New(t, standin.Name, sandbox.Config{Factor: factor})
}

func TestConnectingConformance(t *testing.T) {
	connectortest.Connect{
		New:       func(t *testing.T) connectortest.ConnectBench { return at(t).Connect() },
		Connector: connector, Spends: "POST /tiktok/v2/oauth/token/", Request: checkRequest,
		Scopes: []string{"user.info.basic", "video.publish"},
	}.Run(t)
}

func TestRefreshingConformance(t *testing.T) {
	connectortest.Refresh{
		New: func(t *testing.T) connectortest.RefreshBench {
			return at(t).Refresh(stage.Fault{Switch: "rate_limited"})
		},
		Connector: connector, Request: checkRequest,
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
