package publish

import (
	"context"
	"time"

	"postbus.dev/services/connectors"
	"postbus.dev/services/publisher/internal/job"
)

// find looks for the outcome of a commit whose answer is unknown. What it finds
// present counts from anybody. Absence counts only from the holder of the lane,
// only as a proof by the provider's own rules, and only once the call cannot
// act any more.
func (t *turn) find(ctx context.Context) {
	t.r.cfg.Failpoint("publish.before_find")
	known, err := t.r.store.Evidence(ctx, t.p, t.timing.Window)
	if err != nil {
		t.stumble(ctx, err)
		return
	}
	found, err := t.conn.Find(ctx, t.acct.Account, t.post, connectors.Attempt{
		Number: t.p.Attempt, ArmedAt: t.p.ArmedAt, QuietAt: t.p.QuietAt, Quiet: known.Quiet,
		OwnedRemoteIDs: known.OwnedRemoteIDs, TwinUnconfirmed: known.TwinUnconfirmed,
	}, t.p.Checkpoint)
	switch {
	case err != nil:
		t.blind(ctx, connectors.AsError(err), known)
	case found.Verdict == connectors.Published && found.Post != nil:
		t.complete(ctx, found.Post, keep(found.Checkpoint, t.p.Checkpoint), []job.Step{t.step("find", "published", found.Call, &connectors.Error{Message: found.Evidence})})
	case found.Verdict == connectors.Absent && known.Quiet:
		t.absent(ctx, found)
	case known.Spent || t.p.State == job.Unconfirmed:
		t.unclear(ctx, found)
	default:
		t.lookAgain(ctx, found)
	}
}

// lookAgain waits for the next look.
func (t *turn) lookAgain(ctx context.Context, found connectors.Found) {
	tr := t.transition(job.Unknown)
	tr.Publish.Checkpoint = keep(found.Checkpoint, t.p.Checkpoint)
	tr.Publish.Looks++
	tr.Publish.Failures = 0
	tr.NextIn, tr.HasNext = t.timing.Look, true
	if found.LookAgain > 0 {
		tr.NextIn = found.LookAgain
	}
	if t.p.Looks == 0 {
		tr.Steps = []job.Step{t.step("find", "unclear", found.Call, &connectors.Error{Message: found.Evidence})}
	}
	t.write(ctx, tr)
}

// blind handles a read that failed: it is not a look, but the window ends all
// the same.
func (t *turn) blind(ctx context.Context, e *connectors.Error, known job.Evidence) {
	t.noteError(e)
	if known.Spent || t.p.State == job.Unconfirmed {
		t.unclear(ctx, connectors.Found{Evidence: "reading back failed: " + e.Error(), Call: e.Call})
		return
	}
	wait, _ := t.waitFor(ctx, e)
	tr := t.transition(job.Unknown)
	tr.Publish.Failures++
	tr.NextIn, tr.HasNext = min(wait, max(t.timing.Window/4, t.timing.Look)), true
	tr.Steps = []job.Step{t.step("find", e.Kind.String(), e.Call, e)}
	t.write(ctx, tr)
}

// absent takes a proof that the attempt made no post. What was not reported yet
// is tried again; what was reported as unconfirmed has failed.
func (t *turn) absent(ctx context.Context, found connectors.Found) {
	steps := []job.Step{t.step("find", "absent", found.Call, &connectors.Error{Message: found.Evidence})}
	if t.p.State == job.Unconfirmed {
		t.fail(ctx, &connectors.Error{Kind: connectors.KindReject, Code: connectors.CodeUnavailable, Call: found.Call,
			Message: "the provider proves that the call made no post: " + found.Evidence}, "find")
		return
	}
	tr := t.transition(job.Ready)
	tr.Lane = job.Free
	tr.Publish.Checkpoint = keep(found.Checkpoint, t.p.Checkpoint)
	tr.Publish.FreshUntil, tr.Publish.Failures = time.Time{}, 0
	tr.HasNext = true
	tr.Steps = steps
	t.write(ctx, tr)
}

// unclear reports honestly that nobody can tell, once, frees the account, and
// keeps watching at growing distances.
func (t *turn) unclear(ctx context.Context, found connectors.Found) {
	t.write(ctx, t.unconfirmed(ctx, t.p, found))
}

func (t *turn) unconfirmed(ctx context.Context, p job.Publish, found connectors.Found) *job.Transition {
	tr := &job.Transition{Publish: p}
	tr.Publish.State, tr.Publish.Checkpoint = job.Unconfirmed, keep(found.Checkpoint, p.Checkpoint)
	tr.Publish.Looks++
	if p.State != job.Unconfirmed {
		tr.Publish.Looks = 0
		tr.Lane = job.Free
		tr.Publish.Error = problem(unknown(found))
		tr.Steps = []job.Step{t.step("find", "unclear", found.Call, &connectors.Error{Message: found.Evidence})}
		if p.UnconfirmedAt.IsZero() {
			tr.Events = t.event(ctx, tr.Publish, unconfirmedData(p, found.Evidence, ""))
		}
	}
	t.watch(tr)
	return tr
}

// unknown is the problem of a publish whose outcome nobody can tell.
func unknown(found connectors.Found) *connectors.Error {
	return &connectors.Error{Code: "OUTCOME_UNKNOWN", Message: found.Evidence, Call: found.Call}
}

// watch sets when an unconfirmed publish is looked at next: at the connector's
// times after it was reported, however often somebody looks in between. After the
// last one it rests until a person or a late answer settles it.
func (t *turn) watch(tr *job.Transition) {
	var since time.Duration
	if !t.p.UnconfirmedAt.IsZero() {
		since = time.Since(t.local(t.p.UnconfirmedAt))
	}
	var at time.Duration
	for _, d := range t.timing.Watch {
		if at += d; at > since {
			tr.NextIn, tr.HasNext = at-since, true
			return
		}
	}
	tr.Publish.NextAt = time.Time{}
	tr.Steps = append(tr.Steps, job.Step{Attempt: t.p.Attempt, Step: "watch", Outcome: "ended", Message: "no look has told what became of the post"})
}
