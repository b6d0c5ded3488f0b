package reddit_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"postbus.dev/services/connectors"
	"postbus.dev/services/connectors/connectortest"
	"postbus.dev/services/connectors/reddit"
	"postbus.dev/services/connectors/sandbox"
	standin "postbus.dev/services/connectors/sandbox/reddit"
	"postbus.dev/services/connectors/sandbox/sandboxtest"
	"postbus.dev/services/connectors/sandbox/stage"
)

// factor makes a provider's minute 0.6 s: a code is good for 6 s.
const factor = 0.01

// connector is the connector for a stand-in; not configured, it has no client.
func connector(base string, c *connectors.Client, configured bool) (connectors.Connector, error) {
	root := base + "/reddit"
	cfg := reddit.Config{Client: c, BaseURL: root, OAuthURL: root + "/api/v1", AuthorizeURL: root + "/api/v1/authorize", TimeFactor: factor}
	if configured {
		app := sandbox.LocalClient(standin.Name, "")
		cfg.ClientID, cfg.ClientSecret = app.ID, connectors.NewSecret(app.Secret)
	}
	return reddit.New(cfg)
}

// at is a sandbox of the hostile profile.
func at(t *testing.T) sandboxtest.At {
	t.Helper()
	return sandboxtest.New(t, standin.Name, sandbox.Config{Factor: factor})
}

func TestConnectingConformance(t *testing.T) {
	connectortest.Connect{
		New:       func(t *testing.T) connectortest.ConnectBench { return at(t).Connect() },
		Connector: connector, Spends: "POST /reddit/api/v1/access_token", Request: checkRequest, Scopes: []string{"identity", "submit"},
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
	if r.URL.Path == "/reddit/api/v1/authorize" {
		return nil
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return err
	}
	if strings.Count(r.UserAgent(), ":") < 2 {
		return fmt.Errorf("user agent %q", r.UserAgent())
	}
	var got, want []string
	for name := range form {
		got = append(got, name)
	}
	slices.Sort(got)
	switch r.Method + " " + r.URL.Path {
	case "POST /reddit/api/v1/access_token":
		want = []string{"code", "grant_type", "redirect_uri"}
		if form.Get("grant_type") == "refresh_token" {
			want = []string{"grant_type", "refresh_token"}
		}
	case "POST /reddit/api/v1/revoke_token":
		want = []string{"token", "token_type_hint"}
	case "GET /reddit/api/v1/me":
		if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") || len(body) > 0 || r.URL.RawQuery != "raw_json=1" {
			return fmt.Errorf("query %q, body of %d bytes", r.URL.RawQuery, len(body))
		}
		return nil
	default:
		return fmt.Errorf("nothing that Reddit has")
	}
	if _, _, basic := r.BasicAuth(); !basic || !slices.Equal(got, want) || r.URL.RawQuery != "" {
		return fmt.Errorf("basic %v, parameters %v, query %q", basic, got, r.URL.RawQuery)
	}
	return nil
}
