package connectortest

import (
	"context"
	"errors"
	"slices"
	"time"

	"postbus.dev/services/connectors"
)

// fine asks, expects all to go well, and goes on with what came.
func (b *keeping) fine(what string) {
	b.t.Helper()
	calls, arms := len(b.wire.seen()), b.arms
	g, err := b.ask()
	if err != nil {
		b.t.Fatalf("%s: %v", what, err)
	}
	b.called(what, calls+1)
	if want := map[bool]int{true: 1}[b.rule.Rotates]; b.arms-arms != want {
		b.t.Errorf("%s: armed %d times", what, b.arms-arms)
	}
	b.checkGrant(what, g)
	if !b.checks {
		b.Account.AccessToken = g.AccessToken
	}
	if !g.RefreshToken.Empty() {
		b.RefreshToken = g.RefreshToken
	}
}

// called holds the connector to the number of its calls.
func (b *keeping) called(what string, want int) {
	b.t.Helper()
	if seen := b.wire.seen(); len(seen) != want {
		b.t.Errorf("%s: called %q, %d times instead of %d", what, seen, len(seen), want)
	}
}

// checkGrant holds the outcome of a call that went well to the contract.
func (b *keeping) checkGrant(what string, g connectors.Grant) {
	b.t.Helper()
	for wrong, ok := range map[string]bool{
		"no access token":                 b.checks || !g.AccessToken.Empty(),
		"an access token that is dead":    b.checks || b.Works(g.AccessToken.Reveal()),
		"a negative time":                 g.ExpiresIn >= 0 && g.RefreshIn >= 0 && g.RefreshExpiresIn >= 0,
		"never asked again":               g.ExpiresIn == 0 && !b.checks || g.RefreshIn > 0,
		"asked again after its end":       g.ExpiresIn == 0 || g.RefreshIn < g.ExpiresIn,
		"no new refresh token":            !b.rule.Rotates || !g.RefreshToken.Empty(),
		"the refresh token that is spent": !b.rule.Rotates || g.RefreshToken.Reveal() != b.RefreshToken.Reveal(),
	} {
		if !ok {
			b.t.Errorf("%s: %s: %+v", what, wrong, g)
		}
	}
}

// lives asks as often as a few months do; then an old refresh token is tried.
func (b *keeping) lives() {
	if !b.checks && b.rule.Call <= 0 || b.rule.Rotates && (b.rule.Settle <= b.rule.UserTO || b.rule.UserTO <= 0) {
		b.t.Errorf("a rule that makes no sense: %+v", b.rule)
	}
	first := b.RefreshToken
	for _, what := range []string{"the first time", "the second time", "the third time"} {
		b.fine(what)
	}
	if b.RefreshToken = first; b.rule.Rotates {
		_, err := b.ask()
		b.wantReauthorize("an old refresh token", err)
	}
}

func (b *keeping) wantReauthorize(what string, err error) {
	b.t.Helper()
	e := b.wantKind(what, err, connectors.KindReauthorize)
	reasons := []string{connectors.ReasonInvalidGrant, connectors.ReasonRevoked, connectors.ReasonExpired, connectors.ReasonSignedOut}
	if e.Code != connectors.CodeReauthRequired || !slices.Contains(reasons, e.Reason) {
		b.t.Errorf("%s: code %q for reason %q", what, e.Code, e.Reason)
	}
}

// breaks lets the one call run into trouble. Afterwards the tokens are tried
// again: they are as good as before, if they cannot have been spent.
func (b *keeping) breaks(trouble Trouble) {
	if b.checks && trouble == AnswerWithoutToken {
		return // there is none in it
	}
	if trouble == InformationBefore {
		b.wire.BreakIn(1, trouble)
		b.fine(string(trouble))
		return
	}
	lost := connectors.KindRetry
	if b.rule.Rotates {
		lost = connectors.KindUnknown
	}
	b.wire.BreakIn(1, trouble)
	g, err := b.ask()
	b.called(string(trouble), 1)
	if e := b.wantKind(string(trouble), err, lost); e.NotSent {
		b.t.Errorf("it says that nothing was sent: %v", e)
	}
	if !g.AccessToken.Empty() || !g.RefreshToken.Empty() {
		b.t.Error("a token beside an error")
	}
	b.patience = time.Minute
	if !b.rule.Rotates || !trouble.executes() {
		b.fine("again")
		return
	}
	if g, err := b.ask(); err == nil {
		b.checkGrant("again", g)
	} else {
		b.wantReauthorize("again", err)
	}
}

// arming: what rotates is sent in a context of WithArm, once, and not after its
// time.
func (b *keeping) arming() {
	if !b.rule.Rotates {
		_, err := b.call(context.Background(), b.connector)
		if err != nil {
			b.t.Errorf("without being armed: %v", err)
		}
		return
	}
	refused := errors.New("the database is away")
	for what, ctx := range map[string]context.Context{
		"not armed": context.Background(),
		"too late":  b.armed(-time.Second),
		"refused": connectors.WithArm(context.Background(), func(context.Context) (connectors.Window, error) {
			return connectors.Window{}, refused
		}),
	} {
		_, err := b.call(ctx, b.connector)
		if e := connectors.AsError(err); what == "refused" && !errors.Is(err, refused) || what != "refused" && (e.Kind != connectors.KindRetry || !e.NotSent) {
			b.t.Errorf("%s: %v", what, err)
		}
	}
	b.called("not armed, too late and refused", 0)
	b.fine("nothing was spent")
}

func (b *keeping) killed() {
	b.fine("before")
	calls := len(b.wire.seen())
	undo := b.Kill()
	_, err := b.ask()
	b.wantReauthorize("a grant that its owner ended", err)
	b.called("a grant that its owner ended", calls+1)
	if b.checks {
		undo()
		b.fine("it has come to life")
	}
}

func (b *keeping) rekeyed() {
	if b.Rekey == nil {
		return // unconfigured holds the connector to that
	}
	undo := b.Rekey()
	_, err := b.ask()
	if e := b.wantKind("another client secret", err, connectors.KindReject); e.Code != connectors.CodeInternal {
		b.t.Errorf("another client secret: code %q", e.Code)
	}
	undo()
	b.fine("the operator has mended it")
}

func (b *keeping) throttled() {
	undo := b.Throttle()
	_, err := b.ask()
	e := b.wantKind("too many calls", err, connectors.KindWait)
	scopes := []connectors.Scope{connectors.ScopeAccount, connectors.ScopeClient, connectors.ScopeProvider}
	if e.Wait <= 0 || !slices.Contains(scopes, e.Scope) || e.Reason != connectors.ReasonRateLimit || e.Code != connectors.CodeRateLimited {
		b.t.Errorf("too many calls: %q waits %v, code %q for reason %q", e.Scope, e.Wait, e.Code, e.Reason)
	}
	undo()
	b.fine("the wait is over")
}

func (b *keeping) unconfigured() {
	client := connectors.NewClient(connectors.ClientConfig{})
	defer client.Close()
	bare, err := b.suite.Connector(b.base, client, false)
	if err != nil {
		b.t.Fatalf("without client settings: %v", err)
	}
	_, err = b.call(b.armed(b.patience), bare)
	if b.Rekey == nil {
		if err != nil {
			b.t.Errorf("without client settings, which no call shows: %v", err)
		}
		return
	}
	if e := b.wantKind("without client settings", err, connectors.KindReject); e.Code != connectors.CodeInternal || !errors.Is(err, connectors.ErrNotConfigured) {
		b.t.Errorf("without client settings: %v", err)
	}
	b.called("without client settings", 0)
}

func (b *keeping) empty() {
	if b.checks {
		return // it may know an account by its id
	}
	b.Account.AccessToken, b.RefreshToken = connectors.Secret{}, connectors.Secret{}
	_, err := b.ask()
	b.wantReauthorize("no tokens", err)
}

func (b *keeping) stops() {
	ctx, cancel := context.WithCancel(b.armed(b.patience))
	cancel()
	if _, err := b.call(ctx, b.connector); !errors.Is(err, context.Canceled) {
		b.t.Errorf("canceled: %v", err)
	}
	b.called("canceled", 0)
	client := connectors.NewClient(connectors.ClientConfig{})
	defer client.Close()
	away, err := b.suite.Connector("http://127.0.0.1:1", client, true)
	if err != nil {
		b.t.Fatalf("make connector: %v", err)
	}
	_, err = b.call(b.armed(b.patience), away)
	if e := b.wantKind("nobody there", err, connectors.KindRetry); b.rule.Rotates && !e.NotSent {
		b.t.Errorf("nobody there: %v", err)
	}
}
