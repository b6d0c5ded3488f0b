package sandbox_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"postbus.dev/services/connectors/sandbox"
	"postbus.dev/services/connectors/sandbox/instagram"
	"postbus.dev/services/connectors/sandbox/stage"
)

// patient lets a code live for half a minute.
const patient = 0.01

const scopes = "instagram_business_basic,instagram_business_content_publish"

// authorizeURL is where the app of the sandbox sends people.
func (b *bundle) authorizeURL() string {
	c := b.sb.Clients(instagram.Name)[0]
	return b.srv.URL + "/instagram/oauth/authorize?" + url.Values{
		"client_id": {c.ID}, "redirect_uri": {c.RedirectURIs[0]}, "response_type": {"code"}, "scope": {scopes}, "state": {"s1"},
	}.Encode()
}

// click is a person's decision and where it leads.
func (b *bundle) click(p sandbox.Person) (*url.URL, error) {
	b.t.Helper()
	browser := b.srv.Client()
	browser.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	defer browser.CloseIdleConnections()
	return p.Decide(b.t.Context(), browser, b.authorizeURL())
}

// token exchanges a code and returns the status of the answer; 0: none.
func (b *bundle) token(code string) int {
	b.t.Helper()
	c := b.sb.Clients(instagram.Name)[0]
	resp, err := b.client.PostForm(b.srv.URL+"/instagram/oauth/access_token", url.Values{
		"client_id": {c.ID}, "client_secret": {c.Secret}, "grant_type": {"authorization_code"}, "redirect_uri": {c.RedirectURIs[0]}, "code": {code},
	})
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

func TestAPersonDecidesWithoutABrowser(t *testing.T) {
	t.Parallel()
	b := setup(t, sandbox.Config{Factor: patient, PublicURL: "https://postbus.example/"}, sandbox.ServeConfig{})
	back, err := b.click(sandbox.Person{Account: "demo"})
	if err != nil || back.Host != "postbus.example" || back.Path != "/api/connect/instagram/callback" || back.Query().Get("state") != "s1" {
		t.Fatalf("%v, %v", back, err)
	}
	if got := b.token(back.Query().Get("code")); got != 200 {
		t.Errorf("token: %d", got)
	}
	back, err = b.click(sandbox.Person{Account: b.acct.ID, Cancel: true})
	if err != nil || back.Query().Get("error") != "access_denied" {
		t.Errorf("%v, %v", back, err)
	}
	if _, err = b.click(sandbox.Person{Account: "nobody"}); err == nil || !strings.Contains(err.Error(), "answered 400") {
		t.Errorf("%v", err)
	}
	back, err = b.click(sandbox.Person{Account: "demo", Deny: strings.Split(scopes, ",")})
	if err != nil {
		t.Fatal(err)
	}
	b.token(back.Query().Get("code"))
	for _, tk := range b.must("GET", "/_sandbox/tokens?kind=short", nil)["tokens"].([]any) {
		if got := tk.(map[string]any); got["client"] != "postbus-instagram" {
			t.Errorf("%v", got)
		}
	}
}

// Faults apply to the page and to the token calls as to every other call.
func TestFaultsReachWhoConnects(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		fault  stage.Fault
		status int // of the first exchange
		again  int // of the second, with the same code
	}{
		{stage.Fault{Switch: "lost_after"}, 0, 400},
		{stage.Fault{Switch: "lost_before"}, 0, 200},
		{stage.Fault{Switch: "http_after", Status: 503}, 503, 400},
		{stage.Fault{Switch: "http_before", Status: 500}, 500, 200},
		{stage.Fault{Switch: "garbage_body"}, 200, 400},
		{stage.Fault{Switch: "empty_object"}, 200, 400},
		{stage.Fault{Switch: "error", Code: 190}, 400, 200},
		{stage.Fault{Switch: "hang_after", Delay: stage.Duration(time.Minute)}, 200, 400},
	} {
		t.Run(c.fault.Switch, func(t *testing.T) {
			t.Parallel()
			b := setup(t, sandbox.Config{Factor: patient}, sandbox.ServeConfig{})
			back, err := b.click(sandbox.Person{Account: "demo"})
			if err != nil {
				t.Fatal(err)
			}
			f := c.fault
			f.Call, f.Count = instagram.CallCode, 1
			if _, err := b.sb.SetFault(f); err != nil {
				t.Fatal(err)
			}
			code := back.Query().Get("code")
			if first, second := b.token(code), b.token(code); first != c.status || second != c.again {
				t.Errorf("answered %d, then %d", first, second)
			}
		})
	}
	b := setup(t, sandbox.Config{Factor: patient}, sandbox.ServeConfig{})
	for _, call := range []string{instagram.CallAuthorize, instagram.CallDecide} {
		if _, err := b.sb.SetFault(stage.Fault{Switch: "http_before", Call: call, Count: 1, Status: 502}); err != nil {
			t.Fatal(err)
		}
	}
	resp, err := b.client.Get(b.authorizeURL())
	if err != nil || resp.StatusCode != 502 {
		t.Errorf("%v %v", resp, err)
	}
	resp.Body.Close()
	if _, err := b.click(sandbox.Person{Account: "demo"}); err == nil || !strings.Contains(err.Error(), "answered 502") {
		t.Errorf("%v", err)
	}
}

func TestAppsAreRegisteredAndCalledOverTheControlAPI(t *testing.T) {
	t.Parallel()
	b := setup(t, sandbox.Config{Factor: patient}, sandbox.ServeConfig{})
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, `{"url":"http://x/%s","confirmation_code":"c1"}`, r.FormValue("signed_request")[:3])
	}))
	defer app.Close()
	want := sandbox.LocalClient(instagram.Name, app.URL)
	b.must("POST", "/_sandbox/clients", want)
	list := b.must("GET", "/_sandbox/clients?provider=instagram", nil)["clients"].([]any)
	if got := list[0].(map[string]any); len(list) != 1 || got["deletionUrl"] != app.URL+"/api/callbacks/instagram/deletion" || got["secret"] != want.Secret {
		t.Errorf("%v", list)
	}
	called := b.must("POST", "/_sandbox/callbacks", map[string]any{"provider": "instagram", "kind": "deletion", "account": "demo"})["called"].([]any)
	if got := called[0].(map[string]any); got["status"] != 200.0 || got["code"] != "c1" || !strings.HasPrefix(got["statusUrl"].(string), "http://x/") {
		t.Errorf("%v", called)
	}
	if _, out, _ := b.graph("GET", "/me", nil); !strings.Contains(fmt.Sprint(out), "458") {
		t.Errorf("the token lives on: %v", out)
	}
	for path, body := range map[string]any{
		"/_sandbox/clients":   map[string]any{"provider": "nonsense", "id": "1", "secret": "s"},
		"/_sandbox/callbacks": map[string]any{"provider": "nonsense"},
		"/_sandbox/tokens":    map[string]any{"provider": "instagram", "account": b.acct.ID, "kind": "code"},
	} {
		if status, out, err := b.send("POST", path, body); status != 400 || err != nil {
			t.Errorf("%s: %d %v %v", path, status, out, err)
		}
	}
	if err := b.sb.AddClient(stage.Client{Provider: instagram.Name, ID: "1"}); err == nil {
		t.Error("a client without a secret was taken")
	}
}

// A test's sandbox must not call the system that a developer has running.
func TestNobodyIsCalledUnlessAskedFor(t *testing.T) {
	t.Parallel()
	b := setup(t, sandbox.Config{Factor: patient}, sandbox.ServeConfig{})
	c := b.sb.Clients(instagram.Name)[0]
	if c.DeauthorizeURL != "" || c.DeletionURL != "" || c.RedirectURIs[0] != "http://localhost:3000/api/connect/instagram/callback" {
		t.Errorf("%+v", c)
	}
}

func TestBrowsersAndTheProvidersMayReachTheAppAtDifferentPlaces(t *testing.T) {
	t.Parallel()
	b := setup(t, sandbox.Config{Factor: patient, PublicURL: "https://postbus.example", CallURL: "http://gateway:3000/"}, sandbox.ServeConfig{})
	c := b.sb.Clients(instagram.Name)[0]
	if c.RedirectURIs[0] != "https://postbus.example/api/connect/instagram/callback" || len(c.RedirectURIs) != 1 ||
		c.DeauthorizeURL != "http://gateway:3000/api/callbacks/instagram/deauthorize" || c.DeletionURL != "http://gateway:3000/api/callbacks/instagram/deletion" {
		t.Errorf("%+v", c)
	}
}
