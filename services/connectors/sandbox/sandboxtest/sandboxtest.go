// Package sandboxtest makes what the suites of connectortest test a connector
// on: a sandbox with an account, and the hands of those who have one there.
package sandboxtest

import (
	"net/http"
	"net/url"
	"testing"

	"postbus.dev/services/connectors"
	"postbus.dev/services/connectors/connectortest"
	"postbus.dev/services/connectors/sandbox"
	"postbus.dev/services/connectors/sandbox/stage"
)

// At is a sandbox with one account of a provider, and an app there.
type At struct {
	*sandbox.Sandbox
	Account stage.Account
	App     stage.Client
	t       testing.TB
}

// New starts a sandbox that ends with the test.
func New(t testing.TB, provider string, cfg sandbox.Config) At {
	t.Helper()
	sb, err := sandbox.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sb.Close)
	return At{Sandbox: sb, Account: sb.Accounts(provider)[0], App: sb.Clients(provider)[0], t: t}
}

// Connect is the account as somebody connects it. Callbacks are the caller's.
func (a At) Connect() connectortest.ConnectBench {
	return connectortest.ConnectBench{
		Handler: a.Handler(), RedirectURI: a.App.RedirectURIs[0], AccountID: a.Account.ID,
		Decide: a.decide, Works: a.works, Kill: func() { a.kill() }, Secrets: a.secrets,
	}
}

// Refresh is the account as it is kept alive; limit is the fault of a provider
// that was called too often.
func (a At) Refresh(limit stage.Fault) connectortest.RefreshBench {
	limit.Provider = a.Account.Provider
	return connectortest.RefreshBench{
		Handler: a.Handler(), RefreshToken: connectors.NewSecret(a.Account.RefreshToken),
		Account: connectors.Account{
			Provider: a.Account.Provider, ProviderAccountID: a.Account.ID, Username: a.Account.Username, AccessToken: connectors.NewSecret(a.Account.Token),
		},
		Works: a.works, Kill: a.kill, Rekey: a.rekey, Secrets: a.secrets,
		Throttle: func() func() {
			f, err := a.SetFault(limit)
			if err != nil {
				a.t.Error(err)
			}
			return func() { a.ClearFault(f.ID) }
		},
	}
}

// decide sends what the page for permissions sends. The way back leads to us, and
// is not followed.
func (a At) decide(t testing.TB, authorizeURL string, deny ...string) *url.URL {
	t.Helper()
	browser := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	back, err := sandbox.Person{Account: a.Account.ID, Deny: deny}.Decide(t.Context(), browser, authorizeURL)
	if err != nil {
		t.Fatal(err)
	}
	return back
}

func (a At) works(token string) bool {
	list := a.Tokens(stage.TokenFilter{Token: token})
	return len(list) == 1 && list[0].Dead == nil && !list[0].Expired()
}

func (a At) kill() (undo func()) {
	of := stage.TokenFilter{Account: a.Account.ID}
	a.RevokeTokens(of, stage.Dead{Message: "revoked"})
	return func() { a.RevokeTokens(of, stage.Dead{}) }
}

func (a At) rekey() (undo func()) {
	put := func(secret string) {
		app := a.App
		app.Secret = secret
		if err := a.AddClient(app); err != nil {
			a.t.Error(err)
		}
	}
	put("another-secret")
	return func() { put(a.App.Secret) }
}

func (a At) secrets() []string {
	list := []string{a.App.Secret}
	for _, t := range a.Tokens(stage.TokenFilter{}) {
		list = append(list, t.Value)
	}
	return list
}
