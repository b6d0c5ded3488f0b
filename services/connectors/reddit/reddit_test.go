package reddit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postbus.dev/services/connectors"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	clientID    = "client"
	testSecret  = "client-secret-nobody-may-see"
	testCode    = "code-nobody-may-see"
	testRefresh = "refresh-nobody-may-see"
	newAccess   = "access-nobody-may-see"
	newRefresh  = "other-refresh-nobody-may-see"

	tokenPath  = "POST /api/v1/access_token"
	revokePath = "POST /api/v1/revoke_token"
	mePath     = "GET /api/v1/me"
)

// reply is an answer of the fake: 200 unless told otherwise.
type reply struct {
	status int
	header http.Header
	body   string
}

// bench is a connector on a fake that gives each call one answer.
type bench struct {
	t *testing.T
	c *Connector

	mu      sync.Mutex
	replies map[string]reply
	keys    []string
	forms   []url.Values // of each call: query or body
	headers []http.Header
}

func setup(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, replies: map[string]reply{
		tokenPath: {body: tokenBody(`,"refresh_token":"` + testRefresh + `"`)},
		mePath:    {body: `{"id":"4cixf","name":"Ada","is_suspended":false}`},
	}}
	server := httptest.NewServer(b)
	t.Cleanup(server.Close)
	client := connectors.NewClient(connectors.ClientConfig{})
	t.Cleanup(client.Close)
	c, err := New(Config{
		Client: client, BaseURL: server.URL + "/", OAuthURL: server.URL + "/api/v1", ClientID: clientID, ClientSecret: connectors.NewSecret(testSecret),
	})
	if err != nil {
		t.Fatal(err)
	}
	b.c = c
	return b
}

func tokenBody(more string) string {
	return `{"access_token":"` + newAccess + `","token_type":"bearer","expires_in":86400,"scope":"identity submit"` + more + `}`
}

func (b *bench) on(key string, r reply) *bench {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.replies[key] = r
	return b
}

func (b *bench) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		b.t.Error(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	key := r.Method + " " + r.URL.Path
	b.keys, b.forms, b.headers = append(b.keys, key), append(b.forms, r.Form), append(b.headers, r.Header)
	answer, ok := b.replies[key]
	if !ok {
		b.t.Errorf("nobody expected %s", key)
	}
	for name, v := range answer.header {
		w.Header()[name] = v
	}
	w.WriteHeader(max(answer.status, 200))
	_, _ = io.WriteString(w, answer.body)
}

func (b *bench) exchange() (connectors.Grant, error) {
	return b.c.Exchange(context.Background(), connectors.Exchange{Code: connectors.NewSecret(testCode + "#_"), State: "s", RedirectURI: "https://x/back"})
}

func (b *bench) refresh() (connectors.Grant, error) {
	return b.c.Refresh(context.Background(), connectors.Account{}, connectors.NewSecret(testRefresh))
}

func (b *bench) revoke() error {
	return b.c.Revoke(context.Background(), connectors.Account{}, connectors.NewSecret(testRefresh))
}

// wantError holds an error to its kind and code, and to what nobody may see.
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

func TestAnAccountIsConnectedForGood(t *testing.T) {
	t.Parallel()
	b := setup(t)
	to, err := b.c.AuthorizeURL(context.Background(), connectors.AuthorizeRequest{State: "s", RedirectURI: "https://x/back"})
	u, parseErr := url.Parse(to)
	want := url.Values{
		"client_id": {clientID}, "duration": {"permanent"}, "redirect_uri": {"https://x/back"}, "response_type": {"code"},
		"scope": {"identity submit read flair history"}, "state": {"s"},
	}
	if err != nil || parseErr != nil || u.Host != "www.reddit.com" || u.Path != "/api/v1/authorize" || !reflect.DeepEqual(u.Query(), want) || b.c.PKCE() {
		t.Errorf("%s, %v", to, err)
	}
	g, err := b.exchange()
	if err != nil || g.AccessToken.Reveal() != newAccess || g.RefreshToken.Reveal() != testRefresh {
		t.Fatalf("%+v, %v", g, err)
	}
	g.AccessToken, g.RefreshToken = connectors.Secret{}, connectors.Secret{}
	if want := (connectors.Grant{
		ProviderAccountID: "4cixf", Username: "Ada", TokenType: "bearer", Scope: "identity submit", ExpiresIn: 24 * time.Hour, RefreshIn: 12 * time.Hour,
	}); !reflect.DeepEqual(g, want) {
		t.Errorf("%+v", g)
	}
	if b.forms[0].Get("code") != testCode || len(b.keys) != 2 {
		t.Errorf("asked %v with %v", b.keys, b.forms)
	}
	for i, h := range b.headers {
		if h.Get("User-Agent") != "server:client:v1" || strings.HasPrefix(h.Get("Authorization"), "Basic ") != (i == 0) {
			t.Errorf("%s: %v", b.keys[i], h)
		}
	}
}

func TestWhoMayNotBeConnected(t *testing.T) {
	t.Parallel()
	bearer := func(name string) http.Header {
		return http.Header{"Www-Authenticate": {`Bearer realm="reddit", error="` + name + `"`}}
	}
	const reject, retry = connectors.KindReject, connectors.KindRetry
	for name, tc := range map[string]struct {
		me   reply
		kind connectors.Kind
		code string
	}{
		"suspended":                  {reply{body: `{"id":"4cixf","name":"Ada","is_suspended":true}`}, reject, connectors.CodeAccountRestricted},
		"dead token":                 {reply{status: 401, header: bearer("invalid_token"), body: `{"message":"Unauthorized","error":401}`}, reject, connectors.CodeReauthRequired},
		"scope missing":              {reply{status: 403, header: bearer("insufficient_scope"), body: `{"error":403}`}, reject, connectors.CodeReauthRequired},
		"blocked":                    {reply{status: 403, body: "<html>"}, retry, connectors.CodeUnavailable},
		"401 of whoever is between":  {reply{status: 401, body: "<html>"}, retry, connectors.CodeUnavailable},
		"429":                        {reply{status: 429, body: "<html>"}, retry, connectors.CodeRateLimited},
		"503":                        {reply{status: 503}, retry, connectors.CodeUnavailable},
		"an account without an id":   {reply{body: `{"name":"Ada"}`}, retry, connectors.CodeUnavailable},
		"an account without a name":  {reply{body: `{"id":"4cixf"}`}, retry, connectors.CodeUnavailable},
		"a number that is no status": {reply{body: `{"error":7}`}, retry, connectors.CodeUnavailable},
	} {
		b := setup(t).on(mePath, tc.me)
		g, err := b.exchange()
		if wantError(t, name, err, tc.kind, tc.code); !g.AccessToken.Empty() {
			t.Errorf("%s: a token beside an error", name)
		}
	}
	if _, err := setup(t).on(tokenPath, reply{body: tokenBody("")}).exchange(); err == nil {
		t.Error("a grant that ends within a day was taken")
	}
	b := setup(t).on(tokenPath, reply{body: strings.Replace(tokenBody(`,"refresh_token":"x"`), "identity submit", "*", 1)})
	if g, err := b.exchange(); err != nil || len(g.Missing) > 0 || g.ProviderAccountID == "" {
		t.Errorf("all scopes: %+v, %v", g, err)
	}
}

// A refresh token that comes is stored, one that does not leaves the old one.
func TestARefreshMayBringARefreshToken(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		tokenBody(""): "", tokenBody(`,"refresh_token":"` + newRefresh + `"`): newRefresh, tokenBody(`,"refresh_token":null`): "",
		tokenBody(`,"refresh_token":{}`): "",
	} {
		b := setup(t).on(tokenPath, reply{body: body})
		g, err := b.refresh()
		if err != nil || g.AccessToken.Reveal() != newAccess || g.RefreshToken.Reveal() != want || g.ExpiresIn != 24*time.Hour || g.RefreshIn != 12*time.Hour {
			t.Errorf("%s: %+v, %v", body, g, err)
		}
		if want := (url.Values{"grant_type": {"refresh_token"}, "refresh_token": {testRefresh}}); !reflect.DeepEqual(b.forms[0], want) {
			t.Errorf("asked %v", b.forms)
		}
	}
	b := setup(t).on(tokenPath, reply{body: `{"access_token":"` + newAccess + `","expires_in":"soon"}`})
	if g, err := b.refresh(); err != nil || g.ExpiresIn != time.Hour {
		t.Errorf("a life that is not told: %+v, %v", g, err)
	}
	if b.c.RefreshRule() != (connectors.RefreshRule{Call: 30 * time.Second}) {
		t.Errorf("%+v", b.c.RefreshRule())
	}
}

// What the answers of every call mean: only Reddit's own word ends a grant.
func TestEveryAnswerHasItsMeaning(t *testing.T) {
	t.Parallel()
	const (
		retry, wait, reject = connectors.KindRetry, connectors.KindWait, connectors.KindReject
		reauthorize, done   = connectors.KindReauthorize, connectors.Kind(100)
	)
	const again, internal, away, limit = connectors.CodeReauthRequired, connectors.CodeInternal, connectors.CodeUnavailable, connectors.CodeRateLimited
	type outcome struct {
		kind connectors.Kind
		code string
	}
	fails := [3]outcome{{retry, away}, {retry, away}, {retry, away}}
	operator := [3]outcome{{reject, internal}, {reject, internal}, {reject, internal}}
	limited := [3]outcome{{retry, limit}, {wait, limit}, {wait, limit}}
	dead := [3]outcome{{reject, again}, {reauthorize, again}, {reject, internal}}
	unproven := [3]outcome{{retry, away}, {retry, away}, {done, ""}}
	basic := http.Header{"Www-Authenticate": {`Basic realm="reddit"`}}
	for name, tc := range map[string]struct {
		reply reply
		want  [3]outcome // of Exchange, Refresh, Revoke
	}{
		"200 invalid_grant":            {reply{body: `{"error":"invalid_grant"}`}, dead},
		"400 invalid_grant":            {reply{status: 400, body: `{"error":"invalid_grant"}`}, dead},
		"400 as a number":              {reply{status: 400, body: `{"error":400}`}, dead},
		"400 with a message":           {reply{status: 400, body: `{"message":"Bad Request","error":400}`}, dead},
		"400 as a page":                {reply{status: 400, body: "<html>" + testRefresh}, fails},
		"400 without a body":           {reply{status: 400}, fails},
		"400 with another number":      {reply{status: 400, body: `{"error":17}`}, fails},
		"200 unauthorized_client":      {reply{body: `{"error":"unauthorized_client","error_description":"` + testRefresh + `"}`}, operator},
		"invalid_client":               {reply{status: 401, body: `{"error":"invalid_client"}`}, operator},
		"invalid_request":              {reply{status: 400, body: `{"error":"invalid_request"}`}, operator},
		"invalid_scope":                {reply{body: `{"error":"invalid_scope"}`}, operator},
		"unsupported_grant_type":       {reply{body: `{"error":"unsupported_grant_type"}`}, operator},
		"401":                          {reply{status: 401, header: basic, body: `{"message":"Unauthorized","error":401}`}, operator},
		"401 of which only a header":   {reply{status: 401, header: basic}, operator},
		"401 as a page":                {reply{status: 401, body: "<html>"}, fails},
		"403":                          {reply{status: 403, body: `{"message":"Forbidden","error":403}`}, operator},
		"403 as a page":                {reply{status: 403, body: "<html>blocked by network security"}, fails},
		"429":                          {reply{status: 429, body: `{"message":"Too Many Requests","error":429}`}, limited},
		"429 as a page":                {reply{status: 429, body: "<html>whoa there, pardner"}, limited},
		"429 with 200":                 {reply{body: `{"error":429}`}, limited},
		"500":                          {reply{status: 500, body: `{"message":"Internal Server Error","error":500}`}, fails},
		"500 that says invalid_grant":  {reply{status: 500, body: `{"error":"invalid_grant"}`}, fails},
		"522":                          {reply{status: 522}, fails},
		"408":                          {reply{status: 408}, fails},
		"a name that nobody knows":     {reply{body: `{"error":"the_moon"}`}, fails},
		"a name that is no word":       {reply{body: `{"error":"` + testRefresh + `"}`}, fails},
		"an error of an odd shape":     {reply{body: `{"error":[1]}`}, fails},
		"a redirect":                   {reply{status: 302, header: http.Header{"Location": {"/x"}}}, fails},
		"HTML with 200":                {reply{body: "<html>"}, fails},
		"a list":                       {reply{body: "[]"}, fails},
		"an empty object":              {reply{body: "{}"}, unproven},
		"nothing":                      {reply{}, unproven},
		"an empty token":               {reply{body: `{"access_token":"","refresh_token":"x","scope":"identity submit"}`}, unproven},
		"a token that is no text":      {reply{body: `{"access_token":{},"refresh_token":"x","scope":"identity submit"}`}, unproven},
		"an error that is null, alone": {reply{body: `{"error":null}`}, unproven},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t).on(tokenPath, tc.reply).on(revokePath, tc.reply)
			_, exchanged := b.exchange()
			_, refreshed := b.refresh()
			for i, err := range []error{exchanged, refreshed, b.revoke()} {
				call := []string{callCode, callRefresh, callRevoke}[i]
				if tc.want[i].kind == done {
					if err != nil {
						t.Errorf("%s: %v", call, err)
					}
					continue
				}
				e := wantError(t, call, err, tc.want[i].kind, tc.want[i].code)
				if e.Call.Name != call || e.Message == "" || e.ProviderCode == "" || (e.Code == limit) != (e.Wait == 10*time.Minute) ||
					e.Kind == wait && e.Scope != connectors.ScopeClient || e.Kind == reauthorize && e.Reason != connectors.ReasonInvalidGrant {
					t.Errorf("%s: %+v", call, e)
				}
			}
			if len(b.keys) != 3 {
				t.Errorf("called %v", b.keys)
			}
		})
	}
}

func TestALimitRestsAsLongAsItSays(t *testing.T) {
	t.Parallel()
	for want, h := range map[time.Duration]http.Header{
		90 * time.Second:  {"Retry-After": {"90"}, "X-Ratelimit-Reset": {"378"}},
		378 * time.Second: {"X-Ratelimit-Reset": {"378"}},
		time.Second:       {"X-Ratelimit-Reset": {"0.5"}},
		10 * time.Minute:  {"X-Ratelimit-Reset": {"soon"}},
	} {
		_, err := setup(t).on(tokenPath, reply{status: 429, header: h}).refresh()
		if e := wantError(t, "429", err, connectors.KindWait, connectors.CodeRateLimited); e.Wait != want {
			t.Errorf("%v: %v", h, e.Wait)
		}
	}
}

func TestAnImportNeedsARefreshToken(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.c.Import(context.Background(), connectors.Grant{AccessToken: connectors.NewSecret(newAccess)})
	if wantError(t, "access token only", err, connectors.KindReject, connectors.CodeValidation); len(b.keys) > 0 {
		t.Errorf("called %v", b.keys)
	}
	b.on(tokenPath, reply{body: tokenBody("")})
	g, err := b.c.Import(context.Background(), connectors.Grant{RefreshToken: connectors.NewSecret(testRefresh)})
	if err != nil || g.RefreshToken.Reveal() != testRefresh || g.AccessToken.Reveal() != newAccess || g.Username != "Ada" {
		t.Errorf("%+v, %v", g, err)
	}
}

func TestTheConfigurationTellsEveryFault(t *testing.T) {
	t.Parallel()
	_, err := New(Config{BaseURL: "a", OAuthURL: "b", AuthorizeURL: "c", TimeFactor: -1, ClientID: "x", UserAgent: "a\nb"})
	for _, want := range []string{"no client", "base URL", "OAuth URL", "authorize URL", "user agent", "time factor", "client id"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
}
