package connect

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"postbus.dev/events"
	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/oauthaccount"
)

func TestALinkConnectsAnAccountOfItsUser(t *testing.T) {
	t.Parallel()
	b := setup(t)
	br := b.browser()
	br.connect("pb_alice", "acct-1").page(t, 200, "Your example account is connected")
	accounts := b.all()
	if len(accounts) != 1 {
		t.Fatalf("%d accounts", len(accounts))
	}
	a := accounts[0]
	c, err := a.Open()
	if err != nil {
		t.Fatal(err)
	}
	if a.UserID != b.alice || a.ProviderAccountID != "acct-1" || a.Username != "name of acct-1" || a.Scope != "basic publish" || a.Status != oauthaccount.Active ||
		c.AccessToken.Reveal() != "access-acct-1" || time.Until(a.ExpiresAt).Round(time.Minute) != time.Hour || time.Until(a.RefreshAfter).Round(time.Minute) != 30*time.Minute {
		t.Errorf("connected %+v", a)
	}
	if got := query[string](b, `SELECT string_agg(subject, ' ' ORDER BY id) FROM outbox`); got != events.TypeAccountConnected {
		t.Errorf("events are %q", got)
	}
	if b.counted("postbus.connect.started", "provider=example") != 1 || b.counted("postbus.connect.ended", "provider=example", "outcome=connected") != 1 {
		t.Error("not counted")
	}
	if x := b.provider.last; x.RedirectURI != b.url+"/api/connect/example/callback" || x.State == "" || x.Verifier.Empty() {
		t.Errorf("exchanged with %+v", x)
	}
}

func TestAProviderWithoutPKCEGetsNone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.provider.pkce = false
	b.browser().connect("pb_alice", "acct-1").page(t, 200, "Connected")
	if !query[bool](b, `SELECT verifier IS NULL FROM connect_states`) {
		t.Error("a verifier was kept")
	}
}

func TestAPersonIsSentBackToTheApp(t *testing.T) {
	t.Parallel()
	b := setup(t)
	br := b.browser()
	s := br.open(b.provider.consent(br.start(b.link("pb_alice", `{"returnTo":"https://APP.example/back?tab=1"}`)), "acct-1"))
	id := b.all()[0].ID.String()
	if want := "https://app.example/back?tab=1&accountId=" + id + "&status=connected"; s.status != 303 || s.location != want || s.body != "" {
		t.Errorf("sent to %d %s %s, want %s", s.status, s.location, s.body, want)
	}
}

func TestACallerWithAKeyStartsWithoutALink(t *testing.T) {
	t.Parallel()
	b := setup(t)
	br := b.browser()
	s := br.open(b.url+"/api/connect/example?userId=bob&returnTo="+url.QueryEscape(app), "Authorization", "Bearer pb_agency", "Accept", "*/*")
	if s.status != 303 {
		t.Fatalf("answered %d %s", s.status, s.body)
	}
	s = br.open(b.provider.consent(s.location, "acct-1"))
	if a := b.all(); len(a) != 1 || a[0].UserID != b.bob || !strings.HasPrefix(s.location, app+"?") {
		t.Errorf("connected %+v, sent to %s", a, s.location)
	}
}

func TestReconnectingGivesTheSameAccountNewTokensAndRecoversIt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.browser().connect("pb_alice", "acct-1")
	before := b.all()[0]
	b.exec(`UPDATE oauth_accounts SET status = 'reauth_required'`)
	b.provider.grant = func(g *connectors.Grant) {
		g.AccessToken, g.RefreshToken = connectors.NewSecret("newer"), connectors.Secret{}
	}
	b.browser().connect("pb_alice", "acct-1").page(t, 200, "Connected")
	after := b.all()[0]
	c, err := after.Open()
	if err != nil || after.ID != before.ID || after.Status != oauthaccount.Active || c.AccessToken.Reveal() != "newer" {
		t.Errorf("became %+v, %v", after, err)
	}
	if !query[bool](b, `SELECT refresh_token IS NOT NULL FROM oauth_accounts`) {
		t.Error("the refresh token that the second grant lacks was blanked")
	}
	if got := query[string](b, `SELECT string_agg(subject, ' ' ORDER BY id) FROM outbox`); got != "account.connected account.connected account.recovered" {
		t.Errorf("events are %q", got)
	}
}

func TestALinkMayBeOpenedOftenUntilItHasConnected(t *testing.T) {
	t.Parallel()
	b := setup(t)
	link := b.link("pb_alice", `{}`)
	preview, br := b.browser(), b.browser()
	for range 3 {
		preview.start(link)
	}
	other := b.browser()
	late := b.provider.consent(other.start(link), "acct-2")
	br.open(b.provider.consent(br.start(link), "acct-1")).page(t, 200, "Connected")
	br.open(link).page(t, 410, "This link was used")
	other.open(late).page(t, 410, "This link was used")
	b.wantAccounts(1)
	if b.provider.spent() != 1 {
		t.Error("a code was exchanged for a link that was used")
	}
}

func TestHeadAnswersWithoutChangingAnything(t *testing.T) {
	t.Parallel()
	b := setup(t)
	link := b.link("pb_alice", `{}`)
	br := b.browser()
	if s := br.send(http.MethodHead, link, ""); s.status != 200 || s.header.Get("Set-Cookie") != "" {
		t.Errorf("answered %d %v", s.status, s.header)
	}
	if n := query[int](b, `SELECT count(*) FROM connect_states`); n != 0 {
		t.Errorf("%d states were made", n)
	}
	back := b.provider.consent(br.start(link), "acct-1")
	if s := br.send(http.MethodHead, back, ""); s.status != 200 {
		t.Errorf("answered %d", s.status)
	}
	br.open(back).page(t, 200, "Connected")
}

func TestTwoTabsOfABrowserDoNotDisturbEachOther(t *testing.T) {
	t.Parallel()
	b := setup(t)
	br := b.browser()
	first, second := br.start(b.link("pb_alice", `{}`)), br.start(b.link("pb_alice", `{}`))
	br.open(b.provider.consent(second, "acct-2")).page(t, 200, "Connected")
	br.open(b.provider.consent(first, "acct-1")).page(t, 200, "Connected")
	b.wantAccounts(2)
}

func TestTheDatabaseHoldsNothingThatOpensADoor(t *testing.T) {
	t.Parallel()
	b := setup(t)
	link := b.link("pb_alice", `{}`)
	br := b.browser()
	s := br.open(link)
	u, _ := url.Parse(s.location)
	back := b.provider.consent(s.location, "acct-1")
	br.open(back).page(t, 200, "Connected")
	rows := query[string](b, `SELECT (SELECT string_agg(l::text, ' ') FROM connect_links l) || (SELECT string_agg(s::text, ' ') FROM connect_states s)
		|| (SELECT string_agg(convert_from(event, 'UTF8'), ' ') FROM outbox)`)
	_, cookie, _ := strings.Cut(s.header.Get("Set-Cookie"), "=")
	cookie, _, _ = strings.Cut(cookie, ";")
	for name, value := range map[string]string{
		"link": link[len(link)-tokenLength:], "state": u.Query().Get("state"), "cookie": cookie, "verifier": b.provider.last.Verifier.Reveal(),
		"code": b.provider.last.Code.Reveal(), "token": "access-acct-1",
	} {
		for what, text := range map[string]string{"the database": rows, "the log": b.logs.String(), "the spans": b.spanText()} {
			if value == "" || strings.Contains(text, value) {
				t.Errorf("%s (%q) is in %s", name, value, what)
			}
		}
	}
}

func (b *bundle) spanText() string {
	raw, err := json.Marshal(b.spans.GetSpans())
	if err != nil {
		b.Fatal(err)
	}
	return string(raw)
}

func TestEachEndIsOneLineThatNamesUserAndAccount(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.browser().connect("pb_alice", "acct-1")
	var lines []map[string]any
	for line := range strings.Lines(b.logs.String()) {
		var l map[string]any
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		if l["msg"] == "connecting an account ended" {
			lines = append(lines, l)
		}
	}
	if len(lines) != 1 || lines[0]["outcome"] != "connected" || lines[0]["user"] != b.alice.String() || lines[0]["account"] != b.all()[0].ID.String() || lines[0]["provider"] != "example" {
		t.Errorf("logged %v", lines)
	}
	if !strings.Contains(b.spanText(), `"postbus.connect.outcome"`) || !strings.Contains(b.spanText(), `"connect exchange"`) {
		t.Errorf("spans are %s", b.spanText())
	}
}

func TestAGrantIsKeptAlthoughTheBrowserGoesAway(t *testing.T) {
	t.Parallel()
	b := setup(t)
	br := b.browser()
	back := b.provider.consent(br.start(b.link("pb_alice", `{}`)), "acct-1")
	ctx, leave := context.WithCancel(t.Context())
	done := make(chan struct{})
	b.provider.during = func(exchange context.Context) {
		leave()
		select {
		case <-exchange.Done():
			t.Error("the exchange ended with the request")
		case <-time.After(300 * time.Millisecond): // the server notices within it
		}
		close(done)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, back, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := br.client.Do(r); err == nil {
		resp.Body.Close()
		t.Fatal("the browser stayed")
	}
	<-done
	eventually(t, func() bool { return len(b.all()) == 1 })
}

func eventually(t *testing.T, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen within 10 s")
		}
	}
}

// flaky is a database that is away for some calls.
type flaky struct {
	Accounts
	away atomic.Int32
}

func (f *flaky) Connect(ctx context.Context, n oauthaccount.New) (oauthaccount.Connected, error) {
	if f.away.Add(-1) >= 0 {
		return oauthaccount.Connected{}, io.ErrUnexpectedEOF
	}
	return f.Accounts.Connect(ctx, n)
}

func TestAGrantIsWrittenOnceTheDatabaseIsBack(t *testing.T) {
	t.Parallel()
	f := &flaky{}
	f.away.Store(2)
	b := setup(t, func(c *Config) { f.Accounts, c.Accounts = c.Accounts, f })
	b.browser().connect("pb_alice", "acct-1").page(t, 200, "Connected")
	if b.provider.spent() != 1 {
		t.Error("the code was exchanged again")
	}
}

func TestOldLinksAndStatesAreForgotten(t *testing.T) {
	t.Parallel()
	b := setup(t)
	br := b.browser()
	br.start(b.link("pb_alice", `{}`))
	b.exec(`UPDATE connect_links SET created_at = now() - interval '2 hours', expires_at = now() - interval '61 minutes'`)
	b.exec(`UPDATE connect_states SET created_at = now() - interval '2 hours', expires_at = now() - interval '61 minutes'`)
	br.start(b.link("pb_alice", `{}`))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.flow.Run(ctx) }()
	eventually(t, func() bool {
		return query[int](b, `SELECT (SELECT count(*) FROM connect_links) + (SELECT count(*) FROM connect_states)`) == 2
	})
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestACookieOfAnHTTPSAddressIsOfThisHostAlone(t *testing.T) {
	t.Parallel()
	b := setup(t, func(c *Config) { c.PublicURL = "https://api.example/" })
	link := b.link("pb_alice", `{}`)
	if !strings.HasPrefix(link, "https://api.example/api/connect/example?link=") {
		t.Errorf("the link is %s", link)
	}
	s := b.browser().open(strings.Replace(link, "https://api.example", b.url, 1))
	c, err := http.ParseSetCookie(s.header.Get("Set-Cookie"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(c.Name, "__Host-") || !c.Secure || !c.HttpOnly || c.Path != "/" || c.Domain != "" || c.SameSite != http.SameSiteLaxMode || c.MaxAge != 600 {
		t.Errorf("the cookie is %s", c)
	}
	u, _ := url.Parse(s.location)
	if u.Query().Get("redirect_uri") != "https://api.example/api/connect/example/callback" {
		t.Errorf("sent away with %s", s.location)
	}
}

func TestACookieOfAPlainAddressIsSentBackHereOnly(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c, err := http.ParseSetCookie(b.browser().open(b.link("pb_alice", `{}`)).header.Get("Set-Cookie"))
	if err != nil {
		t.Fatal(err)
	}
	if c.Secure || !c.HttpOnly || c.Path != "/api/connect" || c.Domain != "" || c.SameSite != http.SameSiteLaxMode || c.MaxAge != 600 {
		t.Errorf("the cookie is %s", c)
	}
}

func TestAChallengeIsThatOfTheRFC(t *testing.T) {
	t.Parallel()
	// RFC 7636, appendix B
	if got := challenge(connectors.NewSecret("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")); got != "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM" {
		t.Errorf("got %s", got)
	}
}

func TestAFlowNamesEveryFaultOfItsConfiguration(t *testing.T) {
	t.Parallel()
	if _, err := New(Config{}); err == nil {
		t.Error("made of nothing")
	}
	b := setup(t)
	_, err := New(Config{Pool: b.pool, Sealer: b.sealer, Accounts: b.accounts, Users: b.flow.cfg.Users, PublicURL: "localhost:3000", ReturnTo: []string{"app", "//x"}})
	for _, want := range []string{"public URL", `"app"`, `"//x"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not named in %v", want, err)
		}
	}
}
