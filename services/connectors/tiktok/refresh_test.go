package tiktok_test

import (
	"context"
	"net/http/httptest"
	"testing"
	"time"

	"postbus.dev/services/connectors"
	"postbus.dev/services/connectors/connectortest"
	"postbus.dev/services/connectors/sandbox"
	"postbus.dev/services/connectors/sandbox/stage"
	standin "postbus.dev/services/connectors/sandbox/tiktok"
)

// grant is a connected account of a stand-in behind a wire.
type grant struct {
	t       *testing.T
	sb      *sandbox.Sandbox
	wire    *connectortest.Wire
	c       connectors.Refresher
	account connectors.Account
	first   string // its refresh token
}

func connected(t *testing.T, p sandbox.Profile) *grant {
	t.Helper()
	sb, err := sandbox.New(sandbox.Config{Factor: factor, Profile: p})
	if err != nil {
		t.Fatal(err)
	}
	g := &grant{t: t, sb: sb, wire: connectortest.NewWire(sb.Handler())}
	server := httptest.NewServer(g.wire)
	client := connectors.NewClient(connectors.ClientConfig{})
	t.Cleanup(func() {
		sb.Close()
		g.wire.Close()
		client.Close()
		server.Close()
	})
	c, err := connector(server.URL, client, true)
	if err != nil {
		t.Fatal(err)
	}
	g.c = c.(connectors.Refresher)
	a := sb.Accounts(standin.Name)[0]
	g.account = connectors.Account{ProviderAccountID: a.ID, AccessToken: connectors.NewSecret(a.Token)}
	g.first = a.RefreshToken
	return g
}

func (g *grant) refresh(token string) (connectors.Grant, error) {
	g.t.Helper()
	ctx := connectors.WithArm(context.Background(), func(context.Context) (connectors.Window, error) {
		by := time.Now().Add(time.Second)
		return connectors.Window{SendBy: by, AnswerBy: by, UserTimeout: time.Second}, nil
	})
	return g.c.Refresh(ctx, g.account, connectors.NewSecret(token))
}

// doubles counts how often a refresh token was spent once too often.
func (g *grant) doubles() (n int) {
	for _, t := range g.sb.Tokens(stage.TokenFilter{Provider: standin.Name, Kind: "refresh"}) {
		n += max(0, t.Spent-1)
	}
	return n
}

// A refresh that may have been carried out is unknown, whatever broke; only what
// the stand-in then says of the old token ends a grant, and with a stand-in that
// forgives nothing does.
func TestARefreshThatBreaksIsUnknownUntilTheOldTokenIsTriedAgain(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		trouble  connectortest.Trouble
		executed bool
	}{
		{connectortest.RequestLost, false}, {connectortest.ErrorBefore, false}, {connectortest.AnswerLost, true}, {connectortest.AnswerCut, true},
		{connectortest.AnswerEmpty, true}, {connectortest.ErrorAfter, true}, {connectortest.AnswerUnreadable, true}, {connectortest.Silence, true},
	} {
		for _, profile := range []sandbox.Profile{sandbox.Hostile, sandbox.Faithful} {
			t.Run(string(tc.trouble)+", "+string(profile), func(t *testing.T) {
				t.Parallel()
				g := connected(t, profile)
				g.wire.BreakIn(1, tc.trouble)
				_, err := g.refresh(g.first)
				if e := connectors.AsError(err); err == nil || e.Kind != connectors.KindUnknown || e.NotSent {
					t.Fatalf("%v", err)
				}
				next, err := g.refresh(g.first)
				lost := tc.executed && profile == sandbox.Hostile
				if lost {
					if e := connectors.AsError(err); e.Kind != connectors.KindReauthorize || e.Reason != connectors.ReasonInvalidGrant || g.doubles() != 1 {
						t.Errorf("%v, spent twice: %d", err, g.doubles())
					}
					return
				}
				if err != nil || next.AccessToken.Empty() || next.RefreshToken.Reveal() == g.first {
					t.Errorf("%+v, %v", next, err)
				}
				if want := map[bool]int{true: 1}[tc.executed]; g.doubles() != want {
					t.Errorf("spent twice: %d", g.doubles())
				}
			})
		}
	}
}

func TestWhatWasNotSentIsNotSpent(t *testing.T) {
	t.Parallel()
	g := connected(t, sandbox.Hostile)
	ctx := connectors.WithArm(context.Background(), func(context.Context) (connectors.Window, error) {
		return connectors.Window{SendBy: time.Now().Add(-time.Second), UserTimeout: time.Second}, nil // it slept until then
	})
	_, err := g.c.Refresh(ctx, g.account, connectors.NewSecret(g.first))
	if e := connectors.AsError(err); err == nil || e.Kind != connectors.KindRetry || !e.NotSent {
		t.Errorf("%v", err)
	}
	if _, err := g.refresh(g.first); err != nil || g.doubles() != 0 {
		t.Errorf("%v, spent twice: %d", err, g.doubles())
	}
}

// Each pair is good for the next refresh, in every shape that answers have.
func TestAChainOfRefreshes(t *testing.T) {
	t.Parallel()
	g := connected(t, sandbox.Hostile)
	g.wire.BreakIn(2, connectortest.InformationBefore)
	token, end := g.first, 180*24*time.Hour
	for n := range 12 {
		next, err := g.refresh(token)
		if err != nil {
			t.Fatalf("refresh %d: %v", n, err)
		}
		token = next.RefreshToken.Reveal()
		if next.ExpiresIn != 72*time.Second || next.RefreshIn != 36*time.Second || next.RefreshExpiresIn > time.Duration(float64(end)*factor) {
			t.Errorf("refresh %d: %+v", n, next)
		}
	}
	g.sb.RevokeTokens(stage.TokenFilter{Account: g.account.ProviderAccountID}, stage.Dead{Code: 1})
	_, err := g.refresh(token)
	if e := connectors.AsError(err); err == nil || e.Kind != connectors.KindReauthorize || e.Reason != connectors.ReasonInvalidGrant {
		t.Errorf("revoked by its owner: %v", err)
	}
}

func TestTwoRefreshersThatSpendOneTokenShow(t *testing.T) {
	t.Parallel()
	g := connected(t, sandbox.Hostile)
	next, err := g.refresh(g.first)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.refresh(g.first); err == nil || g.doubles() != 1 {
		t.Errorf("%v, spent twice: %d", err, g.doubles())
	}
	_, err = g.refresh(next.RefreshToken.Reveal())
	if e := connectors.AsError(err); err == nil || e.Kind != connectors.KindReauthorize {
		t.Errorf("the grant lives on: %v", err)
	}
}
