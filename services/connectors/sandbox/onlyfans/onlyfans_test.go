package onlyfans_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"postbus.dev/services/connectors/sandbox/onlyfans"
	"postbus.dev/services/connectors/sandbox/stage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const backTo = "https://postbus.example/api/connect/onlyfans/callback"

// bundle is a stand-in with one account and one team.
type bundle struct {
	t    *testing.T
	st   *stage.Stage
	of   *onlyfans.OnlyFans
	acct stage.Account
}

func setup(t *testing.T, hostile bool) *bundle {
	t.Helper()
	st, err := stage.New(stage.Config{})
	if err != nil {
		t.Fatal(err)
	}
	of := onlyfans.New(st, onlyfans.For(hostile))
	st.Faults.Register(of)
	acct, err := of.Account(stage.Account{Username: "ada"})
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Clients.Put(stage.Client{Provider: onlyfans.Name, ID: "team", Secret: "key", RedirectURIs: []string{backTo}}); err != nil {
		t.Fatal(err)
	}
	return &bundle{t: t, st: st, of: of, acct: acct}
}

func (b *bundle) serve(method, path, key, body string) *httptest.ResponseRecorder {
	b.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+key)
	if strings.HasPrefix(body, "{") {
		r.Header.Set("Content-Type", "application/json")
	} else {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	w := httptest.NewRecorder()
	b.of.Handler().ServeHTTP(w, r)
	return w
}

// accounts is the list, with a filter.
func (b *bundle) accounts(query string) (list []map[string]any) {
	b.t.Helper()
	w := b.serve("GET", "/api/accounts"+query, "key", "")
	if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil || w.Code != http.StatusOK {
		b.t.Fatalf("%d %s", w.Code, w.Body)
	}
	return list
}

// page is where the login of a new session leads with that form.
func (b *bundle) page(reference, form string) *httptest.ResponseRecorder {
	b.t.Helper()
	var out struct {
		Data struct{ Token string }
	}
	w := b.serve("POST", "/api/client-sessions", "key", `{"display_name":"Postbus `+reference+`","client_reference_id":"`+reference+`"}`)
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || !strings.HasPrefix(out.Data.Token, "ofapi_cs_") {
		b.t.Fatalf("%d %s", w.Code, w.Body)
	}
	q := url.Values{"token": {out.Data.Token}, "redirect_uri": {backTo}, "state": {"s1"}}.Encode()
	if shown := b.serve("GET", "/connect?"+q, "", ""); shown.Code != http.StatusOK || !strings.Contains(shown.Body.String(), ">ada<") {
		b.t.Errorf("%d %s", shown.Code, shown.Body)
	}
	return b.serve("POST", "/connect?"+q, "", form)
}

// connect is the handle that a login ends with.
func (b *bundle) connect(reference string) string {
	b.t.Helper()
	u, err := url.Parse(b.page(reference, "account="+b.acct.ID+"&decision=allow").Header().Get("Location"))
	handle, id, _ := strings.Cut(u.Query().Get("code"), ":")
	if err != nil || id != b.acct.ID || u.Query().Get("state") != "s1" {
		b.t.Fatalf("sent to %v, %v", u, err)
	}
	return handle
}

func TestALoginConnectsAnAccountUnderTheNameOfItsSession(t *testing.T) {
	t.Parallel()
	for _, hostile := range []bool{false, true} {
		b := setup(t, hostile)
		first := b.connect("r1")
		list := b.accounts("?onlyfans_id=" + b.acct.ID)
		_, told := list[0]["client_reference_id"]
		if len(list) != 1 || list[0]["id"] != first || list[0]["display_name"] != "Postbus r1" || list[0]["is_authenticated"] != true || told == hostile {
			t.Errorf("hostile %v: %v", hostile, list)
		}
		second := b.connect("r2")
		list = b.accounts("?onlyfans_username=ada")
		if len(list) != 1 || list[0]["id"] != second || list[0]["display_name"] != "Postbus r2" || (second != first) != hostile {
			t.Errorf("hostile %v: again: %v", hostile, list)
		}
		if list := b.accounts("?onlyfans_id=1"); len(list) != 0 {
			t.Errorf("%v", list)
		}
	}
}

func TestAPersonMayCancelAndHasToChoose(t *testing.T) {
	t.Parallel()
	b := setup(t, true)
	u, _ := url.Parse(b.page("r1", "decision=cancel").Header().Get("Location"))
	if u.Query().Get("error") != "access_denied" || u.Query().Has("code") {
		t.Errorf("sent to %v", u)
	}
	if w := b.page("r1", "decision=allow"); w.Code != http.StatusBadRequest {
		t.Errorf("%d", w.Code)
	}
	for _, q := range []string{"token=nonsense&redirect_uri=" + backTo, ""} {
		if w := b.serve("GET", "/connect?"+q, "", ""); w.Code != http.StatusBadRequest {
			t.Errorf("%q: %d", q, w.Code)
		}
	}
	if w := b.serve("POST", "/api/client-sessions", "key", `{"display_name":""}`); w.Code != http.StatusUnprocessableEntity {
		t.Errorf("%d", w.Code)
	}
	if w := b.serve("POST", "/api/client-sessions", "key", `{"display_name":`); w.Code != http.StatusBadRequest {
		t.Errorf("%d", w.Code)
	}
}

func TestAHandleThatIsRevokedIsSignedOutAndOneThatIsRemovedIsGone(t *testing.T) {
	t.Parallel()
	b := setup(t, true)
	handle := b.connect("r1")
	revoke := func(d *stage.Dead) {
		b.st.Accounts.Change(stage.TokenFilter{Token: handle}, func(tk *stage.Token) { tk.Dead = d })
	}
	for _, dead := range []*stage.Dead{{Code: 1}, nil} {
		revoke(dead)
		if got := b.accounts("")[0]; got["is_authenticated"] != (dead == nil) {
			t.Errorf("%v: %v", dead, got)
		}
	}
	if w := b.serve("DELETE", "/api/accounts/"+handle, "key", ""); w.Code != http.StatusNoContent {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := b.serve("DELETE", "/api/accounts/"+handle, "key", ""); w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "account_not_found") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if list := b.accounts(""); len(list) != 0 {
		t.Errorf("%v", list)
	}
}

func TestNothingIsDoneWithoutTheTeamsKey(t *testing.T) {
	t.Parallel()
	b := setup(t, false)
	for _, key := range []string{"", "other"} {
		for _, call := range []string{"GET /api/accounts", "GET /api/whoami", "POST /api/client-sessions", "DELETE /api/accounts/" + b.acct.Token} {
			method, path, _ := strings.Cut(call, " ")
			if w := b.serve(method, path, key, ""); w.Code != http.StatusUnauthorized {
				t.Errorf("%s with %q: %d", call, key, w.Code)
			}
		}
	}
	if w := b.serve("GET", "/api/whoami", "key", ""); w.Code != http.StatusOK {
		t.Errorf("%d", w.Code)
	}
	if w := b.serve("GET", "/api/nothing", "key", ""); w.Code != http.StatusNotFound {
		t.Errorf("%d", w.Code)
	}
	if list := b.accounts(""); len(list) != 1 || list[0]["id"] != b.acct.Token {
		t.Errorf("the account from the start: %v", list)
	}
}

func TestEveryHintIsPlayed(t *testing.T) {
	t.Parallel()
	b := setup(t, false)
	for _, h := range b.of.Hints() {
		f, err := b.st.Faults.Add(*h.Fault)
		if err != nil {
			t.Fatal(err)
		}
		w := b.serve("GET", "/api/accounts", "key", "")
		out := strings.Contains(w.Body.String(), `"is_authenticated":false`)
		calls := b.st.Calls.List(stage.CallFilter{Name: h.Expect.Call})
		if w.Code != h.Expect.Status || calls[len(calls)-1].Executed != h.Expect.Executed || out != h.Expect.Executed || h.About == "" {
			t.Errorf("%s: %d %s", h.Row, w.Code, w.Body)
		}
		b.st.Faults.Clear(f.ID)
	}
	if _, err := b.st.Faults.Add(stage.Fault{Switch: "rate_limited", Provider: onlyfans.Name, Delay: 9e9}); err != nil {
		t.Fatal(err)
	}
	if w := b.serve("GET", "/api/whoami", "key", ""); w.Header().Get("Retry-After") != "9" {
		t.Errorf("%v", w.Header())
	}
}

func TestWhatAnAccountWasConnectedWithOutlivesTheProcess(t *testing.T) {
	t.Parallel()
	b := setup(t, true)
	b.connect("r1")
	b.of.Lock()
	state, err := b.of.Keep()
	b.of.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	next := onlyfans.New(b.st, onlyfans.For(true))
	if err := next.Restore(state); err != nil {
		t.Fatal(err)
	}
	b.of = next
	if got := fmt.Sprint(b.accounts("")[0]["display_name"]); got != "Postbus r1" {
		t.Errorf("it is called %s", got)
	}
	if err := next.Restore([]byte("[")); err == nil {
		t.Error("a damaged state was taken")
	}
}
