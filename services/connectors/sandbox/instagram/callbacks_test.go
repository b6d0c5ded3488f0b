package instagram_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"postbus.dev/services/connectors/sandbox/instagram"
	"postbus.dev/services/connectors/sandbox/stage"
)

// theApp is an app that is called.
type theApp struct {
	mu   sync.Mutex
	got  []string // path and signed_request of each call
	kind string   // Content-Type of the last
}

func (a *theApp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.kind = r.Header.Get("Content-Type")
	a.got = append(a.got, r.URL.Path+" "+r.PostFormValue("signed_request"))
	if r.URL.Path == "/gone" {
		http.Redirect(w, r, "/deletion", http.StatusFound)
		return
	}
	_, _ = io.WriteString(w, `{"url":"https://postbus.example/deletions/d1","confirmation_code":"d1"}`)
}

// called is a stand-in with an app that is called, over the network.
func called(t *testing.T) (*bundle, *theApp) {
	t.Helper()
	st, err := stage.New(stage.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ig := instagram.New(st, instagram.Faithful())
	st.Faults.Register(ig)
	acct, err := ig.Account(stage.Account{Username: "ada"})
	if err != nil {
		t.Fatal(err)
	}
	app := &theApp{}
	server := httptest.NewServer(app)
	t.Cleanup(server.Close)
	c := stage.Client{
		Provider: instagram.Name, ID: appID, Secret: appSecret, RedirectURIs: []string{backTo},
		DeauthorizeURL: server.URL + "/deauthorize", DeletionURL: server.URL + "/deletion",
	}
	if err := st.Clients.Put(c); err != nil {
		t.Fatal(err)
	}
	return &bundle{t: t, st: st, ig: ig, acct: acct}, app
}

// claims is the signed object, and whether the app's secret signed it.
func claims(t *testing.T, got string) (path string, object map[string]any, good bool) {
	t.Helper()
	path, signed, _ := strings.Cut(got, " ")
	signature, payload, _ := strings.Cut(signed, ".")
	mac := hmac.New(sha256.New, []byte(appSecret))
	mac.Write([]byte(payload))
	raw, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil || json.Unmarshal(raw, &object) != nil {
		t.Fatalf("payload %s: %v", raw, err)
	}
	return path, object, signature == base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func TestWhoRemovesTheAppEndsItsTokensAndTheAppIsTold(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"deauthorize", "deletion"} {
		b, app := called(t)
		ours := b.short(b.code(basic))
		made, err := b.ig.Call(kind, "ada", "")
		if err != nil || len(made) != 1 || made[0].Status != 200 || made[0].Code != "d1" || made[0].StatusURL != "https://postbus.example/deletions/d1" {
			t.Fatalf("%s: %+v, %v", kind, made, err)
		}
		path, object, good := claims(t, app.got[0])
		at, _ := object["issued_at"].(float64)
		if path != "/"+kind || !good || object["algorithm"] != "HMAC-SHA256" || object["user_id"] != b.acct.AppID ||
			time.Since(time.Unix(int64(at), 0)) > time.Minute || app.kind != "application/x-www-form-urlencoded" {
			t.Errorf("%s: %s %v, signed well: %v", kind, path, object, good)
		}
		for _, token := range []string{ours, b.acct.Token} {
			if r := b.call("GET", "/me", "access_token", token); r.code() != "190/458" {
				t.Errorf("%s: %v", kind, r.body)
			}
		}
	}
}

func TestAFaultSpoilsACallToTheApp(t *testing.T) {
	t.Parallel()
	for sw, want := range map[string]string{
		"callback_forged":    "1 calls, signed well: false, algorithm HMAC-SHA256, right person: true, old: false",
		"callback_altered":   "1 calls, signed well: false, algorithm HMAC-SHA256, right person: false, old: false",
		"callback_algorithm": "1 calls, signed well: true, algorithm none, right person: true, old: false",
		"callback_old":       "1 calls, signed well: true, algorithm HMAC-SHA256, right person: true, old: true",
		"callback_twice":     "2 calls, signed well: true, algorithm HMAC-SHA256, right person: true, old: false",
	} {
		b, app := called(t)
		b.fault(stage.Fault{Switch: sw, Call: instagram.CallDeletion, Count: 1, Delay: stage.Duration(48 * time.Hour)})
		if _, err := b.ig.Call("deauthorize", "ada", appID); err != nil { // which it is not made for
			t.Fatal(err)
		}
		if _, err := b.ig.Call("deletion", "ada", appID); err != nil {
			t.Fatal(err)
		}
		_, object, good := claims(t, app.got[1])
		at, _ := object["issued_at"].(float64)
		got := fmt.Sprintf("%d calls, signed well: %v, algorithm %v, right person: %v, old: %v",
			len(app.got)-1, good, object["algorithm"], object["user_id"] == b.acct.AppID, time.Since(time.Unix(int64(at), 0)) > 47*time.Hour)
		if got != want {
			t.Errorf("%s: %s", sw, got)
		}
		if last := app.got[len(app.got)-1]; last != app.got[1] {
			t.Errorf("%s: the second copy is another: %s", sw, last)
		}
	}
}

func TestACallThatCannotBeMadeSaysWhy(t *testing.T) {
	t.Parallel()
	b, app := called(t)
	for _, c := range [][3]string{{"deauthorize", "nobody", ""}, {"deauthorize", "ada", "nobody"}, {"birthday", "ada", ""}} {
		if _, err := b.ig.Call(c[0], c[1], c[2]); err == nil || !strings.Contains(err.Error(), "no ") {
			t.Errorf("%v: %v", c, err)
		}
	}
	client, _ := b.st.Clients.Get(instagram.Name, appID)
	client.DeletionURL = strings.Replace(client.DeletionURL, "/deletion", "/gone", 1)
	client.DeauthorizeURL = ""
	if err := b.st.Clients.Put(client); err != nil {
		t.Fatal(err)
	}
	if made, err := b.ig.Call("deletion", "ada", ""); err != nil || made[0].Status != http.StatusFound || len(app.got) != 1 {
		t.Errorf("a redirect: %+v, %v", made, err)
	}
	if _, err := b.ig.Call("deauthorize", "ada", ""); err == nil || !strings.Contains(err.Error(), "no address") {
		t.Errorf("no address: %v", err)
	}
	client.DeletionURL = "http://127.0.0.1:1/"
	if err := b.st.Clients.Put(client); err != nil {
		t.Fatal(err)
	}
	if made, err := b.ig.Call("deletion", "ada", ""); err != nil || made[0].Status != 0 || made[0].Error == "" {
		t.Errorf("nobody there: %+v, %v", made, err)
	}
}

func TestThePageOfAppsShowsWhoHasAccessAndTakesItAway(t *testing.T) {
	t.Parallel()
	b, app := called(t)
	if _, err := b.ig.Account(stage.Account{Username: "grace"}); err != nil {
		t.Fatal(err)
	}
	b.long(b.short(b.code(basic)))
	visit := func(form url.Values) (int, string) {
		r := httptest.NewRequest("GET", "/apps", nil)
		if form != nil {
			r = httptest.NewRequest("POST", "/apps", strings.NewReader(form.Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		w := httptest.NewRecorder()
		b.ig.Handler().ServeHTTP(w, r)
		if !strings.Contains(w.Header().Get("Content-Security-Policy"), "default-src 'none'") {
			t.Error("no policy")
		}
		return w.Code, w.Body.String()
	}
	const ada, grace = "Remove " + appID + " from ada", "Remove " + appID + " from grace"
	if _, page := visit(nil); strings.Count(page, ada) != 1 || !strings.Contains(page, grace) || !strings.Contains(page, "May do: "+basic) {
		t.Errorf("%s", page)
	}
	status, page := visit(url.Values{"account": {b.acct.ID}, "client": {appID}, "kind": {"deletion"}})
	if status != 200 || strings.Contains(page, ada) || !strings.Contains(page, grace) || len(app.got) != 1 ||
		!strings.Contains(page, "answered 200") || !strings.Contains(page, "<code>d1</code>") || !strings.Contains(page, `href="https://postbus.example/deletions/d1"`) {
		t.Errorf("%d %s", status, page)
	}
	if status, page := visit(url.Values{"kind": {"<script>"}, "account": {"ada"}}); status != 400 || strings.Contains(page, "<script>") || !strings.Contains(page, `role="alert"`) {
		t.Errorf("%d %s", status, page)
	}
}
