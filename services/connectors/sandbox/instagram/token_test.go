package instagram_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"postbus.dev/services/connectors/sandbox/instagram"
	"postbus.dev/services/connectors/sandbox/stage"
)

func TestATokenThatDoesNotWorkIsRefusedWithItsReason(t *testing.T) {
	inBubble(t, instagram.Faithful(), func(b *bundle) {
		all := stage.TokenFilter{Account: b.acct.ID}
		dead := func(d stage.Dead) {
			b.st.Accounts.Change(all, func(tk *stage.Token) { tk.Dead = &d })
		}
		if r := b.call("GET", "/me", "access_token", ""); r.code() != "190/0" || r.status != 400 {
			t.Errorf("no token: %d %v", r.status, r.body)
		}
		for _, sub := range []int{458, 459, 460, 463, 464, 467} {
			dead(stage.Dead{Subcode: sub})
			r := b.call("GET", "/me")
			if want := "190/" + itoa(sub); r.code() != want {
				t.Errorf("%v, want %s", r.body, want)
			}
		}
		dead(stage.Dead{Code: 102})
		if r := b.call("GET", "/me"); r.code() != "102" {
			t.Errorf("%v", r.body)
		}
		b.st.Accounts.Change(all, func(tk *stage.Token) { tk.Dead = nil; tk.Expire(false) })
		if r := b.call("GET", "/me"); r.code() != "190/463" {
			t.Errorf("expired: %v", r.body)
		}
	})
}

func TestATokenThatExpiresBeforeItsTimeCanBeRefreshable(t *testing.T) {
	inBubble(t, instagram.Faithful(), func(b *bundle) {
		expire := func(refreshable bool) {
			b.st.Accounts.Change(stage.TokenFilter{Account: b.acct.ID}, func(tk *stage.Token) { tk.Expire(refreshable) })
		}
		refresh := func() reply { return b.call("GET", "/refresh_access_token", "grant_type", "ig_refresh_token") }
		expire(false)
		if r := refresh(); r.code() != "190/463" {
			t.Errorf("refreshed an expired token: %v", r.body)
		}
		expire(true)
		if r := b.call("GET", "/me"); r.code() != "190/0" { // 463 would say that no refresh helps
			t.Errorf("read with an expired token: %v", r.body)
		}
		fresh, _ := refresh().body["access_token"].(string)
		if r := b.call("GET", "/me", "access_token", fresh); r.code() != "" || fresh == "" {
			t.Errorf("read with the refreshed token %q: %v", fresh, r.body)
		}
	})
}

func TestAnExpiredTokenIsToldInTwoWaysWhenHostile(t *testing.T) {
	inBubble(t, instagram.Hostile(), func(b *bundle) {
		time.Sleep(61 * 24 * time.Hour)
		var seen []string
		for range 4 {
			r := b.call("GET", "/me")
			seen = append(seen, r.code()+" "+itoa(r.status)+" "+r.body["error"].(map[string]any)["type"].(string))
		}
		for _, want := range []string{"190/463 400 OAuthException", "190/0 401 IGApiException"} {
			if !slices.Contains(seen, want) {
				t.Errorf("%q is not among %q", want, seen)
			}
		}
	})
}

func TestPublishingNeedsItsPermission(t *testing.T) {
	inBubble(t, instagram.Faithful(), func(b *bundle) {
		reader, err := b.ig.Account(stage.Account{Username: "reader", Scopes: []string{"instagram_business_basic"}})
		if err != nil {
			t.Fatal(err)
		}
		r := b.call("POST", "/me/media", "access_token", reader.Token, "image_url", "https://example.com/a.jpg")
		if r.code() != "10" {
			t.Errorf("create: %v", r.body)
		}
		if r := b.call("GET", "/me/media", "access_token", reader.Token); r.code() != "" {
			t.Errorf("list: %v", r.body)
		}
	})
}

func TestMeComesInBothShapesWithTwoDifferentIDs(t *testing.T) {
	inBubble(t, instagram.Hostile(), func(b *bundle) {
		flat, wrapped := 0, 0
		for range 4 {
			got := b.call("GET", "/me", "fields", "user_id,username,account_type").body
			if list, ok := got["data"].([]any); ok {
				got, wrapped = list[0].(map[string]any), wrapped+1
			} else {
				flat++
			}
			if got["id"] != b.acct.AppID || got["user_id"] != b.acct.ID || got["id"] == got["user_id"] || got["username"] != "ada" {
				t.Errorf("%v", got)
			}
		}
		if flat != 2 || wrapped != 2 {
			t.Errorf("%d flat, %d in data[]", flat, wrapped)
		}
	})
}

func TestADisconnectedAppIsNoLongerAuthorized(t *testing.T) {
	inBubble(t, instagram.Faithful(), func(b *bundle) {
		if r := b.call("DELETE", "/me/permissions"); r.body["success"] != true {
			t.Errorf("%v", r.body)
		}
		if r := b.call("GET", "/me"); r.code() != "190/458" {
			t.Errorf("%v", r.body)
		}
	})
}

func TestTooManyCallsAreThrottledAndCallingOnExtendsIt(t *testing.T) {
	inBubble(t, instagram.Faithful(), func(b *bundle) {
		acct := b.acct
		acct.CallLimit = 3
		if err := b.st.Accounts.Put(acct); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if r := b.call("GET", "/me"); r.code() != "" {
				t.Fatalf("%v", r.body)
			}
		}
		r := b.call("GET", "/me")
		usage := r.header.Get("X-Business-Use-Case-Usage")
		if r.code() != "80002" || r.status != 400 || !strings.Contains(usage, `"call_count":100`) || !strings.Contains(usage, `"estimated_time_to_regain_access":19`) {
			t.Errorf("%d %v %s", r.status, r.body, usage)
		}
		time.Sleep(18 * time.Minute)
		if r := b.call("GET", "/me"); r.code() != "80002" {
			t.Errorf("within the block: %v", r.body)
		}
		time.Sleep(18 * time.Minute)
		if r := b.call("GET", "/me"); r.code() != "80002" {
			t.Errorf("the call within the block did not extend it: %v", r.body)
		}
		time.Sleep(20 * time.Minute)
		if r := b.call("GET", "/me"); r.code() != "" {
			t.Errorf("after the block: %v", r.body)
		}
	})
}

func TestOnlyLivingVersionsAreServed(t *testing.T) {
	inBubble(t, instagram.Faithful(), func(b *bundle) {
		for path, want := range map[string]string{"/v25.0/me": "", "/v21.0/me": "", "/v26.0/me": "", "/me": "", "/v20.0/me": "2635", "/v99.0/me": "2635"} {
			r := b.serve(request(http.MethodGet, path+"?access_token="+b.acct.Token))
			if r.code() != want {
				t.Errorf("%s: %v", path, r.body)
			}
		}
	})
}

func TestAnErrorHasTheProvidersEnvelope(t *testing.T) {
	inBubble(t, instagram.Faithful(), func(b *bundle) {
		b.fault(stage.Fault{Switch: "rate_limited", Delay: stage.Duration(7 * time.Minute), Count: 1})
		r := b.call("GET", "/me")
		e := r.body["error"].(map[string]any)
		for _, name := range []string{"message", "type", "code", "is_transient", "fbtrace_id"} {
			if _, ok := e[name]; !ok {
				t.Errorf("no %s in %v", name, e)
			}
		}
		if !strings.Contains(r.header.Get("X-Business-Use-Case-Usage"), `"`+b.acct.ID+`":[{"type":"instagram","call_count":100`) ||
			!strings.Contains(r.header.Get("X-Business-Use-Case-Usage"), `"estimated_time_to_regain_access":7`) {
			t.Errorf("usage %s", r.header.Get("X-Business-Use-Case-Usage"))
		}
		if r.header.Get("X-App-Usage") == "" {
			t.Error("no app usage")
		}
	})
}

func TestTheSameUsernameIsTheSameAccountInEveryRun(t *testing.T) {
	var accounts []stage.Account
	for range 2 {
		st, err := stage.New(stage.Config{})
		if err != nil {
			t.Fatal(err)
		}
		a, err := instagram.New(st, instagram.Faithful()).Account(stage.Account{Username: "demo"})
		if err != nil {
			t.Fatal(err)
		}
		accounts = append(accounts, a)
	}
	a, b := accounts[0], accounts[1]
	if a.ID != b.ID || a.AppID != b.AppID || a.Token != b.Token || !strings.HasPrefix(a.ID, "1784") || a.ID == a.AppID {
		t.Errorf("%+v and %+v", a, b)
	}
}

func TestBehaviorCanBeTunedWhileItRuns(t *testing.T) {
	inBubble(t, instagram.Hostile(), func(b *bundle) {
		if err := b.ig.Tune([]byte(`{"secondPublish":false,"image":{"from":"1s","to":"1s"}}`)); err != nil {
			t.Fatal(err)
		}
		got := b.ig.Behavior().(instagram.Behavior)
		if got.SecondPublish || got.Image.To != stage.Duration(time.Second) || !got.Strict {
			t.Errorf("%+v", got)
		}
		for _, bad := range []string{`{"nonsense":1}`, `{"quota":0}`, `{"lag":{"from":"2s","to":"1s"}}`, `[]`} {
			if err := b.ig.Tune([]byte(bad)); err == nil {
				t.Errorf("%s was taken", bad)
			}
		}
	})
}
