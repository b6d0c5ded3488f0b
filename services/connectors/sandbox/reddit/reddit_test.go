package reddit_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"postbus.dev/services/connectors/sandbox/reddit"
	"postbus.dev/services/connectors/sandbox/stage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const backTo = "https://postbus.example/back"

// bundle is a stand-in with one account and one app, in a bubble of fake time.
type bundle struct {
	t    *testing.T
	st   *stage.Stage
	rd   *reddit.Reddit
	acct stage.Account
}

func inBubble(t *testing.T, b reddit.Behavior, f func(b *bundle)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st, err := stage.New(stage.Config{})
		if err != nil {
			t.Fatal(err)
		}
		rd := reddit.New(st, b)
		st.Faults.Register(rd)
		acct, err := rd.Account(stage.Account{Username: "ada"})
		if err != nil {
			t.Fatal(err)
		}
		if err := st.Clients.Put(stage.Client{Provider: reddit.Name, ID: "app", Secret: "s", RedirectURIs: []string{backTo}}); err != nil {
			t.Fatal(err)
		}
		f(&bundle{t: t, st: st, rd: rd, acct: acct})
	})
}

// reply is an answer as a client sees it; body is nil where it is no JSON.
type reply struct {
	status int
	header http.Header
	body   map[string]any
}

func (r reply) text(name string) string {
	if v, ok := r.body[name]; ok {
		return fmt.Sprint(v)
	}
	return ""
}

func (b *bundle) serve(r *http.Request) reply {
	b.t.Helper()
	if r.Header.Get("User-Agent") == "" {
		r.Header.Set("User-Agent", "server:app:v1")
	}
	w := httptest.NewRecorder()
	b.rd.Handler().ServeHTTP(w, r)
	out := reply{status: w.Code, header: w.Header()}
	_ = json.Unmarshal(w.Body.Bytes(), &out.body)
	return out
}

func (b *bundle) post(path, secret string, pairs ...string) reply {
	b.t.Helper()
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	r := httptest.NewRequest("POST", path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth("app", secret)
	return b.serve(r)
}

func (b *bundle) refresh(token string) reply {
	b.t.Helper()
	return b.post("/api/v1/access_token", "s", "grant_type", "refresh_token", "refresh_token", token)
}

func (b *bundle) token(code string) reply {
	b.t.Helper()
	return b.post("/api/v1/access_token", "s", "grant_type", "authorization_code", "redirect_uri", backTo, "code", code)
}

func (b *bundle) me(token string) reply {
	b.t.Helper()
	r := httptest.NewRequest("GET", "/api/v1/me?raw_json=1", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	return b.serve(r)
}

// decide sends the page's form; pairs are parameters and win.
func (b *bundle) decide(decision string, pairs ...string) *httptest.ResponseRecorder {
	b.t.Helper()
	q := url.Values{
		"client_id": {"app"}, "redirect_uri": {backTo}, "response_type": {"code"}, "scope": {"identity submit"}, "state": {"s1"}, "duration": {"permanent"},
	}
	for i := 0; i < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
	}
	form := url.Values{"account": {"ada"}, "decision": {decision}, "allow_identity": {"on"}, "allow_submit": {"on"}}
	r := httptest.NewRequest("POST", "/api/v1/authorize?"+q.Encode(), strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	b.rd.Handler().ServeHTTP(w, r)
	return w
}

func (b *bundle) code(pairs ...string) string {
	b.t.Helper()
	w := b.decide("allow", pairs...)
	u, err := url.Parse(w.Header().Get("Location"))
	if err != nil || u.Query().Get("state") != "s1" || u.Fragment != "_" {
		b.t.Fatalf("%d: sent to %v, %v", w.Code, u, err)
	}
	return u.Query().Get("code")
}

func TestACodeMakesTokensThatLastAndWorksOnce(t *testing.T) {
	inBubble(t, reddit.Hostile(), func(b *bundle) {
		code := b.code()
		first := b.token(code)
		access, refresh := first.text("access_token"), first.text("refresh_token")
		if first.text("scope") != "identity submit" || first.body["expires_in"] != 86400.0 || access == "" || refresh == "" {
			t.Errorf("%v", first.body)
		}
		if r := b.me(access); r.text("name") != "ada" || r.text("id") != b.acct.ID || !strings.HasSuffix(r.header.Get("X-Ratelimit-Remaining"), "99.0") && r.header.Get("X-Ratelimit-Remaining") != "999" {
			t.Errorf("%v %v", r.body, r.header)
		}
		time.Sleep(24 * time.Hour)
		if r := b.me(access); r.status != 401 || !strings.Contains(r.header.Get("Www-Authenticate"), "invalid_token") {
			t.Errorf("after a day: %d %v", r.status, r.header)
		}
		if r := b.refresh(refresh); r.text("access_token") == "" {
			t.Errorf("%v", r.body)
		}
		if r := b.token(code); r.status != 200 || r.text("error") != "invalid_grant" {
			t.Errorf("the code again: %d %v", r.status, r.body)
		}
		if r := b.refresh(refresh); r.status != 400 || r.text("error") != "400" {
			t.Errorf("what the code was good for: %d %v", r.status, r.body)
		}
		if r := b.token(b.code("duration", "temporary")); r.text("access_token") == "" || r.text("refresh_token") != "" {
			t.Errorf("temporary: %v", r.body)
		}
		late := b.code()
		time.Sleep(10 * time.Minute)
		if r := b.token(late); r.text("error") != "invalid_grant" {
			t.Errorf("late: %v", r.body)
		}
	})
}

func TestWhatThePageRefusesAndWhoCancels(t *testing.T) {
	inBubble(t, reddit.Faithful(), func(b *bundle) {
		for _, pairs := range [][]string{{"state", ""}, {"client_id", "nobody"}, {"redirect_uri", backTo + "/x"}, {"response_type", "token"}, {"scope", "birthday"}} {
			if w := b.decide("allow", pairs...); w.Code != 400 || w.Header().Get("Location") != "" {
				t.Errorf("%v: %d %v", pairs, w.Code, w.Header())
			}
		}
		if to := b.decide("cancel").Header().Get("Location"); to != backTo+"?error=access_denied&state=s1#_" {
			t.Errorf("canceled: %s", to)
		}
	})
}

func TestARefreshTokenGoesOnWhateverComesWithTheAnswer(t *testing.T) {
	inBubble(t, reddit.Hostile(), func(b *bundle) {
		seen := map[string]bool{}
		for range 40 {
			r := b.refresh(b.acct.RefreshToken)
			switch got := r.text("refresh_token"); {
			case r.text("access_token") == "":
				t.Fatalf("%v", r.body)
			case got == "":
				seen["none"] = true
			case got == b.acct.RefreshToken:
				seen["the same"] = true
			case b.refresh(got).text("access_token") != "":
				seen["another"] = true
			}
		}
		if len(seen) != 3 {
			t.Errorf("%v", seen)
		}
	})
}

func TestTheClientIsCheckedFirst(t *testing.T) {
	inBubble(t, reddit.Hostile(), func(b *bundle) {
		r := b.post("/api/v1/access_token", "wrong", "grant_type", "refresh_token", "refresh_token", "nobody")
		if r.status != 401 || r.header.Get("Www-Authenticate") != `Basic realm="reddit"` || r.text("error") != "401" {
			t.Errorf("%d %v %v", r.status, r.body, r.header)
		}
		if r := b.post("/api/v1/access_token", "s", "grant_type", "password"); r.text("error") != "unsupported_grant_type" {
			t.Errorf("%v", r.body)
		}
		if r := b.post("/api/v1/revoke_token", "s", "more", "1"); r.text("error") != "invalid_request" {
			t.Errorf("%v", r.body)
		}
		anonymous := httptest.NewRequest("GET", "/api/v1/me", nil)
		anonymous.Header.Set("User-Agent", "Go-http-client/1.1")
		if r := b.serve(anonymous); r.status != 429 || r.body != nil {
			t.Errorf("%d %v", r.status, r.body)
		}
		if r := b.serve(httptest.NewRequest("GET", "/api/v1/elsewhere", nil)); r.status != 404 {
			t.Errorf("%d", r.status)
		}
	})
}

func TestRevokingARefreshTokenEndsItsAccessTokens(t *testing.T) {
	inBubble(t, reddit.Hostile(), func(b *bundle) {
		one, two := b.token(b.code()), b.token(b.code())
		for range 2 { // a token that is gone is no error
			if r := b.post("/api/v1/revoke_token", "s", "token", one.text("refresh_token"), "token_type_hint", "refresh_token"); r.status/100 != 2 {
				t.Errorf("%d", r.status)
			}
		}
		if b.me(one.text("access_token")).status != 401 || b.refresh(one.text("refresh_token")).status != 400 {
			t.Error("something lives on")
		}
		b.post("/api/v1/revoke_token", "s", "token", two.text("access_token"))
		if b.me(two.text("access_token")).status != 401 || b.refresh(two.text("refresh_token")).text("access_token") == "" {
			t.Error("an access token takes its grant with it, or stays")
		}
	})
}

func TestAClientHasSoManyCallsInTenMinutes(t *testing.T) {
	inBubble(t, reddit.Faithful(), func(b *bundle) {
		if err := b.rd.Tune([]byte(`{"calls":2}`)); err != nil {
			t.Fatal(err)
		}
		for _, want := range []int{200, 200, 429} {
			if r := b.me(b.acct.Token); r.status != want {
				t.Errorf("%d, want %d", r.status, want)
			}
			time.Sleep(time.Minute)
		}
		if r := b.me(b.acct.Token); r.header.Get("X-Ratelimit-Reset") != "420" || r.header.Get("X-Ratelimit-Remaining") != "0.0" {
			t.Errorf("%v", r.header)
		}
		time.Sleep(8 * time.Minute)
		if r := b.me(b.acct.Token); r.status != 200 {
			t.Errorf("%d", r.status)
		}
		for _, bad := range []string{`{"calls":0}`, `{"accessLife":0}`, `[]`} {
			if err := b.rd.Tune([]byte(bad)); err == nil {
				t.Errorf("%s was taken", bad)
			}
		}
	})
}

func TestEveryHintIsPlayed(t *testing.T) {
	inBubble(t, reddit.Faithful(), func(b *bundle) {
		for _, h := range b.rd.Hints() {
			if h.About == "" || h.Fault == nil && h.Builtin == "" {
				t.Errorf("%+v", h)
			}
			if h.Fault == nil {
				continue
			}
			f := *h.Fault
			f.Call = h.Expect.Call
			set, err := b.st.Faults.Add(f)
			if err != nil {
				t.Fatal(err)
			}
			play := map[string]func() reply{
				reddit.CallRefresh: func() reply { return b.refresh(b.acct.RefreshToken) },
				reddit.CallCode:    func() reply { return b.token(b.code()) },
				reddit.CallMe:      func() reply { return b.me(b.acct.Token) },
			}[h.Expect.Call]
			r := play()
			b.st.Faults.Clear(set.ID)
			calls := b.st.Calls.List(stage.CallFilter{Name: h.Expect.Call})
			if last := calls[len(calls)-1]; r.status != h.Expect.Status || last.Code != "" && last.Code != h.Expect.Code || last.Executed != h.Expect.Executed {
				t.Errorf("%s: %d %v, %+v", h.Row, r.status, r.body, last)
			}
		}
	})
}
