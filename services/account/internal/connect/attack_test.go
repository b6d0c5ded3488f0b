package connect

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"postbus.dev/services/internal/httpapi"
)

func TestAStateThatIsReplayedDoesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	br := b.browser()
	back := b.provider.consent(br.start(b.link("pb_alice", `{"returnTo":"`+app+`"}`)), "acct-1")
	if s := br.open(back); s.status != 303 {
		t.Fatalf("answered %d", s.status)
	}
	br.open(back).page(t, 409, "Already answered")          // a reload
	b.browser().open(back).page(t, 409, "Already answered") // somebody who found the address
	if b.provider.spent() != 1 {
		t.Errorf("%d codes were exchanged", b.provider.spent())
	}
	if got := query[int](b, `SELECT count(*) FROM outbox`); got != 1 {
		t.Errorf("%d events", got)
	}
	if b.counted("postbus.connect.ended", "outcome=replayed") != 2 {
		t.Error("not counted")
	}
}

func TestOfManyCopiesOfACallbackOneIsExchanged(t *testing.T) {
	t.Parallel()
	b := setup(t)
	br := b.browser()
	back := b.provider.consent(br.start(b.link("pb_alice", `{}`)), "acct-1")
	statuses := make([]int, 8)
	var wg sync.WaitGroup
	for i := range statuses {
		wg.Go(func() { statuses[i] = br.open(back).status })
	}
	wg.Wait()
	n := map[int]int{}
	for _, s := range statuses {
		n[s]++
	}
	if n[200] != 1 || n[409] != 7 || b.provider.spent() != 1 {
		t.Errorf("answered %v, %d exchanges", n, b.provider.spent())
	}
}

func TestAStateOfAnotherUserIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	alice, bob := b.browser(), b.browser()
	forAlice := b.provider.consent(alice.start(b.link("pb_alice", `{"returnTo":"`+app+`"}`)), "acct-1")
	forBob := b.provider.consent(bob.start(b.link("pb_bob", `{}`)), "acct-2")
	bob.open(forAlice).page(t, 403, "another browser")
	alice.open(forBob).page(t, 403, "another browser")
	b.wantAccounts(0)
	if b.provider.spent() != 0 {
		t.Error("a code was exchanged")
	}
	// The codes with each other's states: who gave the code does not matter, whose state it is does.
	swapped := withParameter(forAlice, "code", parameter(forBob, "code"))
	if s := alice.open(swapped); s.status != 303 || !strings.Contains(s.location, "code=REAUTH_REQUIRED") {
		t.Errorf("answered %d %s", s.status, s.location) // PKCE: the verifier is not that of the code
	}
	b.wantAccounts(0)
}

func TestACallbackThatSomebodyElseBeganIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	attacker, victim := b.browser(), b.browser()
	back := b.provider.consent(attacker.start(b.link("pb_bob", `{}`)), "acct-2") // his account, his code
	victim.open(back).page(t, 403, "another browser")
	victim.start(b.link("pb_alice", `{}`)) // a cookie of her own does not help him
	victim.open(back).page(t, 403, "another browser")
	name := attacker.flow.cookies.name(mustHash(t, parameter(back, "state")))
	victim.open(back, "Cookie", name+"="+newToken()).page(t, 403, "another browser")
	victim.open(back, "Cookie", name+"=").page(t, 403, "another browser")
	victim.open(back, "Cookie", name+"="+attacker.cookie(name)+"; "+name+"="+newToken()).page(t, 403, "another browser")
	b.wantAccounts(0)
	attacker.open(back).page(t, 200, "Connected") // none of this has spent his state
}

func (br *browser) cookie(name string) string {
	u, _ := url.Parse(br.url + "/api/connect/example/callback")
	for _, c := range br.client.Jar.Cookies(u) {
		if c.Name == name {
			return c.Value
		}
	}
	br.Errorf("the browser has no cookie %s", name)
	return ""
}

func mustHash(t *testing.T, token string) hash {
	t.Helper()
	h, ok := hashOf(token)
	if !ok {
		t.Fatalf("%q is no token", token)
	}
	return h
}

func parameter(address, name string) string {
	u, _ := url.Parse(address)
	return u.Query().Get(name)
}

func withParameter(address, name, value string) string {
	u, _ := url.Parse(address)
	q := u.Query()
	q.Set(name, value)
	u.RawQuery = q.Encode()
	return u.String()
}

func TestAStateThatHasExpiredIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	br := b.browser()
	plain := b.provider.consent(br.start(b.link("pb_alice", `{}`)), "acct-1")
	returning := b.provider.consent(br.start(b.link("pb_alice", `{"returnTo":"`+app+`"}`)), "acct-1")
	b.exec(`UPDATE connect_states SET created_at = now() - interval '11 minutes', expires_at = now() - interval '1 second'`)
	br.open(plain).page(t, 410, "expired")
	if s := br.open(returning); s.status != 303 || s.location != app+"?code=EXPIRED&status=failed" {
		t.Errorf("answered %d %s", s.status, s.location)
	}
	b.browser().open(returning).page(t, 403, "another browser") // nobody else is sent anywhere
	b.wantAccounts(0)
}

func TestAStateOfAnotherProviderIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	br := b.browser()
	back := b.provider.consent(br.start(b.link("pb_alice", `{}`)), "acct-1")
	br.open(strings.Replace(back, "/example/", "/second/", 1)).page(t, 400, "not one of ours")
	br.open(strings.Replace(b.link("pb_alice", `{}`), "/example?", "/second?", 1)).page(t, 404, "This link does not work")
	br.open(back).page(t, 200, "Connected")
}

func TestACodeThatIsReplayedConnectsNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first := b.browser()
	spent := b.provider.consent(first.start(b.link("pb_alice", `{}`)), "acct-1")
	first.open(spent).page(t, 200, "Connected")
	thief := b.browser()
	own := b.provider.consent(thief.start(b.link("pb_bob", `{}`)), "acct-2")
	thief.open(withParameter(own, "code", parameter(spent, "code"))).page(t, 400, "does not accept this sign-in")
	if a := b.all(); len(a) != 1 || a[0].UserID != b.alice {
		t.Errorf("accounts are %+v", a)
	}
}

func TestAddressesToReturnToThatAreNotListedAreRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, evil := range []string{
		"https://evil.example", "//evil.example", `https://app.example\\@evil.example`, "https://app.example@evil.example", "https://app.example.evil.example",
		"https://app.example:8443", "http://app.example", "javascript:alert(1)", "/back", "https://evil.example/#https://app.example", "https://app.example/%2e%2e/x",
	} {
		b.call(http.MethodPost, "/api/connect/example/links", "pb_alice", `{"returnTo":"`+evil+`"}`).failure(t, 400, httpapi.CodeValidation)
		b.call(http.MethodGet, "/api/connect/example?returnTo="+url.QueryEscape(evil), "pb_alice", "").failure(t, 400, httpapi.CodeValidation)
	}
	br := b.browser()
	link := b.link("pb_alice", `{}`)
	br.open(link+"&returnTo="+url.QueryEscape("https://evil.example")).page(t, 400, "not one of ours")
	back := b.provider.consent(br.start(link), "acct-1") + "&returnTo=https://evil.example&return_to=https://evil.example&redirect_uri=https://evil.example"
	if s := br.open(back); s.status != 200 || s.location != "" {
		t.Errorf("sent to %s", s.location)
	}
}

// TestMalformedCallbacksAreRefused: each is refused before the database is asked,
// spends nothing, and shows nothing of itself.
func TestMalformedCallbacksAreRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	br := b.browser()
	back := b.provider.consent(br.start(b.link("pb_alice", `{}`)), "acct-1")
	state, code := parameter(back, "state"), parameter(back, "code")
	callback := b.url + "/api/connect/example/callback?"
	const sql, line = `'; DROP TABLE users; --`, "x\r\n{\"level\":\"ERROR\",\"msg\":\"forged\"}"
	for name, query := range map[string]string{
		"nothing":            "",
		"no state":           "code=" + code,
		"two states":         "state=" + state + "&state=" + state + "&code=" + code,
		"another state too":  "state=" + newToken() + "&state=" + state + "&code=" + code,
		"two codes":          "state=" + state + "&code=" + code + "&code=other",
		"code and error":     "state=" + state + "&code=" + code + "&error=access_denied",
		"two errors":         "state=" + state + "&error=access_denied&error=x",
		"a long code":        "state=" + state + "&code=" + strings.Repeat("c", maxCode+1),
		"a long query":       "state=" + state + "&code=" + code + "&x=" + strings.Repeat("c", maxQuery),
		"a broken query":     "state=" + state + "&code=%zz",
		"a semicolon":        "state=" + state + ";code=" + code,
		"U+0000 in the code": "state=" + state + "&code=%00",
		"no UTF-8":           "state=" + state + "&code=%ff",
		"unknown state":      "state=" + newToken() + "&code=" + code,
		"state cut short":    "state=" + state[:42] + "&code=" + code,
		"state with a tail":  "state=" + state + "A&code=" + code,
		"SQL as state":       "state=" + url.QueryEscape(sql) + "&code=" + code,
		"SQL as long state":  "state=" + url.QueryEscape(sql+strings.Repeat("x", tokenLength-len(sql))) + "&code=" + code,
		"a line as state":    "state=" + url.QueryEscape(line) + "&code=" + code,
		"a state of U+0000":  "state=" + strings.Repeat("%00", tokenLength) + "&code=" + code,
	} {
		s := br.open(callback + query)
		s.page(t, 400, "not one of ours")
		if strings.Contains(s.body, "DROP TABLE") || strings.Contains(s.body, "forged") {
			t.Errorf("%s: repeated in the page", name)
		}
	}
	if b.provider.spent() != 0 {
		t.Error("a code was exchanged")
	}
	for _, never := range []string{"DROP TABLE", "forged", state, code} {
		if strings.Contains(b.logs.String(), never) {
			t.Errorf("the log repeats %q", never)
		}
	}
	br.open(back).page(t, 200, "Connected")
}

func TestWhatAnAttackerWritesIntoACodeReachesTheConnectorAndNothingElse(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, evil := range []string{`'; DELETE FROM users; --`, "x\r\n\"msg\":\"forged\"", "<script>alert(1)</script>", "${jndi:ldap://evil}"} {
		br := b.browser()
		back := b.provider.consent(br.start(b.link("pb_alice", `{}`)), "acct-1")
		s := br.open(withParameter(back, "code", evil))
		s.page(t, 400, "does not accept this sign-in")
		if got := b.provider.last.Code.Reveal(); got != evil {
			t.Errorf("the connector got %q", got)
		}
		if strings.Contains(b.logs.String(), "forged") || strings.Contains(b.logs.String(), "DELETE FROM") || strings.Contains(s.body, "<script") {
			t.Errorf("%q is repeated", evil)
		}
	}
	if n := query[int](b, `SELECT count(*) FROM users`); n != 2 {
		t.Errorf("%d users are left", n)
	}
}

func TestOpenStatesAndLinksOfAUserAreBounded(t *testing.T) {
	t.Parallel()
	b := setup(t, func(c *Config) { c.MaxOpen = 3 })
	link := b.link("pb_alice", `{}`)
	br := b.browser()
	for range 3 {
		br.start(link)
	}
	br.open(link).page(t, 429, "Too many attempts")
	b.call(http.MethodGet, "/api/connect/example", "pb_alice", "").failure(t, 429, httpapi.CodeRateLimitExceeded)
	b.link("pb_alice", `{}`)
	b.link("pb_alice", `{}`)
	b.call(http.MethodPost, "/api/connect/example/links", "pb_alice", `{}`).failure(t, 429, httpapi.CodeRateLimitExceeded)
	br.start(b.link("pb_bob", `{}`)) // others do not notice
	b.exec(`UPDATE connect_states SET created_at = now() - interval '11 minutes', expires_at = now()`)
	b.exec(`UPDATE connect_links SET used_at = now() WHERE token_sha256 <> $1`, func() []byte { h := mustHash(t, parameter(link, "link")); return h[:] }())
	br.start(link)
	b.link("pb_alice", `{}`)
}

func TestLinksThatAreNoneLeadNowhere(t *testing.T) {
	t.Parallel()
	b := setup(t)
	br := b.browser()
	link := b.link("pb_alice", `{}`)
	at := b.url + "/api/connect/example"
	for name, address := range map[string]string{
		"without a link": at, "empty": at + "?link=", "unknown": at + "?link=" + newToken(), "cut": link[:len(link)-1], "with a tail": link + "A",
		"twice": link + "&link=" + newToken(), "SQL": at + "?link=" + url.QueryEscape(`' OR 1=1 --`), "U+0000": at + "?link=" + strings.Repeat("%00", tokenLength),
		"long": link + "&x=" + strings.Repeat("x", maxQuery), "broken": at + "?link=%zz",
	} {
		if s := br.open(address); s.status != 404 || !strings.Contains(s.body, "This link does not work") {
			t.Errorf("%s: %d %s", name, s.status, s.body)
		}
	}
	b.exec(`UPDATE connect_links SET created_at = now() - interval '16 minutes', expires_at = now() - interval '1 second'`)
	br.open(link).page(t, 410, "expired")
	for _, provider := range []string{"nowhere", "mute", "..%2fexample", "example%00", "%27%3b", "exa%0d%0ample", strings.Repeat("x", 5000)} {
		if s := br.open(b.url + "/api/connect/" + provider + "?link=" + newToken()); s.status != 404 {
			t.Errorf("%s: %d %s", provider, s.status, s.body)
		}
		if s := br.open(b.url + "/api/connect/" + provider + "/callback?state=" + newToken()); s.status != 404 {
			t.Errorf("%s: %d %s", provider, s.status, s.body)
		}
	}
	if n := query[int](b, `SELECT count(*) FROM connect_states`); n != 0 {
		t.Errorf("%d states were made", n)
	}
}

func TestAnOversizedRequestIsRefusedByTheServer(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := b.browser().send(http.MethodPost, b.url+"/api/connect/example/links", strings.Repeat(" ", httpapi.MaxBodyBytes+1), "Authorization", "Bearer pb_alice")
	s.failure(t, 413, httpapi.CodeValidation)
}
