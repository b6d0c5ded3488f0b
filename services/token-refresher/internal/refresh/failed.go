package refresh

import (
	"context"
	"errors"
	"math/bits"
	"math/rand/v2"
	"time"

	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/oauthaccount"
)

// The classes of an outcome, as metrics, oauth_accounts.failure_class and
// token.refresh_failed tell them.
const (
	classRenewed     = "renewed"
	classAlive       = "alive"
	classUnavailable = "unavailable" // the provider failed or did not answer; it passes
	classThrottled   = "throttled"   // it told us to wait
	classUnanswered  = "unanswered"  // a refresh that rotates, whose answer never came
	classRefused     = "client_refused"
	classNotOpened   = "not_opened"
	classDead        = "dead" // a person must reconnect
	classOurs        = "database"
)

// failed decides what an error means for the account, in this order.
func (t *turn) failed(ctx context.Context, err error) {
	var slow *slowArmError
	var e *connectors.Error
	switch {
	case errors.Is(err, errNotArmed):
		return // it is somebody else's
	case errors.As(err, &slow), !errors.As(err, &e) && !errors.Is(err, connectors.ErrNotConfigured):
		t.ours(ctx, err)
		return
	case e == nil:
		t.broken(ctx, classRefused, err)
		return
	}
	switch e.Kind {
	case connectors.KindReauthorize:
		t.dead(ctx, e)
	case connectors.KindWait:
		t.throttled(ctx, e)
	case connectors.KindUnknown:
		t.unanswered(ctx, e)
	case connectors.KindReject:
		t.broken(ctx, classRefused, err)
	default:
		t.again(ctx, oauthaccount.RefreshFailed, classUnavailable, max(e.Wait, t.backoff()))
	}
}

// dead reports an account that a person must reconnect. That its tokens are the
// ones that were refused is looked at in the transaction that says so. A checker
// goes on looking: its grants come to life by themselves.
func (t *turn) dead(ctx context.Context, e *connectors.Error) {
	w := &oauthaccount.RefreshWrite{Of: t.d, Step: oauthaccount.RefreshDead, Reason: e.Reason, Detail: "connect the account again"}
	if w.Reason == "" {
		w.Reason = connectors.ReasonInvalidGrant
	}
	if t.d.Lost {
		w.Detail = "the answer to a refresh was lost and the provider had spent its token: connect the account again"
		t.r.metrics.doomed(ctx, t)
	}
	if t.p.checker != nil {
		w.Next = max(e.Wait, t.backoff())
	}
	t.r.metrics.done(ctx, t, classDead)
	t.write(ctx, w)
}

// throttled waits as told: the account, or all of the provider.
func (t *turn) throttled(ctx context.Context, e *connectors.Error) {
	wait := max(e.Wait, t.r.cfg.Backoff)
	if e.Scope != connectors.ScopeAccount {
		t.p.rest(wait)
	}
	t.again(ctx, oauthaccount.RefreshFailed, classThrottled, wait+t.jitter(wait/10))
}

// unanswered leaves an account alone until quiet_at, and longer where the failures
// go on: a provider that is down says nothing else. A refresh that does not
// rotate has changed nothing, whoever calls it unknown.
func (t *turn) unanswered(ctx context.Context, e *connectors.Error) {
	if t.armed.IsZero() {
		t.again(ctx, oauthaccount.RefreshFailed, classUnavailable, max(e.Wait, t.backoff()))
		return
	}
	t.r.log.WarnContext(ctx, "the answer to a refresh that rotates is lost: nothing is sent before quiet_at", "account", t.d.ID, "provider", t.d.Provider, "error", e)
	t.again(ctx, oauthaccount.RefreshLost, classUnanswered, t.backoff())
}

// again stores a failure that passes. Of many in a row a few are told.
func (t *turn) again(ctx context.Context, step oauthaccount.RefreshStep, class string, next time.Duration) {
	t.r.metrics.done(ctx, t, class)
	t.write(ctx, &oauthaccount.RefreshWrite{
		Of: t.d, Step: step, Class: class, Next: next, Tell: class != t.d.Class || bits.OnesCount(uint(t.d.Failures+1)) == 1, //nolint:gosec // it counts up from 0
	})
}

// broken is a fault of ours at the provider: no account is to blame and none is
// touched; the whole provider rests, and operators are told.
func (t *turn) broken(ctx context.Context, class string, err error) {
	t.r.metrics.done(ctx, t, class)
	t.r.log.ErrorContext(ctx, "refreshes need an operator", "provider", t.d.Provider, "class", class, "account", t.d.ID, "error", err)
	if class == classRefused {
		t.p.rest(t.r.cfg.Refused)
	}
	t.write(ctx, &oauthaccount.RefreshWrite{Of: t.d, Step: oauthaccount.RefreshLeft, Next: t.r.cfg.Refused + t.jitter(t.r.cfg.Refused)})
}

// ours is a fault of ours at the database: the account comes back soon.
func (t *turn) ours(ctx context.Context, err error) {
	t.r.metrics.done(ctx, t, classOurs)
	t.r.log.WarnContext(ctx, "refresh", "account", t.d.ID, "provider", t.d.Provider, "error", err)
	t.write(ctx, &oauthaccount.RefreshWrite{Of: t.d, Step: oauthaccount.RefreshLeft, Next: t.r.cfg.Backoff + t.jitter(t.r.cfg.Backoff)})
}

// backoff is the wait after a failure: half of it certain, half drawn.
func (t *turn) backoff() time.Duration {
	wait := t.r.cfg.Backoff
	for range min(t.d.Failures, 30) {
		wait = min(2*wait, t.r.cfg.BackoffTo)
	}
	return wait/2 + t.jitter(wait/2)
}

// later spreads what a connector asks for: never earlier than it said.
func (t *turn) later(d time.Duration) time.Duration { return d + t.jitter(d/20) }

func (t *turn) jitter(d time.Duration) time.Duration {
	return time.Duration(t.r.cfg.Jitter() * float64(d))
}

func random() float64 { return rand.Float64() } //nolint:gosec // no secret depends on it
