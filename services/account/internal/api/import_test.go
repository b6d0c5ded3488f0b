package api

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"postbus.dev/events"
	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/tenant"
)

const (
	canary       = "canary-access-token-7f3a"
	canaryFresh  = "canary-refresh-token-7f3a"
	importedBody = `{"provider":"example","accessToken":"` + canary + `","refreshToken":"` + canaryFresh + `","scope":"read publish","expiresIn":3600}`
)

func TestTokensAreImportedOnceTheProviderHasVerifiedThem(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.send(b.key(b.alice, tenant.ScopeAccounts), http.MethodPost, importPath, importedBody)
	if a.status != http.StatusCreated || a.data["providerAccountId"] != "acct-1" || a.data["username"] != "ada" || a.data["userId"] != "alice" ||
		fmt.Sprint(a.data["scopes"]) != "[read publish]" {
		t.Fatalf("%d %s", a.status, a.raw)
	}
	given := b.provider.given[0]
	if given.AccessToken.Reveal() != canary || given.RefreshToken.Reveal() != canaryFresh || given.Scope != "read publish" || given.ExpiresIn != time.Hour {
		t.Errorf("the provider was asked about %+v", given)
	}
	account, err := b.accounts.One(t.Context(), b.alice.ID, uuid.MustParse(a.data["accountId"].(string)))
	if err != nil {
		t.Fatal(err)
	}
	opened, err := account.Open()
	if err != nil || opened.AccessToken.Reveal() != canary {
		t.Errorf("kept with another token: %v", err)
	}
	if in := time.Until(account.ExpiresAt); in < 59*time.Minute || in > time.Hour {
		t.Errorf("expires in %v", in)
	}
	if got := b.told(); got != events.TypeAccountConnected {
		t.Errorf("told %s", got)
	}
}

func TestTokensOfAKnownAccountReplaceItsOwn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	key := b.key(b.alice, tenant.ScopeAccounts)
	first := b.send(key, http.MethodPost, importPath, importedBody)
	b.exec(`UPDATE oauth_accounts SET status = 'reauth_required'`)
	a := b.send(key, http.MethodPost, importPath, importedBody)
	if a.status != http.StatusOK || a.data["accountId"] != first.data["accountId"] || a.data["status"] != "active" {
		t.Errorf("%d %s", a.status, a.raw)
	}
	if got := b.told(); got != strings.Join([]string{events.TypeAccountConnected, events.TypeAccountConnected, events.TypeAccountRecovered}, " ") {
		t.Errorf("told %s", got)
	}
}

func TestTokensAreImportedForAnotherUserByWhoMay(t *testing.T) {
	t.Parallel()
	b := setup(t)
	body := strings.Replace(importedBody, "{", `{"userId":"bob",`, 1)
	b.send(b.key(b.alice, tenant.ScopeAccounts), http.MethodPost, importPath, body).wants(t, 403, "MISSING_SCOPE")
	agency := b.key(b.alice, tenant.ScopeAccounts, tenant.ScopeOnBehalf)
	b.send(agency, http.MethodPost, importPath, strings.Replace(body, "bob", "nobody", 1)).wants(t, 404, "NOT_FOUND")
	if n := b.provider.imports(); n != 0 {
		t.Errorf("the provider was asked %d times", n)
	}
	if a := b.send(agency, http.MethodPost, importPath, body); a.status != http.StatusCreated || a.data["userId"] != "bob" {
		t.Errorf("%d %s", a.status, a.raw)
	}
}

func TestATokenThatMayNotPublishIsNotKept(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.provider.set(func(p *provider) {
		p.grant = func(g *connectors.Grant) { g.Scope, g.Missing = "read", []string{"publish"} }
	})
	a := b.send(b.key(b.alice, tenant.ScopeAccounts), http.MethodPost, importPath, importedBody)
	a.wants(t, 403, "MISSING_SCOPE")
	if !slices.Equal(a.err.Details.Missing, []string{"publish"}) || !strings.Contains(a.err.Message, "publish") {
		t.Errorf("answered %s", a.raw)
	}
	if n := query[int](b, `SELECT count(*) FROM oauth_accounts`); n != 0 || b.told() != "" {
		t.Error("it was kept")
	}
}

func TestAnAccountThatIsNotFreeIsAConflict(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.account(b.bob, "acct-1")
	key := b.key(b.alice, tenant.ScopeAccounts)
	b.send(key, http.MethodPost, importPath, importedBody).wants(t, 409, "CONFLICT")
	b.exec(`UPDATE oauth_accounts SET user_id = $1`, b.alice.ID)
	b.send(key, http.MethodPost, accountsPath+"/"+query[uuid.UUID](b, `SELECT id FROM oauth_accounts`).String()+"/disconnect", "")
	a := b.send(key, http.MethodPost, importPath, importedBody)
	a.wants(t, 409, "CONFLICT")
	if !strings.Contains(a.err.Message, "disconnected") {
		t.Errorf("answered %s", a.raw)
	}
}

func TestNothingIsImportedForAUserWhoIsBeingDeleted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	agency := b.key(b.alice)
	if _, err := b.tenants.BeginDeletion(t.Context(), b.bob.ID); err != nil {
		t.Fatal(err)
	}
	b.send(agency, http.MethodPost, importPath, strings.Replace(importedBody, "{", `{"userId":"bob",`, 1)).wants(t, 409, "CONFLICT")
	if n := b.provider.imports(); n != 0 {
		t.Errorf("the provider was asked %d times", n)
	}
}

func TestWhatAProviderSaysOfATokenIsAnswered(t *testing.T) {
	t.Parallel()
	say := func(kind connectors.Kind, code string) error {
		return &connectors.Error{Kind: kind, Code: code, Message: "as the provider says"}
	}
	for name, c := range map[string]struct {
		err    error
		status int
		code   string
	}{
		"of another account":   {say(connectors.KindReject, connectors.CodeValidation), 400, "VALIDATION_ERROR"},
		"dead":                 {say(connectors.KindReject, connectors.CodeReauthRequired), 409, "REAUTH_REQUIRED"},
		"not professional":     {say(connectors.KindReject, connectors.CodeAccountRestricted), 409, "ACCOUNT_RESTRICTED"},
		"down":                 {say(connectors.KindRetry, connectors.CodeUnavailable), 503, "PROVIDER_UNAVAILABLE"},
		"slow":                 {say(connectors.KindRetry, connectors.CodeTimeout), 504, "TIMEOUT_ERROR"},
		"too many calls":       {say(connectors.KindRetry, connectors.CodeRateLimited), 429, "PROVIDER_RATE_LIMITED"},
		"our client is wrong":  {say(connectors.KindReject, connectors.CodeInternal), 500, "INTERNAL_ERROR"},
		"a code for posts":     {say(connectors.KindReject, connectors.CodeMediaRejected), 500, "INTERNAL_ERROR"},
		"not set up":           {fmt.Errorf("example: %w", connectors.ErrNotConfigured), 503, "SERVICE_UNAVAILABLE"},
		"a fault of connector": {errors.New("nil map"), 500, "INTERNAL_ERROR"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.provider.set(func(p *provider) { p.fail = c.err })
			key := b.key(b.alice, tenant.ScopeAccounts)
			before := b.state()
			a := b.send(key, http.MethodPost, importPath, importedBody)
			a.wants(t, c.status, c.code)
			if (c.status == 429) != (a.header.Get("Retry-After") != "") {
				t.Errorf("Retry-After is %q", a.header.Get("Retry-After"))
			}
			if b.state() != before {
				t.Error("something was stored")
			}
			b.quiet(a)
		})
	}
}

// quiet fails where a token that was sent is in an answer, a log or a span.
func (b *bundle) quiet(answers ...answer) {
	b.Helper()
	shown := b.logs.String()
	for _, a := range answers {
		shown += a.raw + fmt.Sprint(a.header)
	}
	for _, s := range b.spans.GetSpans() {
		shown += fmt.Sprintf("%+v", s)
	}
	for _, token := range []string{canary, canaryFresh} {
		if i := strings.Index(shown, token); i >= 0 {
			b.Errorf("a token is shown: %s", shown[max(0, i-200):min(len(shown), i+100)])
		}
	}
}

func TestABadImportNamesEveryFaultAndAsksNobody(t *testing.T) {
	t.Parallel()
	b := setup(t)
	key := b.key(b.alice)
	before := b.state()
	var all []answer
	for body, want := range map[string]string{
		`{`:  " json",
		`[]`: " type",
		`{}`: "/provider required, /accessToken required",
		`{"provider":"mute","accessToken":"` + canary + `"}`:                                                        "/provider enum",
		`{"provider":"example","accessToken":["` + canary + `"]}`:                                                   "/accessToken type",
		`{"provider":"example","accessToken":"` + canary + `\r\nX-Injected: 1"}`:                                    "/accessToken pattern",
		`{"provider":"example","accessToken":"` + canary + ` "}`:                                                    "/accessToken pattern",
		`{"provider":"example","accessToken":"` + strings.Repeat(canary, 400) + `"}`:                                "/accessToken maxLength",
		`{"provider":"example","accessToken":"` + canary + `","accessToken":"` + canaryFresh + `"}`:                 "/accessToken duplicate",
		`{"provider":"example","accessToken":"` + canary + `","expiresIn":0}`:                                       "/expiresIn minimum",
		`{"provider":"example","accessToken":"` + canary + `","expiresIn":315360001}`:                               "/expiresIn maximum",
		`{"provider":"example","accessToken":"` + canary + `","expiresIn":"1h","refreshToken":"","scope":"\u0001"}`: "/expiresIn type, /refreshToken minLength, /scope pattern",
		`{"provider":"example","accessToken":"` + canary + `","userId":"a\nb"}`:                                     "/userId format",
		`{"provider":"example","access_token":"` + canary + `"}`:                                                    "/access_token additionalProperties, /accessToken required",
	} {
		a := b.send(key, http.MethodPost, importPath, body)
		a.wants(t, 400, "VALIDATION_ERROR")
		if got := a.faults(); got != want {
			t.Errorf("%.100s\n got %s\nwant %s", body, got, want)
		}
		all = append(all, a)
	}
	b.quiet(all...)
	if b.provider.imports() != 0 || b.state() != before {
		t.Error("a bad request did something")
	}
}

func TestAProviderWithoutImportIsNamedWithThoseThatHaveIt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.send(b.key(b.alice), http.MethodPost, importPath, `{"provider":"mute","accessToken":"x"}`)
	a.wants(t, 400, "VALIDATION_ERROR")
	if !strings.Contains(a.raw, "can be imported: example") {
		t.Errorf("answered %s", a.raw)
	}
}
