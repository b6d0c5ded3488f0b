package publish

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"

	"postbus.dev/events"
	"postbus.dev/services/connectors"
	"postbus.dev/services/publisher/internal/job"
)

// Disconnecting takes an account.disconnecting, in whose version of the account
// nothing may be published with it any more. It stores and returns; drains does
// the rest, here or in another process.
func (r *Runner) Disconnecting(ctx context.Context, account uuid.UUID, version int64, e event.Event) error {
	raw, err := events.MarshalJSON(e)
	if err != nil {
		return fmt.Errorf("keep %s: %w", e.Type(), err)
	}
	if err := r.store.Disconnecting(ctx, account, version, raw); err != nil {
		return err
	}
	select {
	case r.leaving <- struct{}{}:
	default:
	}
	return nil
}

// drainLook is how long a draining account waits for its next look.
const drainLook = time.Second

// drains ends the publishes of accounts that are being disconnected, and says
// when none is left.
func (r *Runner) drains(ctx context.Context) {
	t := time.NewTicker(drainLook)
	defer t.Stop()
	for {
		if err := r.drainOnce(ctx); err != nil && ctx.Err() == nil {
			r.log.WarnContext(ctx, "drain accounts", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-r.leaving:
		case <-t.C:
		}
	}
}

// drainLimit is how many publishes are ended at a time, and how many accounts
// concluded.
const drainLimit = 100

func (r *Runner) drainOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		left, err := r.store.Left(ctx, r.cfg.Drain, drainLimit)
		if err != nil {
			return err
		}
		if r.endAll(ctx, left) == 0 { // none, or others were faster with all of them
			break
		}
	}
	return r.store.Conclude(ctx, drainLimit, func(d job.Drain) (event.Event, error) {
		r.cfg.Failpoint("publish.before_drained")
		return drained(d)
	})
}

// endAll ends what is left of draining accounts, and returns how many it moved.
func (r *Runner) endAll(ctx context.Context, left []job.Publish) int {
	var moved atomic.Int64
	var all sync.WaitGroup
	for _, p := range left {
		all.Go(func() {
			ok, err := r.end(ctx, p)
			if err != nil && ctx.Err() == nil {
				r.log.ErrorContext(ctx, "end publish of a disconnected account", "publish", p.ID, "state", p.State, "error", err)
			}
			if ok {
				moved.Add(1)
			}
		})
	}
	all.Wait()
	return int(moved.Load())
}

// end ends one publish of a draining account. It needs no lane: the version says
// whether the row still stands as it was read, and nothing is armed any more.
func (r *Runner) end(ctx context.Context, p job.Publish) (moved bool, err error) {
	if origin := remoteContext(p.TraceParent, p.TraceState); origin.IsValid() {
		ctx = trace.ContextWithRemoteSpanContext(ctx, origin)
	}
	tr, data, err := leave(p)
	if err != nil {
		return false, err
	}
	if data != nil {
		e, err := tell(ctx, p, p.Version+1, data)
		if err != nil {
			return false, err
		}
		tr.Events = []event.Event{e}
	}
	w, err := r.store.Write(ctx, tr)
	if err == nil && w.Moved && w.Publish.State.Ended() {
		r.ended(ctx, p.Provider, w.Publish.State)
	}
	return w.Moved, err
}

// leave is how a publish ends whose account is being disconnected, and what is
// told of it.
func leave(p job.Publish) (*job.Transition, events.Data, error) {
	tr := &job.Transition{Publish: p}
	tr.Publish.NextAt = time.Time{}
	switch {
	case p.State.Open():
		e := notConnected("the account is disconnecting")
		tr.Publish.State, tr.Publish.DelayReason, tr.Publish.Error = job.Failed, "", problem(e)
		return tr, failedData(refOf(p), e, p.Attempt), nil
	case p.State == job.Unconfirmed:
		tr.Steps = []job.Step{{Attempt: p.Attempt, Step: "watch", Outcome: "ended", Message: "the account is disconnecting: nobody can look any more"}}
		return tr, nil, nil
	}
	return settled(p, tr)
}

// settled ends what was at the provider when its account was disconnected, and
// has had time to settle.
func settled(p job.Publish, tr *job.Transition) (_ *job.Transition, _ events.Data, err error) {
	evidence := "the account was disconnected while the post was " + string(p.State) + ", and the provider did not say in time what became of it"
	tr.Lane = job.Free
	if post := named(p); post != nil {
		tr.Publish.State, tr.Publish.DelayReason, tr.Publish.Error = job.Completed, "", nil
		tr.Publish.Result, err = resultOf(post)
		tr.Steps = []job.Step{{Attempt: p.Attempt, Step: "confirm", Outcome: "done", Message: evidence + "; " + isNamed}}
		return tr, completedData(p, post), err
	}
	tr.Publish.State = job.Unconfirmed
	tr.Publish.Error = problem(unknown(connectors.Found{Evidence: evidence}))
	tr.Steps = []job.Step{{Attempt: p.Attempt, Step: "find", Outcome: "unclear", Message: evidence}}
	if !p.UnconfirmedAt.IsZero() {
		return tr, nil, nil // it was told before: at most once
	}
	return tr, unconfirmedData(p, evidence, ""), nil
}

// drained makes the event of an account of which nothing is left.
func drained(d job.Drain) (event.Event, error) {
	asked, err := events.UnmarshalJSON(d.Event)
	if err != nil {
		return event.Event{}, fmt.Errorf("read what asked for a drain: %w", err)
	}
	var data events.AccountDisconnecting
	if err := events.DecodeData(asked, &data); err != nil {
		return event.Event{}, fmt.Errorf("read what asked for a drain: %w", err)
	}
	text := func(name string) string { s, _ := asked.Extensions()[name].(string); return s }
	return events.New(events.Meta{
		Source: Source, Subject: d.Account.String(), PartitionKey: d.Account.String(), Sequence: d.Version, CausationID: asked.ID(),
		TraceParent: text(events.ExtTraceParent), TraceState: text(events.ExtTraceState),
	}, events.AccountDrained{AccountRef: data.AccountRef, Unconfirmed: d.Unconfirmed})
}
