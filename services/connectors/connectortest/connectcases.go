package connectortest

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"postbus.dev/services/connectors"
)

// pkce makes a verifier and its S256 challenge.
func pkce() (verifier, challenge string) {
	verifier = "verifier-of-the-test-that-is-43-characters-long"
	sum := sha256.Sum256([]byte(verifier))
	return verifier, base64.RawURLEncoding.EncodeToString(sum[:])
}

func (c Connect) connects(b *connecting) {
	_, g, err := b.exchange()
	if err != nil {
		b.t.Fatalf("exchange: %v", err)
	}
	b.checkGrant(g)
	if n := b.spent(); n != 1 {
		b.t.Errorf("sent the code %d times", n)
	}
}

// checkGrant holds a whole grant to the contract.
func (b *connecting) checkGrant(g connectors.Grant) {
	b.t.Helper()
	for what, ok := range map[string]bool{
		"another account": g.ProviderAccountID == b.AccountID, "no username": g.Username != "", "no scope": g.Scope != "" || len(b.suite.Scopes) == 0,
		"scopes missing": len(g.Missing) == 0, "a token that does not work": b.Works(g.AccessToken.Reveal()),
		"a negative time":             g.ExpiresIn >= 0 && g.RefreshIn >= 0 && g.RefreshExpiresIn >= 0,
		"a refresh after its end":     g.ExpiresIn == 0 || g.RefreshIn < g.ExpiresIn || !g.RefreshToken.Empty(),
		"a refresh never":             g.ExpiresIn == 0 || g.RefreshIn > 0,
		"metadata that is no object":  g.Metadata == nil || json.Unmarshal(g.Metadata, &map[string]any{}) == nil,
		"metadata with a secret":      !b.holdsSecret(string(g.Metadata)),
		"an account that has no name": len(connectors.AccountKeys(g.ProviderAccountID, g.Metadata)) > 0,
	} {
		if !ok {
			b.t.Errorf("%s: %+v %s", what, g, g.Metadata)
		}
	}
}

func (b *connecting) holdsSecret(text string) bool {
	return slices.ContainsFunc(append(b.Secrets(), b.codes...), func(s string) bool { return strings.Contains(text, s) })
}

// spent counts the calls that spend a code.
func (b *connecting) spent() (n int) {
	for _, call := range b.wire.seen() {
		if call == b.suite.Spends {
			n++
		}
	}
	return n
}

// spendsOnce breaks each call of an exchange in every way.
func (c Connect) spendsOnce(t *testing.T) {
	good := c.setup(t, t, 30*time.Second)
	x := good.callback()
	before := len(good.wire.seen())
	if _, err := good.spend(x); err != nil {
		t.Fatalf("exchange: %v", err)
	}
	for n := 1; n <= len(good.wire.seen())-before; n++ {
		for _, trouble := range []Trouble{
			RequestLost, ErrorBefore, AnswerLost, AnswerCut, AnswerEmpty, ErrorAfter, AnswerUnreadable, Silence, InformationBefore,
		} {
			t.Run(fmt.Sprintf("call %d: %s", n, trouble), func(t *testing.T) {
				t.Parallel()
				timeout := 30 * time.Second
				if trouble == Silence {
					timeout = time.Second
				}
				c.breaks(c.setup(t, t, timeout), n, trouble)
			})
		}
	}
}

// breaks lets the n-th call of an exchange run into trouble.
func (c Connect) breaks(b *connecting, n int, trouble Trouble) {
	x := b.callback()
	b.wire.BreakIn(n, trouble)
	g, err := b.spend(x)
	if sent := b.spent(); sent != 1 && !c.Rereads {
		b.t.Errorf("sent the code %d times", sent)
	}
	switch {
	// A read whose connection broke without an answer is sent again by net/http.
	case err == nil && slices.Contains([]Trouble{InformationBefore, RequestLost, AnswerLost, AnswerEmpty}, trouble):
		b.checkGrant(g)
	default:
		_ = b.wantKind(string(trouble), err, connectors.KindRetry)
		if !g.AccessToken.Empty() {
			b.t.Error("a token beside an error")
		}
	}
}

func (c Connect) replays(b *connecting) {
	x, _, err := b.exchange()
	if err != nil {
		b.t.Fatalf("exchange: %v", err)
	}
	x.Code = connectors.NewSecret("")
	_, err = b.spend(x)
	_ = b.wantKind("no code", err, connectors.KindReject)
	if c.Rereads {
		c.rereads(b)
		return
	}
	x = b.callback()
	if _, err = b.spend(x); err != nil {
		b.t.Fatalf("exchange: %v", err)
	}
	_, err = b.spend(x)
	_ = b.wantKind("the same code again", err, connectors.KindReject)
	x = b.callback()
	x.RedirectURI += "/elsewhere"
	_, err = b.spend(x)
	_ = b.wantKind("another address", err, connectors.KindReject)
}

// rereads: neither the code nor the state is enough.
func (c Connect) rereads(b *connecting) {
	x := b.callback()
	x.State += "-of-another"
	_, err := b.spend(x)
	_ = b.wantKind("another state", err, connectors.KindReject)
	x = b.callback()
	x.Code = connectors.NewSecret(x.Code.Reveal() + "1")
	_, err = b.spend(x)
	_ = b.wantKind("another code", err, connectors.KindReject)
}

func (c Connect) leavesOut(b *connecting) {
	for _, scope := range c.Scopes {
		_, g, err := b.exchange(scope)
		if err != nil || !slices.Contains(g.Missing, scope) {
			b.t.Errorf("without %s: missing %v, %v", scope, g.Missing, err)
		}
		if err == nil && g.AccessToken.Empty() && g.RefreshToken.Empty() {
			b.t.Errorf("without %s: nothing to revoke it with", scope)
		}
	}
}

func (c Connect) unconfigured(configured *connecting) {
	bare, err := c.Connector(configured.base, connectors.NewClient(connectors.ClientConfig{}), false)
	if err != nil {
		configured.t.Fatalf("without client settings: %v", err)
	}
	b := bare.(connectors.Authorizer)
	_, urlErr := b.AuthorizeURL(context.Background(), connectors.AuthorizeRequest{State: "s", RedirectURI: configured.RedirectURI})
	_, codeErr := b.Exchange(context.Background(), connectors.Exchange{Code: connectors.NewSecret("code"), RedirectURI: configured.RedirectURI})
	errs := []error{urlErr, codeErr}
	if r, ok := bare.(connectors.CallbackReader); ok {
		_, err := r.ReadCallback(connectors.CallbackRequest{Kind: c.Callbacks[0]})
		errs = append(errs, err)
	}
	for _, err := range errs {
		if !errors.Is(err, connectors.ErrNotConfigured) || err.Error() == connectors.ErrNotConfigured.Error() {
			configured.t.Errorf("without client settings: %v", err)
		}
	}
	if calls := configured.wire.seen(); len(calls) > 0 {
		configured.t.Errorf("without client settings it called %v", calls)
	}
}

// stops: a person has closed the browser, or the process ends; or nobody is there.
func (c Connect) stops(b *connecting) {
	x := b.callback()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := b.authorizer.Exchange(ctx, x); !errors.Is(err, context.Canceled) {
		b.t.Errorf("canceled: %v", err)
	}
	away, err := c.Connector("http://127.0.0.1:1", connectors.NewClient(connectors.ClientConfig{}), true)
	if err != nil {
		b.t.Fatalf("make connector: %v", err)
	}
	_, err = away.(connectors.Authorizer).Exchange(context.Background(), x)
	_ = b.wantKind("nobody there", err, connectors.KindRetry)
}

func (c Connect) imports(b *connecting) {
	importer, ok := b.connector.(connectors.Importer)
	if !ok {
		return
	}
	_, granted, err := b.exchange()
	if err != nil {
		b.t.Fatalf("exchange: %v", err)
	}
	take := func(given connectors.Grant) (connectors.Grant, error) {
		g, err := importer.Import(context.Background(), given)
		b.say(g, err)
		return g, err
	}
	given := connectors.Grant{AccessToken: granted.AccessToken, RefreshToken: granted.RefreshToken}
	g, err := take(given)
	if err != nil {
		b.t.Fatalf("import: %v", err)
	}
	b.checkGrant(g)
	given.ProviderAccountID = b.AccountID + "1"
	_, err = take(given)
	_ = b.wantKind("import for another account", err, connectors.KindReject)
	b.Kill()
	_, err = take(connectors.Grant{AccessToken: granted.AccessToken, RefreshToken: granted.RefreshToken})
	_ = b.wantKind("import of a dead token", err, connectors.KindReject)
}

func (c Connect) revokes(b *connecting) {
	revoker, ok := b.connector.(connectors.Revoker)
	if !ok {
		return
	}
	for _, deny := range [][]string{nil, c.Scopes[:min(1, len(c.Scopes))]} {
		_, g, err := b.exchange(deny...)
		if err != nil {
			b.t.Fatalf("exchange: %v", err)
		}
		a := connectors.Account{ProviderAccountID: g.ProviderAccountID, AccessToken: g.AccessToken, TokenType: g.TokenType, Scope: g.Scope, Metadata: g.Metadata}
		for _, again := range []string{"once", "again"} {
			err := revoker.Revoke(context.Background(), a, g.RefreshToken)
			b.say(err)
			if err != nil && len(deny) == 0 {
				b.t.Errorf("revoke %s: %v", again, err)
			}
		}
		if b.Works(g.AccessToken.Reveal()) {
			b.t.Errorf("the token works on, without %v", deny)
		}
	}
}

func (c Connect) reader(b *connecting) connectors.CallbackReader {
	r, ok := b.connector.(connectors.CallbackReader)
	if ok != (len(c.Callbacks) > 0) {
		b.t.Fatalf("reads callbacks: %v, and there are %v", ok, c.Callbacks)
	}
	return r
}

// read reads a call, and holds what is said of it to the contract.
func (b *connecting) read(r connectors.CallbackReader, call connectors.CallbackRequest) (connectors.Callback, error) {
	cb, err := r.ReadCallback(call)
	b.say(err)
	if err != nil && len(call.Body) > 32 && strings.Contains(err.Error(), string(call.Body[16:32])) {
		b.t.Errorf("%s: the error quotes the body: %v", call.Kind, err)
	}
	return cb, err
}

func (c Connect) believes(b *connecting) {
	reader := c.reader(b)
	_, g, err := b.exchange()
	if err != nil {
		b.t.Fatalf("exchange: %v", err)
	}
	keys := connectors.AccountKeys(g.ProviderAccountID, g.Metadata)
	for _, kind := range c.Callbacks {
		for _, call := range b.Call(b.t, kind, false) {
			cb, err := b.read(reader, call)
			named := slices.ContainsFunc(cb.AccountKeys, func(k string) bool { return slices.Contains(keys, k) })
			if err != nil || !named && len(cb.Posts) == 0 || cb.ID == "" || cb.Kind == "" {
				b.t.Errorf("%s: %+v, %v", kind, cb, err)
			}
			if !cb.IssuedAt.IsZero() && time.Since(cb.IssuedAt).Abs() > time.Minute {
				b.t.Errorf("%s: issued at %v", kind, cb.IssuedAt)
			}
			if again, err := b.read(reader, call); err != nil || again.ID != cb.ID {
				b.t.Errorf("%s: the same call has another id: %v", kind, err)
			}
		}
	}
	if reader != nil {
		if _, err := b.read(reader, connectors.CallbackRequest{Kind: "birthday"}); !errors.Is(err, connectors.ErrNoCallback) {
			b.t.Errorf("a kind that there is not: %v", err)
		}
	}
}

func (c Connect) refuses(b *connecting) {
	reader := c.reader(b)
	if _, _, err := b.exchange(); err != nil {
		b.t.Fatalf("exchange: %v", err)
	}
	for _, kind := range c.Callbacks {
		for i, call := range b.Call(b.t, kind, true) {
			if cb, err := b.read(reader, call); !errors.Is(err, connectors.ErrForged) {
				b.t.Errorf("%s, forgery %d: %+v, %v", kind, i, cb, err)
			}
		}
		call := b.Call(b.t, kind, false)[0]
		want, err := b.read(reader, call)
		if err != nil {
			b.t.Fatalf("%s: %v", kind, err)
		}
		for _, altered := range alterations(call) {
			// What is not signed may change, such as how a form is written.
			if cb, err := b.read(reader, altered); err == nil && (cb.ID != want.ID || !slices.Equal(cb.AccountKeys, want.AccountKeys)) {
				b.t.Errorf("%s: altered, and believed: %q", kind, altered.Body)
			}
		}
	}
}

// alterations are the call with each byte of its body changed, with its end cut
// off anywhere, and with each header changed or gone.
func alterations(call connectors.CallbackRequest) (list []connectors.CallbackRequest) {
	for i, c := range call.Body {
		altered := call
		altered.Body = slices.Clone(call.Body)
		altered.Body[i] = 'A'
		if c == 'A' {
			altered.Body[i] = 'B'
		}
		cut := call
		cut.Body = call.Body[:i]
		list = append(list, altered, cut)
	}
	for name, values := range call.Header {
		gone, altered := call, call
		gone.Header = call.Header.Clone()
		gone.Header.Del(name)
		altered.Header = call.Header.Clone()
		altered.Header.Set(name, strings.Map(func(r rune) rune { return r ^ 1 }, strings.Join(values, ",")))
		list = append(list, gone, altered)
	}
	return list
}
