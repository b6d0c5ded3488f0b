package tiktok

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
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
	clientKey   = "awkey"
	testSecret  = "client-secret-nobody-may-see"
	testCode    = "code-nobody-may-see*0!4567.va"
	testAccess  = "act.old-access-nobody-may-see"
	testRefresh = "rft.old-refresh-nobody-may-see"
	newAccess   = "act.new-access-nobody-may-see"
	newRefresh  = "rft.new-refresh-nobody-may-see"
	redirect    = "https://postbus.example/api/connect/tiktok/callback"
	allScopes   = "user.info.basic,video.publish,user.info.profile,video.list"

	tokenPath   = "POST /v2/oauth/token/"
	revokePath  = "POST /v2/oauth/revoke/"
	userPath    = "GET /v2/user/info/"
	creatorPath = "POST /v2/post/publish/creator_info/query/"
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
}

func setup(t *testing.T, change ...func(*Config)) *bench {
	t.Helper()
	b := &bench{t: t, replies: map[string]reply{}}
	server := httptest.NewServer(b)
	t.Cleanup(server.Close)
	client := connectors.NewClient(connectors.ClientConfig{})
	t.Cleanup(client.Close)
	cfg := Config{
		Client: client, BaseURL: server.URL + "/", AuthorizeURL: server.URL + "/authorize/?disable_auto_auth=1",
		ClientID: clientKey, ClientSecret: connectors.NewSecret(testSecret),
	}
	for _, f := range change {
		f(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.c = c
	b.on(tokenPath, reply{body: pairBody(allScopes)})
	b.on(userPath, reply{body: `{"data":{"user":{"open_id":"-000ab","display_name":"Ada L","username":"ada"}},"error":{"code":"ok","message":"","log_id":"L1"}}`})
	return b
}

func unconfigured(cfg *Config) { cfg.ClientID, cfg.ClientSecret = "", connectors.Secret{} }

func pairBody(scope string) string {
	return `{"access_token":"` + newAccess + `","expires_in":7200,"open_id":"-000ab","refresh_expires_in":15552000,"refresh_token":"` + newRefresh +
		`","scope":"` + scope + `","token_type":"Bearer"}`
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
	b.keys, b.forms = append(b.keys, key), append(b.forms, r.Form)
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

// calls are the requests until now.
func (b *bench) calls() ([]string, []url.Values) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.keys), slices.Clone(b.forms)
}

func (b *bench) exchange(code string) (connectors.Grant, error) {
	b.t.Helper()
	return b.c.Exchange(context.Background(), connectors.Exchange{Code: connectors.NewSecret(code), State: "s1", RedirectURI: redirect})
}

// armed is a context in which one Commit may go out.
func armed() context.Context {
	return connectors.WithArm(context.Background(), func(context.Context) (connectors.Window, error) {
		return connectors.Window{SendBy: time.Now().Add(30 * time.Second), UserTimeout: 10 * time.Second}, nil
	})
}

func (b *bench) refresh() (connectors.Grant, error) {
	b.t.Helper()
	a := connectors.Account{ProviderAccountID: "-000ab", AccessToken: connectors.NewSecret(testAccess)}
	return b.c.Refresh(armed(), a, connectors.NewSecret(testRefresh))
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

func TestAuthorizeURLAsksWithCommasAndTheClientKey(t *testing.T) {
	t.Parallel()
	b := setup(t)
	raw, err := b.c.AuthorizeURL(context.Background(), connectors.AuthorizeRequest{State: "s1", RedirectURI: redirect})
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	want := url.Values{
		"client_key": {clientKey}, "redirect_uri": {redirect}, "response_type": {"code"}, "scope": {allScopes}, "state": {"s1"},
		"disable_auto_auth": {"1"}, // of the setting
	}
	if u.Path != "/authorize/" || !reflect.DeepEqual(u.Query(), want) || strings.Contains(raw, "nobody-may-see") || b.c.PKCE() {
		t.Errorf("got %s", raw)
	}
}

func TestWithoutClientSettingsNothingIsCalledAndTheyAreNamed(t *testing.T) {
	t.Parallel()
	b := setup(t, unconfigured)
	_, urlErr := b.c.AuthorizeURL(context.Background(), connectors.AuthorizeRequest{State: "s1", RedirectURI: redirect})
	_, codeErr := b.exchange(testCode)
	_, refreshErr := b.refresh()
	revokeErr := b.c.Revoke(context.Background(), connectors.Account{AccessToken: connectors.NewSecret(testAccess)}, connectors.Secret{})
	for _, err := range []error{urlErr, codeErr, refreshErr, revokeErr} {
		if !errors.Is(err, connectors.ErrNotConfigured) || !strings.Contains(err.Error(), "TIKTOK_CLIENT_ID and TIKTOK_CLIENT_SECRET") {
			t.Errorf("got %v", err)
		}
	}
	wantError(t, "refresh", refreshErr, connectors.KindReject, connectors.CodeInternal)
	if keys, _ := b.calls(); len(keys) > 0 {
		t.Errorf("called %v", keys)
	}
}

func TestSettingsThatMakeNoSenseAreNamedTogether(t *testing.T) {
	t.Parallel()
	_, err := New(Config{BaseURL: "open.tiktokapis.com", AuthorizeURL: "/x", TimeFactor: -1, ClientID: "k"})
	for _, want := range []string{"no client", "base URL", "authorize URL", "time factor", "client id and client secret"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

func TestACodeBecomesAGrant(t *testing.T) {
	t.Parallel()
	for _, code := range []string{testCode, url.QueryEscape(testCode)} { // TikTok asks that it be decoded once more
		b := setup(t)
		g, err := b.exchange(code)
		if err != nil {
			t.Fatal(err)
		}
		keys, forms := b.calls()
		want := []url.Values{
			{"client_key": {clientKey}, "client_secret": {testSecret}, "grant_type": {"authorization_code"}, "redirect_uri": {redirect}, "code": {testCode}},
			{"fields": {"open_id,display_name,username"}},
		}
		if !slices.Equal(keys, []string{tokenPath, userPath}) || !reflect.DeepEqual(forms, want) {
			t.Errorf("asked %v %v", keys, forms)
		}
		if g.AccessToken.Reveal() != newAccess || g.RefreshToken.Reveal() != newRefresh {
			t.Error("other tokens")
		}
		g.AccessToken, g.RefreshToken = connectors.Secret{}, connectors.Secret{}
		if want := (connectors.Grant{
			ProviderAccountID: "-000ab", Username: "ada", TokenType: "bearer", Scope: allScopes,
			ExpiresIn: 2 * time.Hour, RefreshIn: time.Hour, RefreshExpiresIn: 180 * 24 * time.Hour,
		}); !reflect.DeepEqual(g, want) {
			t.Errorf("got %+v, want %+v", g, want)
		}
	}
}

func TestACallbackWithoutACodeIsRefusedWithoutACall(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.exchange("")
	if wantError(t, "no code", err, connectors.KindReject, connectors.CodeReauthRequired); len(b.keys) > 0 {
		t.Errorf("called %v", b.keys)
	}
}

func TestAPermissionThatIsMissingEndsTheExchange(t *testing.T) {
	t.Parallel()
	for scope, want := range map[string][]string{
		"user.info.basic": {scopePublish}, "video.publish,video.list": {scopeBasic}, "user.info.profile": {scopeBasic, scopePublish},
	} {
		b := setup(t).on(tokenPath, reply{body: pairBody(scope)})
		g, err := b.exchange(testCode)
		if err != nil || !slices.Equal(g.Missing, want) || g.AccessToken.Empty() || g.ProviderAccountID != "-000ab" || len(b.keys) != 1 {
			t.Errorf("%s: %+v, %v after %v", scope, g, err, b.keys)
		}
	}
}

func TestWithoutThePermissionForTheProfileTheNameComesFromElsewhere(t *testing.T) {
	t.Parallel()
	creator := func(r reply) (connectors.Grant, []url.Values, error) {
		b := setup(t).on(tokenPath, reply{body: pairBody("user.info.basic,video.publish")}).on(creatorPath, r)
		b.on(userPath, reply{body: `{"data":{"user":{"open_id":"-000ab","display_name":"Ada L"}},"error":{"code":"ok"}}`})
		g, err := b.exchange(testCode)
		_, forms := b.calls()
		return g, forms, err
	}
	g, forms, err := creator(reply{body: `{"data":{"creator_username":"ada"},"error":{"code":"ok"}}`})
	if err != nil || g.Username != "ada" || forms[1].Get("fields") != "open_id,display_name" {
		t.Errorf("%+v, %v after %v", g, err, forms)
	}
	for _, r := range []reply{{status: 503}, {status: 403, body: `{"error":{"code":"spam_risk_user_banned_from_posting"}}`}, {body: `{"data":{},"error":{"code":"ok"}}`}} {
		if g, _, err := creator(r); err != nil || g.Username != "Ada L" || g.AccessToken.Empty() {
			t.Errorf("%+v: %+v, %v", r, g, err)
		}
	}
}

func TestHowLongTokensLiveIsWhatTheAnswerTells(t *testing.T) {
	t.Parallel()
	const hours, days = time.Hour, 24 * time.Hour
	for body, want := range map[string][3]time.Duration{ // access, refresh at, refresh token
		`"expires_in":7200,"refresh_expires_in":15552000`:                                      {2 * hours, hours, 180 * days},
		`"expires_in":86400,"refresh_expires_in":31536000`:                                     {24 * hours, 12 * hours, 365 * days},
		`"expires_in":"600","refresh_expires_in":"86400"`:                                      {10 * time.Minute, 5 * time.Minute, days},
		`"token_type":"Bearer"`:                                                                {2 * hours, hours, 180 * days},
		`"expires_in":-1,"refresh_expires_in":0`:                                               {2 * hours, hours, 180 * days},
		`"expires_in":{"s":1},"refresh_expires_in":[1],"token_type":7,"open_id":{},"scope":{}`: {2 * hours, hours, 180 * days},
	} {
		b := setup(t).on(tokenPath, reply{body: `{"access_token":"` + newAccess + `","refresh_token":"` + newRefresh + `",` + body + `}`})
		g, err := b.refresh()
		if err != nil || g.AccessToken.Reveal() != newAccess || g.RefreshToken.Reveal() != newRefresh || [3]time.Duration{g.ExpiresIn, g.RefreshIn, g.RefreshExpiresIn} != want {
			t.Errorf("%s: %v %v %v, %v", body, g.ExpiresIn, g.RefreshIn, g.RefreshExpiresIn, err)
		}
		b.c.factor = 0.5
		if g, err := b.refresh(); err != nil || g.ExpiresIn != want[0]/2 || g.RefreshIn != want[1]/2 || g.RefreshExpiresIn != want[2]/2 {
			t.Errorf("%s: scaled to %v %v %v, %v", body, g.ExpiresIn, g.RefreshIn, g.RefreshExpiresIn, err)
		}
	}
}

func TestARefreshIsOneCallThatIsArmed(t *testing.T) {
	t.Parallel()
	for _, body := range []string{pairBody(allScopes), `{"data":` + pairBody(allScopes) + `,"message":"success"}`} {
		b := setup(t).on(tokenPath, reply{body: body})
		g, err := b.refresh()
		if err != nil || g.AccessToken.Reveal() != newAccess || g.RefreshToken.Reveal() != newRefresh || g.Scope != allScopes {
			t.Errorf("%+v, %v", g, err)
		}
		keys, forms := b.calls()
		want := url.Values{"client_key": {clientKey}, "client_secret": {testSecret}, "grant_type": {"refresh_token"}, "refresh_token": {testRefresh}}
		if !slices.Equal(keys, []string{tokenPath}) || !reflect.DeepEqual(forms[0], want) {
			t.Errorf("asked %v %v", keys, forms)
		}
	}
	b := setup(t)
	_, err := b.c.Refresh(context.Background(), connectors.Account{}, connectors.NewSecret(testRefresh))
	if e := wantError(t, "not armed", err, connectors.KindRetry, connectors.CodeInternal); !e.NotSent || len(b.keys) > 0 {
		t.Errorf("%+v after %v", e, b.keys)
	}
	_, err = b.c.Refresh(armed(), connectors.Account{}, connectors.Secret{})
	if e := wantError(t, "no refresh token", err, connectors.KindReauthorize, connectors.CodeReauthRequired); e.Reason == "" || len(b.keys) > 0 {
		t.Errorf("%+v after %v", e, b.keys)
	}
}

// Production times: what is armed has to be long over before the old token is
// tried again.
func TestTheRefreshRule(t *testing.T) {
	t.Parallel()
	b := setup(t)
	want := connectors.RefreshRule{Rotates: true, Call: 30 * time.Second, Settle: 90 * time.Second, UserTO: 20 * time.Second}
	if got := b.c.RefreshRule(); got != want {
		t.Errorf("%+v", got)
	}
	b.c.factor = 0.1
	if got := b.c.RefreshRule(); got.Settle != 9*time.Second || got.Call != 3*time.Second || got.UserTO != 2*time.Second {
		t.Errorf("%+v", got)
	}
}

func oauth(status int, name string) reply {
	return reply{status: status, body: `{"error":"` + name + `","error_description":"about ` + testRefresh + `","log_id":"L2"}`}
}

// What the answers of every call mean. The refresh is the strict one: only what
// proves that the old token was not spent is anything but unknown.
func TestEveryAnswerHasItsMeaning(t *testing.T) {
	t.Parallel()
	const (
		unknown, retry, wait = connectors.KindUnknown, connectors.KindRetry, connectors.KindWait
		reject, reauthorize  = connectors.KindReject, connectors.KindReauthorize
		done                 = connectors.Kind(100)
	)
	const again, internal, away, limit = connectors.CodeReauthRequired, connectors.CodeInternal, connectors.CodeUnavailable, connectors.CodeRateLimited
	type outcome struct {
		kind connectors.Kind
		code string
	}
	lost := [3]outcome{{retry, away}, {unknown, away}, {retry, away}}
	operator := [3]outcome{{reject, internal}, {reject, internal}, {reject, internal}}
	limited := [3]outcome{{retry, limit}, {wait, limit}, {wait, limit}}
	dead := [3]outcome{{reject, again}, {reauthorize, again}, {done, ""}}
	for name, tc := range map[string]struct {
		reply reply
		want  [3]outcome // of Exchange, Refresh, Revoke
	}{
		"invalid_grant":                          {oauth(400, "invalid_grant"), dead},
		"invalid_grant with 200":                 {oauth(200, "invalid_grant"), dead},
		"invalid_grant with 401":                 {oauth(401, "invalid_grant"), dead},
		"invalid_grant with 500":                 {oauth(500, "invalid_grant"), lost},
		"invalid_client":                         {oauth(401, "invalid_client"), operator},
		"invalid_client with 200":                {oauth(200, "invalid_client"), operator},
		"unauthorized_client":                    {oauth(400, "unauthorized_client"), operator},
		"invalid_request":                        {oauth(400, "invalid_request"), operator},
		"invalid_scope":                          {oauth(400, "invalid_scope"), operator},
		"unsupported_grant_type":                 {oauth(400, "unsupported_grant_type"), operator},
		"server_error":                           {oauth(500, "server_error"), lost},
		"server_error with 200":                  {oauth(200, "server_error"), lost},
		"server_error with 400":                  {oauth(400, "server_error"), lost},
		"temporarily_unavailable":                {oauth(503, "temporarily_unavailable"), lost},
		"temporarily_unavailable with 400":       {oauth(400, "temporarily_unavailable"), lost},
		"429":                                    {oauth(429, "rate_limit_exceeded"), limited},
		"429 of a front end":                     {reply{status: 429, body: "<html>"}, limited},
		"429 that says something else":           {oauth(429, "invalid_grant"), limited},
		"a limit with 200":                       {reply{body: `{"data":{},"error":{"code":"rate_limit_exceeded","message":"","log_id":"L"}}`}, limited},
		"a name that nobody knows":               {oauth(400, "the_moon_is_full"), lost},
		"a name that is no word":                 {oauth(400, testRefresh), lost},
		"an error that is no name":               {reply{status: 400, body: `{"error":17}`}, lost},
		"an error of an odd shape":               {reply{body: `{"error":[1]}`}, lost},
		"a flat error of the API":                {reply{status: 500, body: `{"code":"internal_error","message":"","log_id":"L"}`}, lost},
		"HTML with 200":                          {reply{body: "<html>Sorry</html>"}, lost},
		"HTML with 403":                          {reply{status: 403, body: "<html>Forbidden</html>"}, lost},
		"404 without a body":                     {reply{status: 404}, lost},
		"a redirect":                             {reply{status: 302, header: http.Header{"Location": {"/elsewhere"}}}, lost},
		"502 without a body":                     {reply{status: 502}, lost},
		"a list":                                 {reply{body: `[]`}, lost},
		"a name of the API":                      {reply{status: 401, body: `{"data":{},"error":{"code":"access_token_invalid","log_id":"L"}}`}, [3]outcome{{reject, again}, {unknown, away}, {done, ""}}},
		"access_denied, which is no answer here": {oauth(400, "access_denied"), [3]outcome{{reject, again}, {unknown, away}, {reject, internal}}},
		"an empty object":                        {reply{body: `{}`}, [3]outcome{{retry, away}, {unknown, away}, {done, ""}}},
		"nothing":                                {reply{}, [3]outcome{{retry, away}, {unknown, away}, {done, ""}}},
		"an empty token":                         {reply{body: `{"access_token":"","refresh_token":"x","scope":"` + allScopes + `"}`}, [3]outcome{{retry, away}, {unknown, away}, {done, ""}}},
		"a null token":                           {reply{body: `{"access_token":null}`}, [3]outcome{{retry, away}, {unknown, away}, {done, ""}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t).on(tokenPath, tc.reply).on(revokePath, tc.reply)
			_, exchanged := b.exchange(testCode)
			_, refreshed := b.refresh()
			revoked := b.c.Revoke(context.Background(), connectors.Account{AccessToken: connectors.NewSecret(testAccess)}, connectors.Secret{})
			for i, err := range []error{exchanged, refreshed, revoked} {
				call := []string{callCode, callRefresh, callRevoke}[i]
				if tc.want[i].kind == done {
					if err != nil {
						t.Errorf("%s: %v", call, err)
					}
					continue
				}
				e := wantError(t, call, err, tc.want[i].kind, tc.want[i].code)
				if e.Call.Name != call || e.Message == "" || e.ProviderCode == "" || (tc.want[i].code == limit) != (e.Wait >= time.Minute) {
					t.Errorf("%s: %+v", call, e)
				}
				if e.Kind == wait && (e.Scope != connectors.ScopeClient || e.Reason != connectors.ReasonRateLimit) ||
					e.Kind == reauthorize && e.Reason != connectors.ReasonInvalidGrant {
					t.Errorf("%s: %+v", call, e)
				}
			}
			if keys, _ := b.calls(); len(keys) != 3 {
				t.Errorf("called %v", keys)
			}
		})
	}
}

func TestTheRequestIDIsInTheErrorAndALongerWaitIsKept(t *testing.T) {
	t.Parallel()
	b := setup(t).on(tokenPath, reply{status: 429, header: http.Header{"Retry-After": {"300"}, "X-Tt-Logid": {"H1"}}, body: oauth(429, "x").body})
	_, err := b.refresh()
	if e := wantError(t, "limited", err, connectors.KindWait, connectors.CodeRateLimited); e.Wait != 5*time.Minute || e.Call.RequestID != "H1" {
		t.Errorf("%+v", e)
	}
	b.on(tokenPath, oauth(400, "invalid_grant"))
	_, err = b.refresh()
	if e := wantError(t, "dead", err, connectors.KindReauthorize, connectors.CodeReauthRequired); e.Call.RequestID != "L2" || e.ProviderCode != "invalid_grant" || e.Call.Status != 400 {
		t.Errorf("%+v", e)
	}
}

func TestWhoseTheTokensAreIsReadOrTheyAreNotKept(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]reply{
		"another account": {body: `{"data":{"user":{"open_id":"-000cd"}},"error":{"code":"ok"}}`},
		"nobody":          {body: `{"data":{"user":{}},"error":{"code":"ok"}}`},
		"503":             {status: 503},
		"HTML":            {body: "<html>"},
	} {
		g, err := setup(t).on(userPath, r).exchange(testCode)
		if wantError(t, name, err, connectors.KindRetry, connectors.CodeUnavailable); !g.AccessToken.Empty() {
			t.Errorf("%s: a token beside an error", name)
		}
	}
	_, err := setup(t).on(userPath, reply{status: 401, body: `{"code":"access_token_invalid","message":"","log_id":"L"}`}).exchange(testCode)
	wantError(t, "dead", err, connectors.KindReject, connectors.CodeReauthRequired)
}

func TestAnAccessTokenThatHadExpiredProvesNothingAboutItsGrant(t *testing.T) {
	t.Parallel()
	b := setup(t).on(revokePath, oauth(400, "invalid_grant"))
	revoke := func(expires time.Time) error {
		return b.c.Revoke(context.Background(), connectors.Account{AccessToken: connectors.NewSecret(testAccess), ExpiresAt: expires}, connectors.NewSecret(testRefresh))
	}
	wantError(t, "expired", revoke(time.Now().Add(-time.Minute)), connectors.KindReject, connectors.CodeReauthRequired)
	if err := revoke(time.Now().Add(time.Minute)); err != nil {
		t.Errorf("gone already: %v", err)
	}
	_, forms := b.calls()
	if want := (url.Values{"client_key": {clientKey}, "client_secret": {testSecret}, "token": {testAccess}}); !reflect.DeepEqual(forms[0], want) {
		t.Errorf("asked %v", forms[0])
	}
	if err := b.c.Revoke(context.Background(), connectors.Account{}, connectors.Secret{}); err == nil || len(b.keys) != 2 {
		t.Errorf("without a token: %v after %v", err, b.keys)
	}
}
