package tiktok_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"postbus.dev/services/connectors/sandbox/stage"
	"postbus.dev/services/connectors/sandbox/tiktok"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	backTo = "https://postbus.example/api/connect/tiktok/callback"
	all    = "user.info.basic,video.publish,user.info.profile"
)

// bundle is a stand-in with one account and one app, in a bubble of fake time.
type bundle struct {
	t    *testing.T
	st   *stage.Stage
	tk   *tiktok.TikTok
	acct stage.Account
}

func inBubble(t *testing.T, b tiktok.Behavior, f func(b *bundle)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st, err := stage.New(stage.Config{})
		if err != nil {
			t.Fatal(err)
		}
		tk := tiktok.New(st, b)
		st.Faults.Register(tk)
		acct, err := tk.Account(stage.Account{Username: "ada"})
		if err != nil {
			t.Fatal(err)
		}
		if err := st.Clients.Put(stage.Client{Provider: tiktok.Name, ID: "app", Secret: "s", RedirectURIs: []string{backTo}}); err != nil {
			t.Fatal(err)
		}
		f(&bundle{t: t, st: st, tk: tk, acct: acct})
	})
}

// reply is an answer as a client sees it.
type reply struct {
	status int
	header http.Header
	body   map[string]any
}

// pair is the tokens in the answer, within data or not.
func (r reply) pair() (access, refresh string) {
	in := r.body
	if data, ok := r.body["data"].(map[string]any); ok {
		in = data
	}
	access, _ = in["access_token"].(string)
	refresh, _ = in["refresh_token"].(string)
	return access, refresh
}

// name is the error's name, in any of the envelopes; "" or "ok": none.
func (r reply) name() string {
	if flat, ok := r.body["code"].(string); ok {
		return flat
	}
	switch e := r.body["error"].(type) {
	case string:
		return e
	case map[string]any:
		return e["code"].(string)
	}
	return ""
}

func (b *bundle) serve(r *http.Request) reply {
	b.t.Helper()
	w := httptest.NewRecorder()
	b.tk.Handler().ServeHTTP(w, r)
	out := reply{status: w.Code, header: w.Header()}
	if w.Body.Len() > 0 && json.Unmarshal(w.Body.Bytes(), &out.body) != nil {
		b.t.Fatalf("answer is not JSON: %s", w.Body)
	}
	return out
}

// post sends a form with the app's credentials; pairs are parameters and win.
func (b *bundle) post(path string, pairs ...string) reply {
	b.t.Helper()
	form := url.Values{"client_key": {"app"}, "client_secret": {"s"}}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	r := httptest.NewRequest("POST", path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return b.serve(r)
}

func (b *bundle) refresh(token string, more ...string) reply {
	b.t.Helper()
	return b.post("/v2/oauth/token/", append([]string{"grant_type", "refresh_token", "refresh_token", token}, more...)...)
}

func (b *bundle) token(code string, more ...string) reply {
	b.t.Helper()
	return b.post("/v2/oauth/token/", append([]string{"grant_type", "authorization_code", "redirect_uri", backTo, "code", code}, more...)...)
}

// user reads who a token belongs to.
func (b *bundle) user(token, fields string) reply {
	b.t.Helper()
	r := httptest.NewRequest("GET", "/v2/user/info/?"+url.Values{"fields": {fields}}.Encode(), nil)
	r.Header.Set("Authorization", "Bearer "+token)
	return b.serve(r)
}

// page opens the page for permissions, or sends its form.
func (b *bundle) page(form url.Values, pairs ...string) *httptest.ResponseRecorder {
	b.t.Helper()
	q := url.Values{"client_key": {"app"}, "redirect_uri": {backTo}, "response_type": {"code"}, "scope": {all}, "state": {"s1"}}
	for i := 0; i < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
	}
	method := "GET"
	if form != nil {
		method = "POST"
	}
	r := httptest.NewRequest(method, "/v2/auth/authorize/?"+q.Encode(), strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	b.tk.Handler().ServeHTTP(w, r)
	return w
}

// sentBack is the query that a person who allows these is sent back with.
func (b *bundle) sentBack(scopes ...string) url.Values {
	b.t.Helper()
	form := url.Values{"account": {b.acct.ID}, "decision": {"allow"}}
	for _, s := range scopes {
		form.Set("allow_"+s, "on")
	}
	u, err := url.Parse(b.page(form).Header().Get("Location"))
	if err != nil || !strings.HasPrefix(u.String(), backTo) {
		b.t.Fatalf("sent to %v, %v", u, err)
	}
	return u.Query()
}

// connect is a grant of these scopes.
func (b *bundle) connect(scopes ...string) (access, refresh string) {
	b.t.Helper()
	code, err := url.PathUnescape(b.sentBack(scopes...).Get("code"))
	if err != nil {
		b.t.Fatal(err)
	}
	access, refresh = b.token(code).pair()
	if access == "" || refresh == "" {
		b.t.Fatal("no tokens for a code")
	}
	return access, refresh
}

// spent sums how often refresh tokens were spent once too often.
func (b *bundle) spent() (n int) {
	for _, t := range b.st.Accounts.Tokens(stage.TokenFilter{Provider: tiktok.Name, Kind: "refresh"}) {
		n += max(0, t.Spent-1)
	}
	return n
}
