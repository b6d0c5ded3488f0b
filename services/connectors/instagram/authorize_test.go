package instagram

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"postbus.dev/services/connectors"
)

const (
	clientID   = "1029384756"
	testSecret = "client-secret-nobody-may-see"
	testCode   = "AQDcode-nobody-may-see"
	shortToken = "IGAAshort-nobody-may-see"
	longToken  = "IGAAlong-nobody-may-see"
	appScoped  = "23456789012345678"
	redirect   = "https://postbus.example/api/connect/instagram/callback"
	bothScopes = scopeBasic + "," + scopePublish

	codePath  = "POST /oauth/access_token"
	longPath  = "GET /access_token"
	mePath    = "GET /v25.0/me"
	limitPath = "GET " + quotaPath
)

// connecting is a connector with client settings, on a fake where everything
// goes well.
func setupConnect(t *testing.T) *bench {
	t.Helper()
	b := setupWith(t, Config{ClientID: clientID, ClientSecret: connectors.NewSecret(testSecret)})
	b.on(codePath, reply{body: `{"data":[{"access_token":"` + shortToken + `","user_id":"` + appScoped + `","permissions":"` + bothScopes + `"}]}`})
	b.on(longPath, reply{body: `{"access_token":"` + longToken + `","token_type":"bearer","expires_in":5183944}`})
	b.on(mePath, reply{body: `{"id":"` + appScoped + `","user_id":"` + testUser + `","username":"ada","account_type":"BUSINESS"}`})
	b.on(limitPath, reply{body: `{"data":[{"quota_usage":2}]}`})
	return b
}

func (b *bench) exchange() (connectors.Grant, error) {
	b.t.Helper()
	return b.c.Exchange(context.Background(), connectors.Exchange{Code: connectors.NewSecret(testCode), State: "s1", RedirectURI: redirect})
}

// keys are the requests that the fake got.
func (b *bench) keys() (list []string) {
	for _, q := range b.requests() {
		list = append(list, q.method+" "+q.path)
	}
	return list
}

// wantQuiet fails when a text holds a secret of these tests.
func wantQuiet(t *testing.T, text string) {
	t.Helper()
	for _, secret := range []string{testSecret, testCode, shortToken, longToken, testToken} {
		if strings.Contains(text, secret) {
			t.Errorf("shows a secret: %s", text)
		}
	}
}

func TestAuthorizeURLAsksForWhatPublishingNeeds(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	raw, err := b.c.AuthorizeURL(context.Background(), connectors.AuthorizeRequest{State: "s1", RedirectURI: redirect})
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	want := url.Values{
		"client_id": {clientID}, "redirect_uri": {redirect}, "response_type": {"code"}, "scope": {bothScopes}, "state": {"s1"},
		"enable_fb_login": {"false"}, // of the setting
	}
	if u.Path != "/oauth/authorize" || !reflect.DeepEqual(u.Query(), want) || len(b.requests()) != 0 {
		t.Errorf("got %s", raw)
	}
	wantQuiet(t, raw)
	if b.c.PKCE() {
		t.Error("Instagram has no PKCE")
	}
}

func TestWithoutClientSettingsItCannotConnectAndNamesThem(t *testing.T) {
	t.Parallel()
	b := setupWith(t, Config{})
	_, urlErr := b.c.AuthorizeURL(context.Background(), connectors.AuthorizeRequest{State: "s1", RedirectURI: redirect})
	_, codeErr := b.exchange()
	_, callErr := b.c.ReadCallback(connectors.CallbackRequest{Kind: connectors.CallbackDeletion, Body: []byte("signed_request=a.b")})
	for _, err := range []error{urlErr, codeErr, callErr} {
		if !errors.Is(err, connectors.ErrNotConfigured) || !strings.Contains(err.Error(), "INSTAGRAM_CLIENT_ID") || !strings.Contains(err.Error(), "INSTAGRAM_CLIENT_SECRET") {
			t.Errorf("got %v", err)
		}
	}
	if got := b.keys(); len(got) > 0 {
		t.Errorf("asked %v", got)
	}
}

func TestSettingsThatMakeNoSenseAreNamedTogether(t *testing.T) {
	t.Parallel()
	_, err := New(Config{ClientID: clientID, BaseURL: "graph", TokenURL: "/token", AuthorizeURL: "ftp://x/y", Version: "25", TimeFactor: -1})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"no client", "base URL", "authorize URL", "token URL", `version "25"`, "time factor", "client id and client secret"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

// Every request is asserted whole: what is not named here must not be sent.
func TestACodeBecomesAGrant(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	g, err := b.exchange()
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []asked{
		{method: "POST", path: "/oauth/access_token", query: url.Values{}, form: url.Values{
			"client_id": {clientID}, "client_secret": {testSecret}, "grant_type": {"authorization_code"}, "redirect_uri": {redirect}, "code": {testCode},
		}},
		{method: "GET", path: "/access_token", form: url.Values{}, query: url.Values{
			"grant_type": {"ig_exchange_token"}, "client_secret": {testSecret}, "access_token": {shortToken},
		}},
		{method: "GET", path: "/v25.0/me", form: url.Values{}, query: url.Values{"fields": {"id,user_id,username,account_type"}}},
	} {
		got, header := b.requests()[i], b.headers[i]
		wantContent, wantAuth := "", ""
		switch i {
		case 0:
			wantContent = "application/x-www-form-urlencoded"
		case 2:
			wantAuth = "Bearer " + longToken
		}
		if header.Get("Content-Type") != wantContent || header.Get("Authorization") != wantAuth {
			t.Errorf("%s: headers %v", got.path, header)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	if len(b.requests()) != 3 {
		t.Errorf("asked %v", b.keys())
	}
	if g.AccessToken.Reveal() != longToken || !g.RefreshToken.Empty() {
		t.Error("not the token of 60 days, or a refresh token where there is none")
	}
	g.AccessToken = connectors.Secret{}
	var meta map[string]string
	if err := json.Unmarshal(g.Metadata, &meta); err != nil {
		t.Fatal(err)
	}
	if want := map[string]string{connectors.CallbackID: appScoped, "account_type": "business"}; !reflect.DeepEqual(meta, want) {
		t.Errorf("metadata %v", meta)
	}
	g.Metadata = nil
	want := connectors.Grant{
		ProviderAccountID: testUser, Username: "ada", TokenType: "bearer", Scope: bothScopes,
		ExpiresIn: 5183944 * time.Second, RefreshIn: 5183944*time.Second - 10*day,
	}
	if !reflect.DeepEqual(g, want) {
		t.Errorf("got %+v, want %+v", g, want)
	}
}

// Meta's pages and servers do not agree on shapes.
func TestEveryShapeOfTheTokenAndMeAnswersIsRead(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ code, me string }{
		"wrapped, strings": {
			`{"data":[{"access_token":"` + shortToken + `","user_id":"` + appScoped + `","permissions":"instagram_business_basic, instagram_business_content_publish"}]}`,
			`{"data":[{"id":"` + appScoped + `","user_id":"` + testUser + `","username":"ada","account_type":"Media_Creator"}]}`,
		},
		"flat, numbers, list": {
			`{"access_token":"` + shortToken + `","user_id":` + appScoped + `,"permissions":["instagram_business_basic","instagram_business_content_publish","more"]}`,
			`{"id":` + appScoped + `,"user_id":` + testUser + `,"username":"ada"}`,
		},
		"app-scoped id in the token answer only": {
			`{"access_token":"` + shortToken + `","user_id":` + appScoped + `,"permissions":"` + bothScopes + `"}`,
			`{"user_id":"` + testUser + `","username":"ada","account_type":"BUSINESS"}`,
		},
	} {
		b := setupConnect(t)
		b.on(codePath, reply{body: tc.code}).on(mePath, reply{body: tc.me})
		g, err := b.exchange()
		if err != nil || g.ProviderAccountID != testUser || g.Username != "ada" || len(g.Missing) > 0 ||
			!strings.Contains(string(g.Metadata), `"callback_id":"`+appScoped+`"`) || !strings.HasPrefix(g.Scope, bothScopes) {
			t.Errorf("%s: got %+v, %v", name, g, err)
		}
	}
}

func TestWhatInstagramAppendsIsNoPartOfTheCode(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	if _, err := b.c.Exchange(context.Background(), connectors.Exchange{Code: connectors.NewSecret(testCode + "#_"), RedirectURI: redirect}); err != nil {
		t.Fatal(err)
	}
	if got := b.requests()[0].form.Get("code"); got != testCode {
		t.Errorf("sent %q", got)
	}
}

func TestACallbackWithoutACodeIsRefusedWithoutACall(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"", "#_"} {
		b := setupConnect(t)
		_, err := b.c.Exchange(context.Background(), connectors.Exchange{Code: connectors.NewSecret(code), RedirectURI: redirect})
		if e := wantError(t, err, connectors.KindReject); e.Code != connectors.CodeReauthRequired || len(b.requests()) > 0 {
			t.Errorf("%q: got %v after %v", code, e, b.keys())
		}
	}
}

// The token that comes with it is for Revoke, the name for whoever asks first
// whether the account is connected.
func TestAPermissionThatIsMissingEndsTheExchange(t *testing.T) {
	t.Parallel()
	for permissions, want := range map[string][]string{
		`"instagram_business_basic"`:               {scopePublish},
		`["instagram_business_content_publish"]`:   {scopeBasic},
		`["instagram_business_manage_comments"]`:   {scopeBasic, scopePublish},
		`"instagram_business_content_publishing,"`: {scopeBasic, scopePublish},
	} {
		b := setupConnect(t)
		b.on(codePath, reply{body: `{"access_token":"` + shortToken + `","user_id":1,"permissions":` + permissions + `}`})
		g, err := b.exchange()
		if err != nil || !slices.Equal(g.Missing, want) || g.AccessToken.Reveal() != shortToken || g.Scope == "" || len(b.requests()) != 1 ||
			!slices.Equal(connectors.AccountKeys("", g.Metadata), []string{"1"}) {
			t.Errorf("%s: got %+v, %v after %v", permissions, g, err, b.keys())
		}
	}
}

func TestWhatWasGrantedAndNotToldShowsInARead(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		limit   reply
		scope   string
		missing []string
	}{
		"both":        {reply{body: `{"data":[{"quota_usage":0}]}`}, bothScopes, nil},
		"not publish": {graphError(10, 0), scopeBasic, []string{scopePublish}},
		"200":         {graphError(200, 0), scopeBasic, []string{scopePublish}},
	} {
		b := setupConnect(t)
		b.on(codePath, reply{body: `{"access_token":"` + shortToken + `","user_id":1}`}).on(limitPath, tc.limit)
		g, err := b.exchange()
		if err != nil || g.Scope != tc.scope || !slices.Equal(g.Missing, tc.missing) {
			t.Errorf("%s: got %+v, %v", name, g, err)
		}
	}
	b := setupConnect(t)
	b.on(codePath, reply{body: `{"access_token":"` + shortToken + `"}`}).on(limitPath, reply{status: 500})
	_, err := b.exchange()
	wantError(t, err, connectors.KindRetry)
}

func TestOnlyProfessionalAccountsAreConnected(t *testing.T) {
	t.Parallel()
	for kind, good := range map[string]bool{
		"Business": true, "BUSINESS": true, "Media_Creator": true, "MEDIA_CREATOR": true, "CREATOR": true, "": true, "PERSONAL": false, "Consumer": false,
	} {
		b := setupConnect(t)
		b.on(mePath, reply{body: fmt.Sprintf(`{"id":"1","user_id":"2","username":"ada","account_type":%q}`, kind)})
		_, err := b.exchange()
		if good && err != nil {
			t.Errorf("%q: %v", kind, err)
		}
		if !good {
			if e := wantError(t, err, connectors.KindReject); e.Code != connectors.CodeAccountRestricted || !strings.Contains(e.Message, "professional") {
				t.Errorf("%q: %+v", kind, e)
			}
		}
	}
}

func TestATokenIsRefreshedAfterItsFirstDayAndWellBeforeItsLast(t *testing.T) {
	t.Parallel()
	const month = 30 * day
	for name, tc := range map[string]struct {
		expiresIn      string
		expires, first time.Duration
	}{
		"60 days":        {"5184000", 60 * day, 50 * day},
		"as a string":    {`"5184000"`, 60 * day, 50 * day},
		"30 days":        {"2592000", month, 20 * day},
		"2 days":         {"172800", 2 * day, refreshAge},
		"not told":       {"null", 60 * day, 50 * day},
		"nonsense":       {"-5", 60 * day, 50 * day},
		"beyond reason":  {"9223372036854775807", 3650 * day, 3640 * day},
		"not an integer": {"1e3", 60 * day, 50 * day},
	} {
		b := setupConnect(t)
		b.on(longPath, reply{body: `{"access_token":"` + longToken + `","token_type":"bearer","expires_in":` + tc.expiresIn + `}`})
		g, err := b.exchange()
		if err != nil || g.ExpiresIn != tc.expires || g.RefreshIn != tc.first {
			t.Errorf("%s: got %v %v, %v", name, g.ExpiresIn, g.RefreshIn, err)
		}
	}
}

func TestAFactorScalesTheLifeOfATokenToo(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	b.c.factor = 0.1
	if g, err := b.exchange(); err != nil || g.ExpiresIn != 518394400*time.Millisecond || g.RefreshIn != g.ExpiresIn-day {
		t.Errorf("got %v %v, %v", g.ExpiresIn, g.RefreshIn, err)
	}
}

func oauthError(status, code int) reply {
	return reply{status: status, body: fmt.Sprintf(`{"error_type":"OAuthException","code":%d,"error_message":"Matching code was not found or was already used"}`, code)}
}

// What a call of an exchange is answered with, and what the person is told.
func TestEveryAnswerToAnExchangeIsRetryOrReject(t *testing.T) {
	t.Parallel()
	const retry, reject = connectors.KindRetry, connectors.KindReject
	const again, ours, away, limit = connectors.CodeReauthRequired, connectors.CodeInternal, connectors.CodeUnavailable, connectors.CodeRateLimited
	for name, tc := range map[string]struct {
		call  string
		reply reply
		kind  connectors.Kind
		code  string
		says  string
	}{
		"code spent":                        {codePath, oauthError(400, 400), reject, again, "was already used"},
		"code spent, answered 200":          {codePath, oauthError(200, 400), reject, again, "was already used"},
		"client refused":                    {codePath, oauthError(401, 401), reject, ours, "client id or secret"},
		"client forbidden":                  {codePath, oauthError(403, 403), reject, ours, "client id or secret"},
		"undocumented code":                 {codePath, oauthError(400, 4711), reject, again, "was already used"},
		"too many codes":                    {codePath, oauthError(429, 429), retry, limit, ""},
		"OAuth envelope with 500":           {codePath, oauthError(500, 400), retry, away, ""},
		"Graph envelope":                    {codePath, graphError(190, 0), reject, again, ""},
		"500":                               {codePath, reply{status: 500, body: "oops"}, retry, away, ""},
		"HTML":                              {codePath, reply{body: "<html>"}, retry, away, "unreadable"},
		"no token":                          {codePath, reply{body: `{"data":[{"user_id":"1"}]}`}, retry, away, "unreadable"},
		"empty token":                       {codePath, reply{body: `{"access_token":"","user_id":"1"}`}, retry, away, "unreadable"},
		"redirect":                          {codePath, reply{status: 302, header: http.Header{"Location": {"/login"}}}, retry, away, ""},
		"429 without envelope":              {codePath, reply{status: 429}, retry, limit, ""},
		"permissions of another kind":       {codePath, reply{body: `{"access_token":"x","permissions":{"a":1}}`}, retry, away, "unreadable"},
		"long token: token refused":         {longPath, graphError(190, 463), reject, again, ""},
		"long token: parameter refused":     {longPath, graphError(100, 0), reject, ours, ""},
		"long token: permission":            {longPath, graphError(10, 0), reject, again, ""},
		"long token: server error":          {longPath, graphError(2, 0), retry, away, ""},
		"long token: application limit":     {longPath, graphError(4, 0), retry, limit, ""},
		"long token: undocumented":          {longPath, graphError(424242, 0), retry, away, ""},
		"long token: empty":                 {longPath, reply{body: `{"expires_in":5}`}, retry, away, "unreadable"},
		"me: our app is refused":            {mePath, graphError(101, 0), reject, ours, "client id or secret"},
		"me: restricted":                    {mePath, graphError(25, 2207050), reject, connectors.CodeAccountRestricted, "restricted"},
		"me: too many calls":                {mePath, graphError(80002, 0), retry, limit, ""},
		"me: 502":                           {mePath, reply{status: 502}, retry, away, ""},
		"me: without the account's id":      {mePath, reply{body: `{"id":"1","username":"ada"}`}, retry, away, "unreadable"},
		"me: removed by the person already": {mePath, graphError(190, 458), reject, again, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupConnect(t)
			b.on(tc.call, tc.reply)
			g, err := b.exchange()
			e := wantError(t, err, tc.kind)
			if e.Code != tc.code || !strings.Contains(e.Message, tc.says) || e.Call.Name == "" || (tc.code == limit) != (e.Wait > 0) {
				t.Errorf("got %+v", e)
			}
			if !g.AccessToken.Empty() {
				t.Error("a token beside an error")
			}
			wantQuiet(t, fmt.Sprintf("%v %+v", err, err))
			if n := len(slices.DeleteFunc(b.keys(), func(k string) bool { return k != codePath })); n != 1 {
				t.Errorf("the code was sent %d times", n)
			}
		})
	}
}

func TestNoRowOfTheErrorTableLeavesAPersonWaiting(t *testing.T) {
	t.Parallel()
	b := setupConnect(t)
	k := b.c.connection(connectors.Secret{})
	for _, r := range newErrorTable() {
		code, subcode := r.code, r.subcode
		if code == star {
			code = 4242
		}
		if subcode == star {
			subcode = 0
		}
		e := k.refusal(&apiError{Status: 400, Code: code, Subcode: subcode})
		if e.Kind != connectors.KindRetry && e.Kind != connectors.KindReject || e.Code == "" || e.Message == "" {
			t.Errorf("%d/%d: %+v", code, subcode, e)
		}
	}
}

// Meta repeats what it was given.
func TestAnErrorNeverRepeatsASecretOfTheExchange(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{testCode, testSecret, shortToken, longToken} {
		for _, at := range []string{codePath, longPath, mePath} {
			for _, body := range []string{
				`{"error_type":"OAuthException","code":400,"error_message":"Invalid value: ` + secret + `"}`,
				`{"error":{"message":"Malformed ` + secret[2:] + `","code":4242}}`,
				`{"access_token":"` + secret + `"`,
			} {
				b := setupConnect(t)
				b.on(at, reply{status: 400, body: body})
				_, err := b.exchange()
				var e *connectors.Error
				if !errors.As(err, &e) {
					t.Fatalf("%s: %s was taken", at, body)
				}
				for i := 0; i+12 <= len(secret); i++ {
					if strings.Contains(fmt.Sprintf("%+v", *e), secret[i:i+12]) {
						t.Errorf("%s: %+v", at, e)
						break
					}
				}
			}
		}
	}
}
