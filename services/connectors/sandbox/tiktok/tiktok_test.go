package tiktok_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"postbus.dev/services/connectors/sandbox/stage"
	"postbus.dev/services/connectors/sandbox/tiktok"
)

func TestAPersonIsSentBackWithACodeAndWhatTheyGranted(t *testing.T) {
	inBubble(t, tiktok.Hostile(), func(b *bundle) {
		if w := b.page(nil); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "allow_video.publish") || !strings.Contains(w.Body.String(), "TikTok") {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		encoded := 0
		for range 16 {
			q := b.sentBack("user.info.basic")
			if q.Get("state") != "s1" || q.Get("scopes") != "user.info.basic" {
				t.Errorf("%v", q)
			}
			if strings.Contains(q.Get("code"), "%2A0%21") {
				encoded++
			} else if !strings.Contains(q.Get("code"), "*0!") {
				t.Errorf("a code without what has to be encoded: %v", q)
			}
		}
		if encoded == 0 || encoded == 16 {
			t.Errorf("%d of 16 codes are encoded twice", encoded)
		}
		u, _ := url.Parse(b.page(url.Values{"account": {b.acct.ID}, "decision": {"cancel"}}).Header().Get("Location"))
		if u.Query().Get("error") != "access_denied" || u.Query().Get("state") != "s1" || u.Query().Has("code") {
			t.Errorf("%v", u)
		}
		if w := b.page(nil, "client_key", "nobody"); w.Code != http.StatusBadRequest {
			t.Errorf("%d", w.Code)
		}
		if w := b.page(url.Values{"decision": {"allow"}}); w.Code != http.StatusBadRequest {
			t.Errorf("%d", w.Code)
		}
	})
}

func TestACodeIsGoodOnceForItsAppAndItsAddress(t *testing.T) {
	inBubble(t, tiktok.Faithful(), func(b *bundle) {
		code := b.sentBack("user.info.basic").Get("code")
		for want, pairs := range map[string][]string{
			"invalid_client": {"client_secret", "wrong"}, "unsupported_grant_type": {"grant_type", "password"}, "invalid_request": {"redirect_uri", ""},
		} {
			if r := b.token(code, pairs...); r.name() != want || r.status/100 != 4 {
				t.Errorf("%v: %d %v", pairs, r.status, r.body)
			}
		}
		if r := b.token(url.QueryEscape(code)); r.name() != "invalid_grant" {
			t.Errorf("a code that is not decoded: %v", r.body)
		}
		if r := b.token(code); r.name() != "" || r.body["expires_in"] != 7200.0 || r.body["refresh_expires_in"] != 15552000.0 ||
			r.body["scope"] != "user.info.basic" || r.body["open_id"] != b.acct.ID {
			t.Errorf("%v", r.body)
		}
		if r := b.token(code); r.name() != "invalid_grant" {
			t.Errorf("twice: %v", r.body)
		}
		if r := b.token(b.sentBack().Get("code"), "redirect_uri", backTo+"/"); r.name() != "invalid_grant" {
			t.Errorf("another address: %v", r.body)
		}
		late := b.sentBack().Get("code")
		time.Sleep(10 * time.Minute)
		if r := b.token(late); r.name() != "invalid_grant" {
			t.Errorf("late: %v", r.body)
		}
	})
}

func TestEachRefreshEndsItsRefreshTokenAndOneThatIsSpentTwiceEndsTheGrant(t *testing.T) {
	for name, behavior := range map[string]tiktok.Behavior{"faithful": tiktok.Faithful(), "hostile": tiktok.Hostile()} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, behavior, func(b *bundle) {
				_, first := b.connect("user.info.basic")
				_, other := b.connect("user.info.basic")
				access, second := b.refresh(first).pair()
				if second == first || b.user(access, "open_id").name() != "ok" {
					t.Fatal("no new pair")
				}
				third, _ := b.refresh(second).pair()
				if b.spent() != 0 {
					t.Errorf("spent twice: %d", b.spent())
				}
				if r := b.refresh(first); r.name() != "invalid_grant" || b.spent() != 1 {
					t.Errorf("%v, spent twice: %d", r.body, b.spent())
				}
				for _, token := range []string{access, third} {
					if r := b.user(token, "open_id"); r.name() != "access_token_invalid" || r.status != 401 {
						t.Errorf("the grant lives on: %v", r.body)
					}
				}
				if got, _ := b.refresh(other).pair(); got == "" {
					t.Error("another grant ended with it")
				}
			})
		})
	}
}

func TestARefreshWhoseAnswerWasLostCanBeMadeAgainOnceWhereThatIsForgiven(t *testing.T) {
	inBubble(t, tiktok.Faithful(), func(b *bundle) {
		_, first := b.connect("user.info.basic")
		lost, lostRefresh := b.refresh(first).pair()
		access, second := b.refresh(first).pair()
		if second == "" || second == lostRefresh || b.user(access, "open_id").name() != "ok" {
			t.Fatal("not forgiven")
		}
		if r := b.user(lost, "open_id"); r.name() != "access_token_invalid" {
			t.Errorf("the lost pair lives on: %v", r.body)
		}
		if r := b.refresh(first); r.name() != "invalid_grant" {
			t.Errorf("forgiven twice: %v", r.body)
		}
		// A pair that somebody has shown is not lost: then it is a race.
		_, first = b.connect("user.info.basic")
		access, _ = b.refresh(first).pair()
		b.user(access, "open_id")
		if r := b.refresh(first); r.name() != "invalid_grant" {
			t.Errorf("a race is forgiven: %v", r.body)
		}
	})
	t.Run("hostile", func(t *testing.T) {
		inBubble(t, tiktok.Hostile(), func(b *bundle) {
			_, first := b.connect("user.info.basic")
			access, _ := b.refresh(first).pair()
			if r := b.refresh(first); r.name() != "invalid_grant" || b.user(access, "open_id").name() != "access_token_invalid" {
				t.Errorf("forgiven: %v", r.body)
			}
		})
	})
}

func TestTokensLiveAsLongAsTheAnswerSays(t *testing.T) {
	inBubble(t, tiktok.Faithful(), func(b *bundle) {
		access, refresh := b.connect("user.info.basic")
		time.Sleep(2 * time.Hour)
		if r := b.user(access, "open_id"); r.name() != "access_token_invalid" {
			t.Errorf("after two hours: %v", r.body)
		}
		time.Sleep(100 * 24 * time.Hour)
		r := b.refresh(refresh)
		if _, refresh = r.pair(); r.body["refresh_expires_in"] != 15552000.0 {
			t.Errorf("%v", r.body)
		}
		time.Sleep(180 * 24 * time.Hour)
		if r := b.refresh(refresh); r.name() != "invalid_grant" {
			t.Errorf("after its 180 days: %v", r.body)
		}
	})
	t.Run("the grant ends 180 days after the consent", func(t *testing.T) {
		hard := tiktok.Faithful()
		hard.Restarts = false
		inBubble(t, hard, func(b *bundle) {
			_, refresh := b.connect("user.info.basic")
			time.Sleep(100 * 24 * time.Hour)
			r := b.refresh(refresh)
			if _, refresh = r.pair(); r.body["refresh_expires_in"] != 80*86400.0 {
				t.Errorf("%v", r.body)
			}
			time.Sleep(80 * 24 * time.Hour)
			if r := b.refresh(refresh); r.name() != "invalid_grant" {
				t.Errorf("%v", r.body)
			}
		})
	})
}

func TestATokenReadsWhatItsScopesCover(t *testing.T) {
	inBubble(t, tiktok.Faithful(), func(b *bundle) {
		creator := func(token string) reply {
			r := httptest.NewRequest("POST", "/v2/post/publish/creator_info/query/", nil)
			r.Header.Set("Authorization", "Bearer "+token)
			return b.serve(r)
		}
		user := func(r reply) map[string]any {
			data, _ := r.body["data"].(map[string]any)
			u, _ := data["user"].(map[string]any)
			return u
		}
		full, _ := b.connect("user.info.basic", "user.info.profile", "video.publish")
		if r := b.user(full, "open_id,display_name,username"); user(r)["open_id"] != b.acct.ID || user(r)["username"] != "ada" || len(user(r)) != 3 {
			t.Errorf("%v", r.body)
		}
		if r := creator(full); r.body["data"].(map[string]any)["creator_username"] != "ada" {
			t.Errorf("%v", r.body)
		}
		basic, _ := b.connect("user.info.basic")
		for _, r := range []reply{b.user(basic, "username"), creator(basic)} {
			if r.name() != "scope_not_authorized" || r.status != 401 {
				t.Errorf("%d %v", r.status, r.body)
			}
		}
		if r := b.user(full, "email"); r.name() != "invalid_params" {
			t.Errorf("%v", r.body)
		}
	})
}

func TestRevokingEndsAllThatTheAppHasOfTheAccount(t *testing.T) {
	inBubble(t, tiktok.Hostile(), func(b *bundle) {
		access, refresh := b.connect("user.info.basic")
		again, _ := b.connect("user.info.basic")
		if r := b.post("/v2/oauth/revoke/", "token", access); r.status != 200 || r.name() != "" {
			t.Errorf("%d %v", r.status, r.body)
		}
		if b.user(again, "open_id").name() != "access_token_invalid" || b.refresh(refresh).name() != "invalid_grant" {
			t.Error("something lives on")
		}
		if r := b.post("/v2/oauth/revoke/", "token", access); r.name() != "invalid_grant" {
			t.Errorf("%v", r.body)
		}
	})
}

func TestAnAccountHasTokensFromTheStartAndASpentOneStaysSpent(t *testing.T) {
	inBubble(t, tiktok.Faithful(), func(b *bundle) {
		if r := b.user(b.acct.Token, "open_id,username"); r.name() != "ok" {
			t.Errorf("%v", r.body)
		}
		if _, next := b.refresh(b.acct.RefreshToken).pair(); next == "" {
			t.Fatal("its refresh token is not good")
		}
		again, err := b.tk.Account(stage.Account{Username: "ada"})
		if err != nil || again.ID != b.acct.ID || again.RefreshToken != b.acct.RefreshToken {
			t.Fatalf("%+v, %v", again, err)
		}
		list := b.st.Accounts.Tokens(stage.TokenFilter{Provider: tiktok.Name, Kind: "refresh"})
		if i := slices.IndexFunc(list, func(tk stage.Token) bool { return tk.Value == b.acct.RefreshToken }); i < 0 || list[i].Spent != 1 {
			t.Errorf("%+v", list)
		}
	})
}

func TestATokenThatWasMadeToExpireCanBeRefreshed(t *testing.T) {
	inBubble(t, tiktok.Hostile(), func(b *bundle) {
		access, refresh := b.connect("user.info.basic")
		b.st.Accounts.Change(stage.TokenFilter{Account: b.acct.ID}, func(tk *stage.Token) { tk.Expire(true) })
		if b.user(access, "open_id").name() != "access_token_invalid" {
			t.Error("it lives on")
		}
		if got, _ := b.refresh(refresh).pair(); b.user(got, "open_id").name() != "ok" {
			t.Error("not refreshed")
		}
	})
}

func TestAnswersAlternateWhenHostile(t *testing.T) {
	inBubble(t, tiktok.Hostile(), func(b *bundle) {
		statuses, flat := map[int]bool{}, map[bool]bool{}
		_, token := b.connect("user.info.basic")
		for range 16 {
			statuses[b.refresh("nobody").status] = true
			r := b.refresh(token)
			_, wrapped := r.body["data"]
			flat[!wrapped] = true
			_, token = r.pair()
		}
		if !statuses[200] || !statuses[400] || len(flat) != 2 {
			t.Errorf("statuses %v, flat %v", statuses, flat)
		}
		if r := b.refresh("nobody", "more", "1"); r.name() != "invalid_request" {
			t.Errorf("%v", r.body)
		}
		if r := b.serve(httptest.NewRequest("GET", "/v2/oauth/token", nil)); r.status != 404 {
			t.Errorf("%d", r.status)
		}
	})
}

func TestEveryHintIsPlayed(t *testing.T) {
	inBubble(t, tiktok.Faithful(), func(b *bundle) {
		seen := map[string]bool{}
		for _, h := range b.tk.Hints() {
			if seen[h.Row] || h.About == "" || h.Fault == nil && h.Builtin == "" {
				t.Errorf("%+v", h)
			}
			seen[h.Row] = true
			if h.Fault == nil || h.Expect.Status == 0 { // no answer needs a connection: the sandbox's own test
				continue
			}
			access, refresh := b.connect("user.info.basic")
			f := *h.Fault
			f.Call = h.Expect.Call
			set, err := b.st.Faults.Add(f)
			if err != nil {
				t.Fatal(err)
			}
			r := b.refresh(refresh)
			if h.Expect.Call == tiktok.CallUser {
				r = b.user(access, "open_id")
			}
			b.st.Faults.Clear(set.ID)
			calls := b.st.Calls.List(stage.CallFilter{Name: h.Expect.Call})
			if last := calls[len(calls)-1]; r.status != h.Expect.Status || r.name() != h.Expect.Code || last.Executed != h.Expect.Executed {
				t.Errorf("%s: %d %v, executed %v", h.Row, r.status, r.body, last.Executed)
			}
		}
		set, err := b.st.Faults.Add(stage.Fault{Switch: "rate_limited", Provider: tiktok.Name, Delay: stage.Duration(90 * time.Second)})
		if r := b.refresh("nobody"); err != nil || r.header.Get("Retry-After") != "90" {
			t.Errorf("%v %v", r.header, err)
		}
		b.st.Faults.Clear(set.ID)
	})
}

func TestBehaviorThatMakesNoSenseIsRefused(t *testing.T) {
	inBubble(t, tiktok.Faithful(), func(b *bundle) {
		for _, bad := range []string{`{"accessLife":0}`, `{"refreshLife":"1h"}`, `{"nonsense":1}`, `[]`} {
			if err := b.tk.Tune([]byte(bad)); err == nil {
				t.Errorf("%s was taken", bad)
			}
		}
		if err := b.tk.Tune([]byte(`{"accessLife":"24h","forgives":false}`)); err != nil {
			t.Error(err)
		}
		if got := b.tk.Now(); got.Forgives || time.Duration(got.AccessLife) != 24*time.Hour || !got.Restarts {
			t.Errorf("%+v", got)
		}
	})
}
