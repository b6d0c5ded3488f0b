package instagram_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"postbus.dev/services/connectors/sandbox/instagram"
	"postbus.dev/services/connectors/sandbox/stage"
)

const (
	appID     = "postbus-app"
	appSecret = "app-secret"
	backTo    = "https://postbus.example/api/connect/instagram/callback"
	basic     = "instagram_business_basic"
	publishes = "instagram_business_content_publish"
)

// app registers an app with the stand-in.
func (b *bundle) app() {
	b.t.Helper()
	c := stage.Client{Provider: instagram.Name, ID: appID, Secret: appSecret, RedirectURIs: []string{backTo, backTo + "?from=1"}}
	if err := b.st.Clients.Put(c); err != nil {
		b.t.Fatal(err)
	}
}

// asks is what the app asks for; pairs change it, "" leaves out.
func asks(pairs ...string) url.Values {
	v := url.Values{
		"client_id": {appID}, "redirect_uri": {backTo}, "response_type": {"code"}, "scope": {basic + "," + publishes}, "state": {"s1"},
	}
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
		if pairs[i+1] == "" {
			v.Del(pairs[i])
		}
	}
	return v
}

// page reads the page for permissions; with a form it sends that.
func (b *bundle) page(ask, form url.Values) *httptest.ResponseRecorder {
	b.t.Helper()
	r := httptest.NewRequest("GET", "/oauth/authorize?"+ask.Encode(), nil)
	if form != nil {
		r = httptest.NewRequest("POST", "/oauth/authorize?"+ask.Encode(), strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	w := httptest.NewRecorder()
	b.ig.Handler().ServeHTTP(w, r)
	return w
}

// allow is the click of a person who allows these.
func (b *bundle) allow(scopes ...string) url.Values {
	form := url.Values{"account": {b.acct.ID}, "decision": {"allow"}}
	for _, s := range scopes {
		form.Set("allow_"+s, "on")
	}
	return form
}

// code is what the app gets when a person allows these.
func (b *bundle) code(scopes ...string) string {
	b.t.Helper()
	w := b.page(asks(), b.allow(scopes...))
	u, err := url.Parse(w.Header().Get("Location"))
	if err != nil || w.Code != http.StatusSeeOther || u.Query().Get("code") == "" {
		b.t.Fatalf("no code: %d %v %s", w.Code, w.Header(), w.Body)
	}
	return u.Query().Get("code")
}

// token exchanges a code; pairs change the form.
func (b *bundle) token(code string, pairs ...string) reply {
	b.t.Helper()
	form := url.Values{
		"client_id": {appID}, "client_secret": {appSecret}, "grant_type": {"authorization_code"}, "redirect_uri": {backTo}, "code": {code},
	}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	r := httptest.NewRequest("POST", "/oauth/access_token", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	got := b.serve(r)
	if list, ok := got.body["data"].([]any); ok {
		got.body = list[0].(map[string]any)
	}
	return got
}

// short is the first token for a code.
func (b *bundle) short(code string) string {
	b.t.Helper()
	got := b.token(code)
	value, ok := got.body["access_token"].(string)
	if !ok {
		b.t.Fatalf("no token: %v", got.body)
	}
	return value
}

func (b *bundle) long(short string) reply {
	return b.call("GET", "/access_token", "grant_type", "ig_exchange_token", "client_secret", appSecret, "access_token", short)
}

func TestThePageForPermissionsIsPlainHTML(t *testing.T) {
	inBubble(t, instagram.Faithful(), func(b *bundle) {
		b.app()
		w := b.page(asks("state", `"><script>alert(1)</script>`), nil)
		page := w.Body.String()
		for _, want := range []string{
			`<html lang="en">`, "<title>", "<h1>", `<label for="account">`, `<select id="account"`, `value="` + b.acct.ID + `">ada`, "<legend>",
			`<label><input type="checkbox" name="allow_` + basic + `" value="on" checked> ` + basic + `</label>`, `name="allow_` + publishes + `"`,
			`value="allow">Allow<`, `value="cancel" formnovalidate>Cancel<`, backTo,
		} {
			if !strings.Contains(page, want) {
				t.Errorf("the page lacks %s", want)
			}
		}
		if w.Code != 200 || strings.Contains(page, "<script") || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") ||
			!strings.Contains(w.Header().Get("Content-Security-Policy"), "default-src 'none'") || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%d %v\n%s", w.Code, w.Header(), page)
		}
	})
}

func TestARequestThatIsNotTheAppsGetsAPageAndIsSentNowhere(t *testing.T) {
	inBubble(t, instagram.Faithful(), func(b *bundle) {
		b.app()
		for want, ask := range map[string]url.Values{
			"client_id":        asks("client_id", "other"),
			"Invalid platform": asks("client_id", ""),
			"redirect_uri":     asks("redirect_uri", backTo+"/"),
			"registered for":   asks("redirect_uri", "https://postbus.example/api/connect/instagram/callback/../evil"),
			"Invalid redirect": asks("redirect_uri", ""),
			"response_type":    asks("response_type", "token"),
			"scope: email":     asks("scope", basic+",email"),
			"none is asked":    asks("scope", ""),
		} {
			for _, form := range []url.Values{nil, b.allow(basic), {"decision": {"cancel"}}} {
				w := b.page(ask, form)
				if w.Code != http.StatusBadRequest || w.Header().Get("Location") != "" || !strings.Contains(w.Body.String(), want) {
					t.Errorf("%s: %d %v %s", want, w.Code, w.Header(), w.Body)
				}
			}
		}
	})
}

func TestAPersonIsSentBackWithACodeAndTheState(t *testing.T) {
	inBubble(t, instagram.Faithful(), func(b *bundle) {
		b.app()
		to := b.page(asks("redirect_uri", backTo+"?from=1", "state", "a b&c"), b.allow(basic, publishes)).Header().Get("Location")
		u, err := url.Parse(to)
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		if !strings.HasPrefix(to, backTo+"?") || q.Get("from") != "1" || q.Get("state") != "a b&c" || q.Get("code") == "" || len(q) != 3 || !strings.HasSuffix(to, "#_") {
			t.Errorf("sent to %s", to)
		}
	})
}

func TestAPersonWhoCancelsIsSentBackWithoutACode(t *testing.T) {
	inBubble(t, instagram.Faithful(), func(b *bundle) {
		b.app()
		w := b.page(asks(), url.Values{"account": {b.acct.ID}, "decision": {"cancel"}})
		want := backTo + "?error=access_denied&error_description=The+user+denied+your+request&error_reason=user_denied&state=s1"
		if got := w.Header().Get("Location"); w.Code != http.StatusSeeOther || got != want {
			t.Errorf("%d, sent to %s", w.Code, got)
		}
	})
}

func TestWhoChoosesNoAccountIsAskedAgain(t *testing.T) {
	inBubble(t, instagram.Faithful(), func(b *bundle) {
		b.app()
		for _, form := range []url.Values{{"decision": {"allow"}}, {"account": {"nobody"}, "decision": {"allow"}}, {"account": {b.acct.ID}}} {
			if w := b.page(asks(), form); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), `role="alert"`) {
				t.Errorf("%v: %d %s", form, w.Code, w.Body)
			}
		}
	})
}

func TestACodeIsGoodOnceForItsAppAndItsAddress(t *testing.T) {
	inBubble(t, instagram.Hostile(), func(b *bundle) {
		b.app()
		if err := b.st.Clients.Put(stage.Client{Provider: instagram.Name, ID: "other", Secret: "other"}); err != nil {
			t.Fatal(err)
		}
		const gone = "Matching code was not found or was already used"
		refused := func(r reply, says string) {
			t.Helper()
			if text, _ := r.body["error_message"].(string); r.status != 400 || r.body["error_type"] != "OAuthException" || r.body["code"] != 400.0 || !strings.Contains(text, says) {
				t.Errorf("%d %v, want %q", r.status, r.body, says)
			}
		}
		code := b.code(basic, publishes)
		refused(b.token(code, "client_secret", "wrong"), "Invalid platform app")
		refused(b.token(code, "client_id", "nobody"), "Invalid platform app")
		refused(b.token(code, "grant_type", "refresh_token"), "grant_type")
		refused(b.token(code, "more", "1"), "unknown parameters")
		if r := b.token(code); r.status != 200 { // none of them had spent it
			t.Errorf("%v", r.body)
		}
		refused(b.token(code), gone)
		code = b.code(basic)
		refused(b.token(code, "redirect_uri", backTo+"?from=1"), "redirect_uri")
		refused(b.token(code), gone) // this one had
		code = b.code(basic)
		refused(b.token(code, "client_id", "other", "client_secret", "other"), gone)
		code = b.code(basic)
		time.Sleep(time.Hour)
		refused(b.token(code), gone)
		code = b.code(basic)
		b.st.Accounts.Change(stage.TokenFilter{Kind: "code"}, func(tk *stage.Token) { tk.Dead = &stage.Dead{Code: 190} })
		refused(b.token(code), gone)
		if r := b.call("GET", "/me", "access_token", b.code(basic)); r.code() != "190/0" {
			t.Errorf("a code taken for a token: %v", r.body)
		}
	})
}

func TestOnlyWhatAPersonLeftCheckedIsGranted(t *testing.T) {
	inBubble(t, instagram.Hostile(), func(b *bundle) {
		b.app()
		shapes := map[string]bool{}
		for range 2 {
			got := b.token(b.code(basic)).body["permissions"]
			shapes[fmt.Sprintf("%T", got)] = true
			if fmt.Sprint(got) != basic && fmt.Sprint(got) != "["+basic+"]" {
				t.Errorf("granted %v", got)
			}
		}
		if len(shapes) != 2 {
			t.Errorf("permissions come as %v", shapes)
		}
		reader, _ := b.long(b.short(b.code(basic))).body["access_token"].(string)
		if r := b.call("GET", "/me", "access_token", reader); r.code() != "" {
			t.Errorf("%v", r.body)
		}
		if r := b.call("POST", "/{ig}/media", "access_token", reader, "image_url", "https://example.com/a.jpg"); r.code() != "10" {
			t.Errorf("%v", r.body)
		}
		nobody := b.short(b.code())
		if r := b.call("GET", "/me", "access_token", nobody); r.code() != "10" {
			t.Errorf("%v", r.body)
		}
		unasked := b.page(asks("scope", basic), b.allow(basic, publishes)) // checked by a form of one's own
		u, _ := url.Parse(unasked.Header().Get("Location"))
		if got := fmt.Sprint(b.token(u.Query().Get("code")).body["permissions"]); strings.Contains(got, publishes) {
			t.Errorf("granted %v", got)
		}
	})
}

func TestACodeBecomesAShortThenALongTokenThatCanBeRefreshedAfterADay(t *testing.T) {
	inBubble(t, instagram.Hostile(), func(b *bundle) {
		b.app()
		short := b.short(b.code(basic, publishes))
		if r := b.call("GET", "/access_token", "grant_type", "ig_exchange_token", "client_secret", "wrong", "access_token", short); r.code() != "100" {
			t.Errorf("with another secret: %v", r.body)
		}
		long := b.long(short).body
		if long["expires_in"] != 5184000.0 || long["token_type"] != "bearer" {
			t.Fatalf("%v", long)
		}
		refresh := func(token string) reply {
			return b.call("GET", "/refresh_access_token", "grant_type", "ig_refresh_token", "access_token", token)
		}
		first := long["access_token"].(string)
		if r := refresh(first); r.status != 400 {
			t.Errorf("refresh on the first day: %v", r.body)
		}
		time.Sleep(time.Hour)
		if r := b.long(short); r.code() != "190/0" {
			t.Errorf("the short token after an hour: %v", r.body)
		}
		time.Sleep(24 * time.Hour)
		if r := b.call("POST", "/refresh_access_token", "grant_type", "ig_refresh_token", "access_token", first); r.code() != "100" {
			t.Errorf("refresh by POST: %v", r.body)
		}
		renewed, _ := refresh(first).body["access_token"].(string)
		time.Sleep(59 * 24 * time.Hour)
		if r := b.call("POST", "/{ig}/media", "access_token", renewed, "image_url", "https://example.com/a.jpg"); r.code() != "" || renewed == first {
			t.Errorf("the renewed token: %v", r.body)
		}
		if r := refresh(first); r.code()[:3] != "190" {
			t.Errorf("refresh of a token that has expired: %v", r.body)
		}
	})
}

func TestAnAppThatEndsItsGrantLeavesThoseOfOthers(t *testing.T) {
	inBubble(t, instagram.Faithful(), func(b *bundle) {
		b.app()
		if err := b.st.Clients.Put(stage.Client{Provider: instagram.Name, ID: "other", Secret: "other", RedirectURIs: []string{backTo}}); err != nil {
			t.Fatal(err)
		}
		w := b.page(asks("client_id", "other"), b.allow(basic))
		u, _ := url.Parse(w.Header().Get("Location"))
		theirs, _ := b.token(u.Query().Get("code"), "client_id", "other", "client_secret", "other").body["access_token"].(string)
		ours := b.short(b.code(basic))
		if r := b.call("DELETE", "/me/permissions", "access_token", ours); r.body["success"] != true {
			t.Errorf("%v", r.body)
		}
		var codes []string
		for _, token := range []string{ours, theirs, b.acct.Token} {
			codes = append(codes, b.call("GET", "/me", "access_token", token).code())
		}
		if want := []string{"190/458", "", "190/458"}; !slices.Equal(codes, want) {
			t.Errorf("got %v", codes)
		}
	})
}
