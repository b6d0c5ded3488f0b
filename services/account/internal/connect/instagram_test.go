package connect

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"postbus.dev/services/connectors"
	"postbus.dev/services/connectors/all"
	"postbus.dev/services/connectors/sandbox"
	"postbus.dev/services/connectors/sandbox/stage"
	"postbus.dev/services/internal/oauthaccount"
)

// TestConnectingAtInstagram goes the whole way with the real connector and the
// stand-in over HTTP. Its cases share a system, and each has an account.
func TestConnectingAtInstagram(t *testing.T) {
	t.Parallel()
	b, box := setupInstagram(t)
	link := func(body string) string {
		s := b.call(http.MethodPost, "/api/connect/instagram/links", "pb_alice", body)
		i := strings.Index(s.body, b.url)
		if s.status != http.StatusCreated || i < 0 {
			t.Fatalf("made no link: %d %s", s.status, s.body)
		}
		return s.body[i : i+strings.IndexByte(s.body[i:], '"')]
	}
	// way opens a link, decides at Instagram and returns what the browser is sent back to.
	way := func(br *browser, body string, p sandbox.Person) string {
		to, err := p.Decide(t.Context(), br.client, br.open(link(body)).location)
		if err != nil {
			t.Fatal(err)
		}
		return to.String()
	}
	accountOf := func(username string) (oauthaccount.Account, stage.Account) {
		for _, there := range box.Accounts("instagram") {
			if there.Username != username {
				continue
			}
			found, err := b.accounts.Find(t.Context(), "instagram", []string{there.AppID})
			if err != nil {
				t.Fatal(err)
			}
			if len(found) == 1 {
				return found[0], there
			}
			return oauthaccount.Account{}, there
		}
		t.Fatalf("no account %s", username)
		return oauthaccount.Account{}, stage.Account{}
	}

	t.Run("a person who allows it is connected", func(t *testing.T) {
		br := b.browser()
		back := way(br, `{}`, sandbox.Person{Account: "ada"})
		if !strings.HasSuffix(back, "#_") {
			t.Errorf("the stand-in is not as Instagram: %s", back)
		}
		br.open(back).page(t, 200, "Your instagram account is connected")
		a, there := accountOf("ada")
		if a.UserID != b.alice || a.ProviderAccountID != there.ID || a.Username != "ada" || !strings.Contains(a.Scope, "content_publish") || a.ExpiresAt.IsZero() || a.RefreshAfter.IsZero() {
			t.Errorf("connected %+v", a)
		}
		br.open(back).page(t, 409, "Already answered")
	})
	t.Run("a person who takes a permission off is told which", func(t *testing.T) {
		br := b.browser()
		br.open(way(br, `{}`, sandbox.Person{Account: "ben", Deny: []string{"instagram_business_content_publish"}})).page(t, 403, "instagram_business_content_publish")
		if a, _ := accountOf("ben"); a.Username != "" {
			t.Errorf("connected %+v", a)
		}
		if n := len(box.Calls(stage.CallFilter{Provider: "instagram", Name: "permissions_delete"})); n != 1 {
			t.Errorf("%d grants were revoked", n)
		}
		br.open(way(br, `{}`, sandbox.Person{Account: "ben"})).page(t, 200, "Connected") // begun anew
	})
	t.Run("a person who cancels is sent back to the app", func(t *testing.T) {
		br := b.browser()
		s := br.open(way(br, `{"returnTo":"`+app+`"}`, sandbox.Person{Account: "cem", Cancel: true}))
		if s.status != 303 || s.location != app+"?code=CANCELED&status=failed" {
			t.Errorf("sent to %d %s", s.status, s.location)
		}
	})
	t.Run("a code that was spent connects nothing", func(t *testing.T) {
		br := b.browser()
		first := way(br, `{}`, sandbox.Person{Account: "cem"})
		br.open(first).page(t, 200, "Connected")
		u, _ := url.Parse(way(br, `{}`, sandbox.Person{Account: "dot"}))
		br.open(withParameter(u.String(), "code", parameter(first, "code"))).page(t, 400, "does not accept this sign-in")
		if a, _ := accountOf("dot"); a.Username != "" {
			t.Errorf("connected %+v", a)
		}
	})
	t.Run("an answer that is lost is not asked for again", func(t *testing.T) {
		br := b.browser()
		back := way(br, `{}`, sandbox.Person{Account: "dot"})
		before := len(box.Calls(stage.CallFilter{Provider: "instagram", Name: "token_code"}))
		f, err := box.SetFault(stage.Fault{Switch: "lost_after", Provider: "instagram", Call: "token_code"})
		if err != nil {
			t.Fatal(err)
		}
		br.open(back).page(t, 502, "does not answer as it should")
		box.ClearFault(f.ID)
		if n := len(box.Calls(stage.CallFilter{Provider: "instagram", Name: "token_code"})); n != before+1 {
			t.Errorf("the code was sent %d times", n-before)
		}
		br.open(back).page(t, 409, "Already answered")
		br.open(way(br, `{}`, sandbox.Person{Account: "dot"})).page(t, 200, "Connected")
	})
	t.Run("another user's account stays his", func(t *testing.T) {
		_, err := b.pool.Exec(t.Context(), `UPDATE oauth_accounts SET user_id = $1 WHERE username = 'ada'`, b.bob)
		if err != nil {
			t.Fatal(err)
		}
		br := b.browser()
		br.open(way(br, `{}`, sandbox.Person{Account: "ada"})).page(t, 409, "connected for somebody else")
	})
}

func setupInstagram(t *testing.T) (*bundle, *sandbox.Sandbox) {
	t.Helper()
	var accounts []stage.Account
	for _, name := range []string{"ada", "ben", "cem", "dot"} {
		accounts = append(accounts, stage.Account{Provider: "instagram", Username: name})
	}
	box, err := sandbox.New(sandbox.Config{Accounts: accounts})
	if err != nil {
		t.Fatal(err)
	}
	at, err := box.Serve(sandbox.ServeConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { box.Close(); _ = at.Close() })
	client := connectors.NewClient(connectors.ClientConfig{})
	t.Cleanup(client.Close)
	b := setup(t, func(c *Config) {
		app := sandbox.LocalClient("instagram", c.PublicURL)
		if err := box.AddClient(app); err != nil {
			t.Fatal(err)
		}
		env := map[string]string{
			"INSTAGRAM_CLIENT_ID": app.ID, "INSTAGRAM_CLIENT_SECRET": app.Secret, "INSTAGRAM_BASE_URL": at.URL + "/instagram",
			"INSTAGRAM_AUTHORIZE_URL": at.URL + "/instagram/oauth/authorize", "INSTAGRAM_TOKEN_URL": at.URL + "/instagram/oauth/access_token",
		}
		if c.Connectors, err = all.New(all.Config{Client: client, Env: func(name string) string { return env[name] }}); err != nil {
			t.Fatal(err)
		}
	})
	return b, box
}
