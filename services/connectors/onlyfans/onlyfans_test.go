package onlyfans

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postbus.dev/services/connectors"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testKey    = "ofapi-key-nobody-may-see"
	testHandle = "acct_nobody-may-see"
	redirect   = "https://postbus.example/api/connect/onlyfans/callback"

	sessionPath  = "POST /api/client-sessions"
	accountsPath = "GET /api/accounts"
	deletePath   = "DELETE /api/accounts/" + testHandle
	badGateway   = "<!DOCTYPE html><html>502</html>"
)

// reply is an answer of the fake: 200 unless told otherwise.
type reply struct {
	status int
	header http.Header
	body   string
}

// bench is a connector on a fake that gives every call one answer.
type bench struct {
	t *testing.T
	c *Connector

	mu     sync.Mutex
	answer reply
	keys   []string
	bodies []string // and the query
}

func setup(t *testing.T, answer reply, change ...func(*Config)) *bench {
	t.Helper()
	b := &bench{t: t, answer: answer}
	server := httptest.NewServer(b)
	t.Cleanup(server.Close)
	client := connectors.NewClient(connectors.ClientConfig{})
	t.Cleanup(client.Close)
	cfg := Config{Client: client, BaseURL: server.URL + "/", AuthorizeURL: "https://login.example/of?theme=1", Key: connectors.NewSecret(testKey)}
	for _, f := range change {
		f(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.c = c
	return b
}

func (b *bench) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil || r.Header.Get("Authorization") != "Bearer "+testKey {
		b.t.Errorf("%v %v", r.Header, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.keys, b.bodies = append(b.keys, r.Method+" "+r.URL.Path), append(b.bodies, r.URL.RawQuery+string(body))
	for name, v := range b.answer.header {
		w.Header()[name] = v
	}
	w.WriteHeader(max(b.answer.status, 200))
	_, _ = io.WriteString(w, b.answer.body)
}

// asked are the calls until now, and what was in them.
func (b *bench) asked() (keys, bodies []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.keys), slices.Clone(b.bodies)
}

func (b *bench) begin() (string, error) {
	return b.c.AuthorizeURL(context.Background(), connectors.AuthorizeRequest{State: "s1", RedirectURI: redirect})
}

func (b *bench) exchange(code string) (connectors.Grant, error) {
	return b.c.Exchange(context.Background(), connectors.Exchange{Code: connectors.NewSecret(code), State: "s1", RedirectURI: redirect})
}

func (b *bench) account() connectors.Account {
	return connectors.Account{ProviderAccountID: "123", AccessToken: connectors.NewSecret(testHandle)}
}

func (b *bench) check() (time.Duration, error) { return b.c.Check(context.Background(), b.account()) }

func (b *bench) revoke() error {
	return b.c.Revoke(context.Background(), b.account(), connectors.Secret{})
}

// item is an account as the gateway lists it.
func item(change ...string) string {
	text := `{"id":"` + testHandle + `","onlyfans_id":123,"onlyfans_username":"ada","onlyfans_email":"ada@example.com","display_name":"Postbus s1",` +
		`"is_authenticated":true,"authentication_progress":"signed_in","onlyfans_user_data":{"csrf":"csrf-nobody-may-see"}}`
	return strings.NewReplacer(change...).Replace(text)
}

func wantError(t *testing.T, what string, err error, kind connectors.Kind, code string) *connectors.Error {
	t.Helper()
	var e *connectors.Error
	if !errors.As(err, &e) {
		t.Fatalf("%s: %v is no *Error", what, err)
	}
	if e.Kind != kind || e.Code != code {
		t.Errorf("%s: kind %v, code %q: %v", what, e.Kind, e.Code, e)
	}
	if text := fmt.Sprintf("%v %+v", e, *e); strings.Contains(text, "nobody-may-see") {
		t.Errorf("%s: shows a secret: %s", what, text)
	}
	return e
}

func TestAConnectionBeginsWithASessionThatIsNamedAfterIt(t *testing.T) {
	t.Parallel()
	b := setup(t, reply{body: `{"data":{"token":"ofapi_cs_1","display_name":"x","client_reference_id":"s1"},"_meta":{}}`})
	to, err := b.begin()
	if err != nil {
		t.Fatal(err)
	}
	want := "https://login.example/of?" + url.Values{"theme": {"1"}, "token": {"ofapi_cs_1"}, "redirect_uri": {redirect}, "state": {"s1"}}.Encode()
	keys, bodies := b.asked()
	if to != want || !slices.Equal(keys, []string{sessionPath}) || bodies[0] != `{"client_reference_id":"s1","display_name":"Postbus s1"}` || b.c.PKCE() {
		t.Errorf("got %s after %v %v", to, keys, bodies)
	}
}

func TestAnAccountIsConnectedByTwoProofs(t *testing.T) {
	t.Parallel()
	for name, list := range map[string]string{
		"by its display name": "[" + item() + "]",
		"by its reference":    "[" + item(`"Postbus s1"`, `"renamed","client_reference_id":"s1"`) + "]",
		"among others":        "[" + item(testHandle, "acct_other") + "," + item(`123`, `"123"`) + "]",
	} {
		b := setup(t, reply{body: list})
		g, err := b.exchange(testHandle + ":123")
		if err != nil || g.ProviderAccountID != "123" || g.Username != "ada" || g.AccessToken.Reveal() != testHandle || !g.RefreshToken.Empty() ||
			g.ExpiresIn != 0 || g.RefreshIn != 30*time.Minute || string(g.Metadata) != `{"callback_id":"`+testHandle+`"}` {
			t.Errorf("%s: %+v, %v", name, g, err)
		}
		if keys, bodies := b.asked(); !slices.Equal(keys, []string{accountsPath}) || bodies[0] != "onlyfans_id=123" {
			t.Errorf("%s: asked %v %v", name, keys, bodies)
		}
	}
	for name, tc := range map[string]struct{ code, list string }{
		"somebody else's handle":       {"acct_2:123", "[" + item() + "]"},
		"a handle of another login":    {testHandle + ":123", "[" + item("Postbus s1", "Postbus s2") + "]"},
		"another reference":            {testHandle + ":123", "[" + item(`"Postbus s1"`, `"x","client_reference_id":"s2"`) + "]"},
		"a list that has another id":   {testHandle + ":124", "[" + item() + "]"},
		"an account that is not there": {testHandle + ":123", "[]"},
		"not signed in yet":            {testHandle + ":123", "[" + item("true", "false") + "]"},
		"no id":                        {testHandle, "[" + item() + "]"},
		"no handle":                    {":123", "[" + item() + "]"},
		"nothing":                      {"", "[" + item() + "]"},
	} {
		g, err := setup(t, reply{body: tc.list}).exchange(tc.code)
		if wantError(t, name, err, connectors.KindReject, connectors.CodeReauthRequired); !g.AccessToken.Empty() {
			t.Errorf("%s: a grant beside an error", name)
		}
	}
}

func TestWhatIsNotConfiguredIsNamedAndNothingIsCalled(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*Config){
		"ONLYFANS_API_KEY":       func(c *Config) { c.Key = connectors.Secret{} },
		"ONLYFANS_AUTHORIZE_URL": func(c *Config) { c.AuthorizeURL = "" },
	} {
		b := setup(t, reply{body: "[" + item() + "]"}, change)
		_, urlErr := b.begin()
		_, codeErr := b.exchange(testHandle + ":123")
		for _, err := range []error{urlErr, codeErr} {
			if !errors.Is(err, connectors.ErrNotConfigured) || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v", err)
			}
		}
		if keys, _ := b.asked(); len(keys) > 0 {
			t.Errorf("called %v", keys)
		}
		_, checked := b.check()
		revoked := b.revoke()
		if want == "ONLYFANS_API_KEY" {
			wantError(t, "check", checked, connectors.KindReject, connectors.CodeInternal)
			wantError(t, "revoke", revoked, connectors.KindReject, connectors.CodeInternal)
		} else if checked != nil || revoked != nil { // they need no page
			t.Errorf("%v, %v", checked, revoked)
		}
	}
}

func TestSettingsThatMakeNoSenseAreNamedTogether(t *testing.T) {
	t.Parallel()
	_, err := New(Config{BaseURL: "gateway", AuthorizeURL: "/login", TimeFactor: -1})
	for _, want := range []string{"no client", "base URL", "authorize URL", "time factor"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

func TestASessionIsWatched(t *testing.T) {
	t.Parallel()
	b := setup(t, reply{body: "[" + item() + "]"})
	if again, err := b.check(); err != nil || again != 30*time.Minute {
		t.Errorf("%v, %v", again, err)
	}
	b.c.factor = 0.1
	if again, err := b.check(); err != nil || again != 3*time.Minute {
		t.Errorf("scaled: %v, %v", again, err)
	}
	for list, reason := range map[string]string{
		"[" + item("true", "false") + "]": connectors.ReasonSignedOut,
		"[]":                              connectors.ReasonRevoked,
		"[" + item(testHandle, "acct_another") + "]": connectors.ReasonRevoked,
	} {
		_, err := setup(t, reply{body: list}).check()
		if e := wantError(t, list, err, connectors.KindReauthorize, connectors.CodeReauthRequired); e.Reason != reason || e.Wait != 5*time.Minute || e.Call.Name != callAccounts {
			t.Errorf("%s: %+v", list, e)
		}
	}
}

// What the answers of every call mean.
func TestEveryAnswerHasItsMeaning(t *testing.T) {
	t.Parallel()
	const retry, wait, reject, reauthorize = connectors.KindRetry, connectors.KindWait, connectors.KindReject, connectors.KindReauthorize
	const again, internal, away, limit, quota = connectors.CodeReauthRequired, connectors.CodeInternal, connectors.CodeUnavailable, connectors.CodeRateLimited, connectors.CodeQuotaExhausted
	upstream := func(status, inner int) reply {
		return reply{status: status, body: fmt.Sprintf(`{"error":"ONLYFANS_COM_ERROR","onlyfans_response":{"status":%d,"body":{}}}`, inner)}
	}
	for name, tc := range map[string]struct {
		reply reply
		kind  connectors.Kind // of Check
		code  string
		wait  time.Duration
	}{
		"our key":              {reply{status: 401, body: `{"error":"Unauthorized. Go to api-keys"}`}, reject, internal, 0},
		"our key's limits":     {reply{status: 403, body: `{"message":"` + testKey + `"}`}, reject, internal, 0},
		"a request of ours":    {reply{status: 422, body: `{"error":"VALIDATION_ERROR"}`}, reject, internal, 0},
		"no such path":         {reply{status: 404, body: `{"message":"Not Found"}`}, reject, internal, 0},
		"credits":              {reply{status: 402, body: `{"error":"out of credits"}`}, wait, quota, 15 * time.Minute},
		"a limit":              {reply{status: 429, header: http.Header{"Retry-After": {"42"}}, body: `{}`}, wait, limit, 42 * time.Second},
		"a limit without time": {reply{status: 429, body: badGateway}, wait, limit, time.Minute},
		"server error":         {reply{status: 500, body: `{"message":"Server Error"}`}, retry, away, 0},
		"Cloudflare":           {reply{status: 524, body: badGateway}, retry, away, 0},
		"Cloudflare forbids":   {reply{status: 403, body: badGateway}, retry, away, 0},
		"not a list":           {reply{body: `{"data":[]}`}, retry, away, 0},
		"null":                 {reply{body: `null`}, retry, away, 0},
		"HTML with 200":        {reply{body: badGateway}, retry, away, 0},
		"nothing":              {reply{}, retry, away, 0},
		"a redirect":           {reply{status: 302, header: http.Header{"Location": {"/login"}}}, retry, away, 0},
		"OnlyFans is away":     {upstream(400, 503), retry, away, 0},
		"OnlyFans limits":      {upstream(400, 429), retry, away, 0},
		"session dead":         {upstream(400, 401), reauthorize, again, 5 * time.Minute},
		"session forbidden":    {upstream(404, 403), reauthorize, again, 5 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, checked := setup(t, tc.reply).check()
			e := wantError(t, "check", checked, tc.kind, tc.code)
			if e.Wait != tc.wait || e.Message == "" || e.ProviderCode == "" || e.Call.Name != callAccounts ||
				e.Kind == wait && (e.Scope != connectors.ScopeProvider || e.Reason == "") {
				t.Errorf("%+v", e)
			}
			_, begun := setup(t, tc.reply).begin()
			wantError(t, "begin", begun, tc.kind, tc.code)
			kind := map[connectors.Kind]connectors.Kind{wait: retry, reauthorize: reject}[tc.kind] // a person waits
			if kind == connectors.KindUnknown {
				kind = tc.kind
			}
			_, exchanged := setup(t, tc.reply).exchange(testHandle + ":123")
			wantError(t, "exchange", exchanged, kind, tc.code)
			gone := tc.reply.status == 0 || name == "no such path"
			if revoked := setup(t, tc.reply).revoke(); gone != (revoked == nil) {
				t.Errorf("revoke: %v", revoked)
			} else if !gone {
				wantError(t, "revoke", revoked, tc.kind, tc.code)
			}
		})
	}
}

func TestRevokeRemovesTheAccountFromTheGateway(t *testing.T) {
	t.Parallel()
	for _, r := range []reply{{status: 204}, {status: 404, body: `{"error":"Account not found","code":"account_not_found"}`}} {
		b := setup(t, r)
		if err := b.revoke(); err != nil {
			t.Error(err)
		}
		if keys, _ := b.asked(); !slices.Equal(keys, []string{deletePath}) {
			t.Errorf("asked %v", keys)
		}
	}
	b := setup(t, reply{status: 404, body: badGateway})
	wantError(t, "a page", b.revoke(), connectors.KindRetry, connectors.CodeUnavailable)
	if err := b.c.Revoke(context.Background(), connectors.Account{}, connectors.Secret{}); err == nil || len(b.keys) != 1 {
		t.Errorf("without a handle: %v after %v", err, b.keys)
	}
}
