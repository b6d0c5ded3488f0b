package connectortest

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"postbus.dev/services/connectors"
)

// Connect is a connector that can authorize, with all that is needed to test
// how it connects accounts.
type Connect struct {
	// New makes a stand-in of its own for a test.
	New func(t *testing.T) ConnectBench
	// Connector makes the connector for a stand-in at baseURL; not configured, it
	// lacks the settings of our client.
	Connector func(baseURL string, c *connectors.Client, configured bool) (connectors.Connector, error)
	// Spends is the call that spends a code, as method and path.
	Spends string
	// Rereads: that call reads what code and state name, and spends nothing. Then
	// it may be made again.
	Rereads bool
	// Scopes are those that publishing needs; none where the provider has none.
	Scopes []string
	// Callbacks are the kinds that the provider calls us with; none without a
	// CallbackReader.
	Callbacks []string
	// Request says what is wrong with a request. It may be nil.
	Request func(r *http.Request, body []byte) error
}

// ConnectBench is a provider's stand-in with an account that somebody connects.
type ConnectBench struct {
	Handler     http.Handler // the stand-in
	RedirectURI string       // registered there
	AccountID   string       // what Grant.ProviderAccountID has to be
	// Decide does at the provider's page what a person does who allows everything
	// but some scopes, and returns where the browser is sent then.
	Decide func(t testing.TB, authorizeURL string, deny ...string) *url.URL
	// Works says whether a token is good for something.
	Works func(token string) bool
	// Kill ends every token of the account.
	Kill func()
	// Secrets are the client's and every token that was given out until now.
	Secrets func() []string
	// Call makes the provider call us, and returns what came; with forged, in every
	// way in which somebody else might.
	Call func(t testing.TB, kind string, forged bool) []connectors.CallbackRequest
}

// Run runs everything, in parallel.
func (c Connect) Run(t *testing.T) {
	for name, f := range map[string]func(*connecting){
		"connects an account":                      c.connects,
		"takes no code twice":                      c.replays,
		"tells what a person left out":             c.leavesOut,
		"tells which settings are missing":         c.unconfigured,
		"stops when it is told to":                 c.stops,
		"takes tokens in":                          c.imports,
		"ends a grant":                             c.revokes,
		"believes the provider's calls":            c.believes,
		"refuses calls of others and altered ones": c.refuses,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(c.setup(t, t, 30*time.Second))
		})
	}
	t.Run("spends a code once whatever happens", func(t *testing.T) { t.Parallel(); c.spendsOnce(t) })
}

// connecting is one test.
type connecting struct {
	ConnectBench
	*scene
	suite      Connect
	authorizer connectors.Authorizer
	codes      []string
}

// setup makes a test; what it finds wrong is told to report.
func (c Connect) setup(t *testing.T, report testing.TB, timeout time.Duration) *connecting {
	t.Helper()
	b := &connecting{ConnectBench: c.New(t), suite: c}
	b.scene = newScene(t, report, stage{
		handler: b.Handler, connector: c.Connector, timeout: timeout, request: c.Request,
		secrets: func() []string { return append(b.Secrets(), b.codes...) },
	})
	b.authorizer = b.connector.(connectors.Authorizer)
	return b
}

// exchange goes the way of a person who leaves some scopes out.
func (b *connecting) exchange(deny ...string) (connectors.Exchange, connectors.Grant, error) {
	b.t.Helper()
	x := b.callback(deny...)
	g, err := b.spend(x)
	return x, g, err
}

// callback goes there and back.
func (b *connecting) callback(deny ...string) connectors.Exchange {
	b.t.Helper()
	const state = "sTaTe-of_the-test"
	x := connectors.Exchange{State: state, RedirectURI: b.RedirectURI}
	r := connectors.AuthorizeRequest{State: state, RedirectURI: b.RedirectURI}
	if b.authorizer.PKCE() {
		verifier, challenge := pkce()
		x.Verifier, r.Challenge = connectors.NewSecret(verifier), challenge
		b.codes = append(b.codes, verifier)
	}
	to, err := b.authorizer.AuthorizeURL(b.t.Context(), r)
	if err != nil {
		b.t.Fatalf("authorize URL: %v", err)
	}
	b.say(to)
	back := b.Decide(b.t, to, deny...)
	if got := back.Query().Get("state"); got != state {
		b.t.Errorf("the state came back as %q", got)
	}
	code := back.Query().Get("code")
	if code != "" {
		b.codes = append(b.codes, code)
	}
	x.Code = connectors.NewSecret(code)
	return x
}

func (b *connecting) spend(x connectors.Exchange) (connectors.Grant, error) {
	g, err := b.authorizer.Exchange(b.t.Context(), x)
	b.say(x, g, err)
	return g, err
}
