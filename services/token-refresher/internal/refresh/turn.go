package refresh

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/oauthaccount"
)

// turn is one account's, from its claim to the write that ends it.
type turn struct {
	r *Runner
	p *provider
	d oauthaccount.Refreshing

	armed time.Time // when the write began that armed it; zero: not armed
}

// run asks the provider, outside of any transaction, and stores what it said.
func (t *turn) run(ctx context.Context) {
	ctx, span := t.r.tracer.Start(t.r.askers.take(ctx, t.d.ID), "refresh "+t.d.Provider, trace.WithAttributes(
		attribute.String("postbus.account.id", t.d.ID.String()), attribute.String("postbus.provider", t.d.Provider),
		attribute.Int64("postbus.token.version", t.d.TokenVersion)))
	defer span.End()
	account, refresh, err := t.d.Open()
	if err != nil { // another keyset: for operators, and no call is made
		t.broken(ctx, classNotOpened, err)
		return
	}
	switch {
	case t.p.refresher != nil:
		err = t.refresh(ctx, account, refresh)
	case t.p.checker != nil:
		err = t.check(ctx, account)
	default:
		t.ends(ctx)
	}
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
		t.failed(ctx, err)
	}
}

// refresh asks for new tokens. Its own deadline ends well before the lease.
func (t *turn) refresh(ctx context.Context, a connectors.Account, token connectors.Secret) error {
	rule := t.p.refresher.RefreshRule()
	if rule.Rotates {
		return t.rotate(ctx, rule, a, token)
	}
	callCtx, cancel := context.WithTimeout(ctx, rule.Call)
	defer cancel()
	g, err := t.p.refresher.Refresh(callCtx, a, token)
	if err != nil {
		return err
	}
	t.renewed(ctx, g)
	return nil
}

// errNotArmed stops a refresh whose arm write did not move: somebody else has the
// account by now.
var errNotArmed = errors.New("not armed")

// yield is how long whoever may hold the answer to an earlier call has, to store
// it, before its token is sent once more. When the database comes back after an
// outage that was longer than quiet_at, both come at once. It is longer than the
// longest time between two tries to store new tokens (see renewed).
const yield = 20 * time.Second

// rotate makes the call that burns a refresh token.
func (t *turn) rotate(ctx context.Context, rule connectors.RefreshRule, a connectors.Account, token connectors.Secret) error {
	if t.d.Lost {
		time.Sleep(yield) // if it is stored meanwhile, the arm write moves nothing
	}
	if err := t.r.rotating.Acquire(ctx, 1); err != nil {
		return err
	}
	defer t.r.rotating.Release(1)
	g, err := t.p.refresher.Refresh(connectors.WithArm(ctx, func(ctx context.Context) (connectors.Window, error) { return t.arm(ctx, rule) }), a, token)
	if err == nil {
		t.r.cfg.Failpoint("refresh.answered")
		t.renewed(ctx, g)
		return nil
	}
	if !t.armed.IsZero() {
		t.r.cfg.Failpoint("refresh.answered")
	}
	return err
}

// armLimit is how long the arm write may take. It is the proof that an answer can
// be stored; from a database that is slower nobody can tell.
const armLimit = time.Second

// arm writes down that the refresh token is about to be spent. sendBy counts from
// before the write began, on a clock that nobody can set.
func (t *turn) arm(ctx context.Context, rule connectors.RefreshRule) (connectors.Window, error) {
	began := time.Now()
	t.r.cfg.Failpoint("refresh.before_armed")
	ctx, cancel := context.WithTimeout(ctx, rule.Call)
	defer cancel()
	out, err := t.r.cfg.Store.Write(ctx, &oauthaccount.RefreshWrite{Of: t.d, Step: oauthaccount.RefreshArmed, SendIn: rule.Call, Settle: rule.Settle})
	if err != nil {
		return connectors.Window{}, err
	}
	if out != oauthaccount.RefreshStored {
		return connectors.Window{}, errNotArmed
	}
	t.armed = began
	t.r.cfg.Failpoint("refresh.armed")
	if took := time.Since(began); took > armLimit {
		return connectors.Window{}, &slowArmError{took: took}
	}
	return connectors.Window{SendBy: began.Add(rule.Call), UserTimeout: rule.UserTO}, nil
}

// slowArmError ends a refresh before anything is sent.
type slowArmError struct{ took time.Duration }

func (e *slowArmError) Error() string {
	return "the database took " + e.took.Round(time.Millisecond).String() + " for a small write: nothing was sent"
}

// check looks whether a grant works that has nothing to refresh.
func (t *turn) check(ctx context.Context, a connectors.Account) error {
	callCtx, cancel := context.WithTimeout(ctx, uncallable)
	defer cancel()
	again, err := t.p.checker.Check(callCtx, a)
	if err != nil {
		return err
	}
	t.r.metrics.done(ctx, t, classAlive)
	t.write(ctx, &oauthaccount.RefreshWrite{Of: t.d, Step: oauthaccount.RefreshAlive, Next: t.later(again)})
	return nil
}

// renewed stores new tokens, however long that takes: of a provider that rotates
// they exist nowhere else.
func (t *turn) renewed(ctx context.Context, g connectors.Grant) {
	t.r.metrics.renewed(ctx, t)
	w := &oauthaccount.RefreshWrite{Of: t.d, Step: oauthaccount.RefreshRenewed, Grant: g, Next: t.later(g.RefreshIn)}
	end := g.RefreshExpiresIn
	if end == 0 && g.RefreshToken.Empty() && t.d.GrantEndsIn > 0 {
		end = t.d.GrantEndsIn
	}
	if end > 0 && end <= t.r.cfg.Ahead {
		w.Expiring = end
	}
	t.r.metrics.unstored.Add(1)
	defer t.r.metrics.unstored.Add(-1)
	for n := 0; ; n++ {
		out, err := t.try(ctx, w)
		if err == nil && out != oauthaccount.RefreshBusy {
			if out == oauthaccount.RefreshStale {
				t.r.log.InfoContext(ctx, "new tokens are of no use: the account was connected anew, disconnected or refreshed meanwhile", "account", t.d.ID, "provider", t.d.Provider)
			}
			t.r.cfg.Failpoint("refresh.stored")
			return
		}
		if err != nil {
			t.r.log.WarnContext(ctx, "store new tokens", "account", t.d.ID, "provider", t.d.Provider, "try", n+1, "error", err)
		}
		time.Sleep(min(100*time.Millisecond<<min(n, 6), 5*time.Second))
	}
}

// try writes once, for a while.
func (t *turn) try(ctx context.Context, w *oauthaccount.RefreshWrite) (oauthaccount.RefreshOutcome, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return t.r.cfg.Store.Write(ctx, w)
}

// write stores what can be lost: the account comes back when its lease, or the
// window of its call, is over.
func (t *turn) write(ctx context.Context, w *oauthaccount.RefreshWrite) {
	out, err := t.try(ctx, w)
	switch {
	case err != nil:
		t.r.log.WarnContext(ctx, "store the outcome of a refresh", "account", t.d.ID, "provider", t.d.Provider, "error", err)
	case out == oauthaccount.RefreshStored && w.Step == oauthaccount.RefreshDead && t.d.Status == oauthaccount.Active:
		t.r.log.WarnContext(ctx, "an account must be reconnected", "account", t.d.ID, "provider", t.d.Provider, "reason", w.Reason)
	}
}

// ends tells of a grant that nothing can prolong: a while before its end, and then
// at its end.
func (t *turn) ends(ctx context.Context) {
	w := &oauthaccount.RefreshWrite{Of: t.d, Step: oauthaccount.RefreshLeft}
	left := t.d.ExpiresIn
	switch {
	case left < 0:
		w.Step, w.Reason, w.Detail = oauthaccount.RefreshDead, connectors.ReasonExpired, "its time is over, and the provider prolongs none: connect the account again"
	case left == 0: // does not end
	case left > t.r.cfg.Ahead:
		w.Next = left - t.r.cfg.Ahead
	default:
		w.Expiring, w.Next = left, left+time.Second
	}
	t.write(ctx, w)
}
