package publish

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/outbox"
	"postbus.dev/services/internal/postgres"
	"postbus.dev/services/publisher/internal/job"
)

// A transition that the database refuses for its values is refused each time. It
// is not repeated: less is said of the publish, in words of our own, so that it
// ends all the same. First the same without what others wrote (bare); then, where
// that is refused too, the least that is true (leastTrue). Each refusal alarms.

// errUnfit marks what cannot be made into a row or an event.
var errUnfit = errors.New("not fit to be stored")

func unfit(what string, err error) error { return fmt.Errorf("%s: %w: %w", what, errUnfit, err) }

// isRefusal says that the same values will be refused each time.
func isRefusal(err error) bool {
	return postgres.IsDataError(err) && !job.IsOtherArmed(err) || errors.Is(err, outbox.ErrUnsendable) || errors.Is(err, errUnfit)
}

// try writes a transition, unless making it failed.
func (t *turn) try(ctx context.Context, tr *job.Transition) (job.Written, error) {
	if fault := t.fault; fault != nil {
		t.fault = nil
		return job.Written{}, fault
	}
	return t.r.store.Write(ctx, tr)
}

// less is what to write in place of what build makes, which was refused. Nil:
// nothing is left that could be said.
func (t *turn) less(ctx context.Context, build func(job.Publish) *job.Transition, err error) func(job.Publish) *job.Transition {
	want := build(t.p)
	t.fault = nil // of want: it is not written
	t.refuse(ctx, want.Publish.State, err)
	switch t.refusals {
	case 1:
		t.meant = want.Publish.State
		return func(p job.Publish) *job.Transition { return t.bare(ctx, p, build(p)) }
	case 2:
		return func(p job.Publish) *job.Transition { return t.leastTrue(ctx, p) }
	default:
		return nil
	}
}

// writeLess writes what is left to be said in place of tr.
func (t *turn) writeLess(ctx context.Context, tr *job.Transition, err error) {
	less := t.less(ctx, func(job.Publish) *job.Transition { return tr }, err)
	if less == nil {
		t.rest()
		return
	}
	t.write(ctx, less(t.p))
}

// rest is for a publish of which nothing at all can be stored: the same happens
// again, but not at once.
func (t *turn) rest() { t.later = time.Now().Add(t.r.cfg.Recheck) }

// refuse counts a refusal, and alarms.
func (t *turn) refuse(ctx context.Context, to job.State, err error) {
	t.refusals++
	t.span.RecordError(err)
	t.r.metrics.refused.Add(ctx, 1, metric.WithAttributes(attribute.String("provider", t.p.Provider), attribute.String("to", string(to))))
	t.r.log.ErrorContext(ctx, "the database refuses what is to be stored of a publish", "publish", t.p.ID, "state", t.p.State, "to", to, "error", err)
}

// bare says what want says of p without anything that came from outside.
func (t *turn) bare(ctx context.Context, p job.Publish, want *job.Transition) *job.Transition {
	t.fault = nil
	if want == nil {
		return nil
	}
	switch to := want.Publish.State; {
	case to == job.Completed:
		return t.completed(ctx, p, &connectors.RemotePost{ID: want.Publish.RemoteID}, p.Checkpoint, nil)
	case to == job.Failed, to.Open() && advances(p, want):
		return t.failedBare(ctx, p)
	case to == job.Unconfirmed && p.State != job.Unconfirmed:
		return t.unconfirmedBare(ctx, p)
	case to == job.Confirming && p.State == job.Unconfirmed:
		return nil // it adds nothing to what was reported
	case to == job.Confirming && p.State.Pending():
		return t.lostAgain(p, t.timing.Look)
	}
	return t.wordless(p, want)
}

// advances says whether want holds a new checkpoint. Without it the step before
// would be done once more, and be refused once more.
func advances(p job.Publish, want *job.Transition) bool {
	return want.Publish.Checkpoint != nil && string(want.Publish.Checkpoint) != string(p.Checkpoint)
}

// wordless moves p as want does, and neither tells nor keeps why.
func (t *turn) wordless(p job.Publish, want *job.Transition) *job.Transition {
	if t.asks != 0 { // the request for a refresh is among what is not told
		t.l.unasked(t.asks)
		t.asks = 0
	}
	tr := *want
	tr.Steps, tr.Events = nil, nil
	if want.Publish.Checkpoint != nil {
		tr.Publish.Checkpoint = p.Checkpoint
	}
	if want.Publish.DelayReason != "" {
		tr.Publish.DelayReason = p.DelayReason
	}
	tr.Publish.RemoteID, tr.Publish.Result, tr.Publish.Error = p.RemoteID, p.Result, p.Error
	return &tr
}

// lostAgain treats an answer that cannot be stored like one that never came: the
// outcome is looked for.
func (t *turn) lostAgain(p job.Publish, look time.Duration) *job.Transition {
	tr := &job.Transition{Publish: p, NextIn: look, HasNext: true}
	tr.Publish.State = job.Unknown
	return tr
}

// leastTrue ends p by what is known for sure: what never was at the provider, or
// is proven not to be there, has failed. Nobody can tell the rest; it is reported
// so once the call has come to rest.
func (t *turn) leastTrue(ctx context.Context, p job.Publish) *job.Transition {
	if p.State.Open() && t.meant != job.Unknown {
		return t.failedBare(ctx, p)
	}
	if p.State == job.Unconfirmed {
		tr := &job.Transition{Publish: p}
		t.watch(tr)
		return t.wordless(p, tr)
	}
	if wait := time.Until(t.local(p.QuietAt)); wait > 0 && p.State.Pending() {
		return t.lostAgain(p, wait)
	}
	return t.unconfirmedBare(ctx, p)
}

func (t *turn) failedBare(ctx context.Context, p job.Publish) *job.Transition {
	tr := t.failed(ctx, p, &connectors.Error{
		Kind: connectors.KindReject, Code: connectors.CodeInternal, Message: "what is to be kept of the publish cannot be stored; there is no post",
	})
	tr.Publish.Checkpoint = nil
	return tr
}

func (t *turn) unconfirmedBare(ctx context.Context, p job.Publish) *job.Transition {
	evidence := map[job.State]string{
		job.Completed: "the provider says that the post is live",
		job.Failed:    "the provider says that there is no post",
		job.Ready:     "the provider says that there is no post",
		job.Accepted:  "the provider says that there is no post",
	}[t.meant]
	if evidence == "" {
		evidence = "the provider did not say what became of the post"
	}
	tr := t.unconfirmed(ctx, p, connectors.Found{Evidence: evidence + ", but what is to be kept of that cannot be stored"})
	tr.Steps = nil
	return tr
}

// taken handles the one refusal that is expected: the provider named a remote post
// that another publish owns.
func (t *turn) taken(ctx context.Context, build func(job.Publish) *job.Transition) {
	want := build(t.p)
	owner, err := t.r.store.RemoteOwner(ctx, t.p.Provider, t.p.AccountID, want.Publish.RemoteID)
	if err != nil {
		t.stumble(ctx, err)
		return
	}
	evidence := "the provider named post " + want.Publish.RemoteID + ", which publish " + owner.String() + " owns"
	t.r.metrics.taken.Add(ctx, 1)
	t.r.log.ErrorContext(ctx, "a remote post is claimed by two publishes", "publish", t.p.ID, "other", owner, "remote_id", want.Publish.RemoteID)
	t.settle(ctx, func(p job.Publish) *job.Transition {
		tr := &job.Transition{Publish: p, Lane: job.Free, Steps: want.Steps}
		tr.Publish.State, tr.Publish.RemoteID, tr.Publish.NextAt = job.Unconfirmed, "", time.Time{}
		tr.Publish.Error = problem(unknown(connectors.Found{Evidence: evidence}))
		if p.UnconfirmedAt.IsZero() {
			tr.Events = t.event(ctx, tr.Publish, unconfirmedData(p, evidence, owner.String()))
		}
		return tr
	})
}
