package publish

import (
	"context"
	"errors"
	"time"

	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/postgres"
	"postbus.dev/services/publisher/internal/job"
)

// errNotArmed stops a commit whose arm write did not move: canceled meanwhile,
// the lane lost, another publish of the account at the provider, a gate closed.
var errNotArmed = errors.New("not armed")

// commit makes the one irreversible call. The connector's client connects to
// the provider, then calls arm, and sends only if that succeeded. Whatever
// comes back is an answer: it is stored whether this process still holds the
// lane or not.
func (t *turn) commit(ctx context.Context) {
	armed := false
	arm := func(ctx context.Context) (connectors.Window, error) {
		w, err := t.arm(ctx)
		armed = err == nil
		return w, err
	}
	// A lost lane stops repeatable steps. It does not stop this one: the call may
	// be on its way, and its answer is worth more than the lane.
	callCtx := context.WithoutCancel(ctx)
	step, err := t.conn.Commit(connectors.WithArm(callCtx, arm), t.acct.Account, t.post, t.p.Checkpoint)
	if armed {
		t.r.cfg.Failpoint("publish.answered")
		t.answer(callCtx, step, err)
		return
	}
	switch {
	case errors.Is(err, errNotArmed):
		t.moved(ctx)
	case err == nil: // a connector that did not use the commit client
		t.fail(ctx, &connectors.Error{Kind: connectors.KindReject, Code: connectors.CodeInternal, Message: "the connector answered without a commit call"}, "commit")
	case isOurs(err) && isRefusal(err):
		t.refuse(ctx, job.Armed, err)
		t.write(ctx, t.failedBare(ctx, t.p))
	case isOurs(err):
		t.stumble(ctx, err)
	default:
		t.stopped(ctx, "commit", err)
	}
}

// isOurs tells a failed arm write from what the connector reports.
func isOurs(err error) bool {
	var e *connectors.Error
	return !errors.As(err, &e) && (postgres.IsUnavailable(err) || errors.Is(err, context.Canceled) || postgres.IsDataError(err))
}

// arm writes down that the call is about to be made. sendBy counts from before
// the write began, on a clock that no one can set, so that this process stops
// sending no later than the row says.
func (t *turn) arm(ctx context.Context) (connectors.Window, error) {
	if t.l.ctx.Err() != nil {
		return connectors.Window{}, errNotArmed
	}
	sendBy := time.Now().Add(t.timing.Commit)
	t.r.cfg.Failpoint("publish.before_armed")
	tr := t.transition(job.Armed)
	tr.Lane, tr.Fence = job.Arm, t.l.fence
	tr.Publish.Attempt++
	tr.Publish.Looks = 0
	tr.Publish.DelayReason = ""
	tr.HasNext = true
	tr.SendIn, tr.Settle = t.timing.Commit, t.timing.Settle
	tr.Gates = job.GateKeys{Provider: t.p.Provider, Client: clientKey(t.p.Provider), Account: t.p.AccountID.String()}
	w, err := t.r.store.Write(ctx, tr)
	if err != nil {
		return connectors.Window{}, err
	}
	if !w.Moved {
		return connectors.Window{}, errNotArmed
	}
	t.wrote(ctx, w.Publish)
	t.r.cfg.Failpoint("publish.armed")
	return connectors.Window{SendBy: sendBy, UserTimeout: t.timing.UserTO}, nil
}

// answer stores what a commit call came to.
func (t *turn) answer(ctx context.Context, step connectors.Step, err error) {
	if err == nil {
		t.accepted(ctx, step)
		return
	}
	e := connectors.AsError(err)
	t.noteError(e)
	switch e.Kind {
	case connectors.KindReject:
		t.fail(ctx, e, "commit")
	case connectors.KindUnknown:
		t.lost(ctx, e)
	default:
		t.disarm(ctx, e)
	}
}

func (t *turn) accepted(ctx context.Context, step connectors.Step) {
	steps := []job.Step{t.step("commit", outcomeOf(step), step.Call, noted(step))}
	cp := keep(step.Checkpoint, t.p.Checkpoint)
	if step.Next == connectors.Done && step.Post != nil {
		t.complete(ctx, step.Post, cp, steps)
		return
	}
	t.settle(ctx, func(p job.Publish) *job.Transition {
		tr := &job.Transition{Publish: p, Lane: job.Free, NextIn: step.Wait, HasNext: true, Steps: steps}
		tr.Publish.State, tr.Publish.Checkpoint, tr.Publish.Failures = job.Confirming, cp, 0
		if step.Post != nil {
			tr.Publish.RemoteID = step.Post.ID
		}
		return tr
	})
}

func outcomeOf(step connectors.Step) string {
	if step.Next == connectors.Done {
		return "done"
	}
	return "accepted"
}

// disarm takes a refusal that proves that nothing was posted. The preparation
// counts as stale, so that Prepare looks at it once more before the next try.
func (t *turn) disarm(ctx context.Context, e *connectors.Error) {
	wait, reason := t.waitFor(ctx, e)
	t.settle(ctx, func(p job.Publish) *job.Transition {
		tr := &job.Transition{Publish: p, Lane: job.Free, NextIn: t.lookIn(e, wait), HasNext: true, Steps: []job.Step{t.step("commit", e.Kind.String(), e.Call, e)}}
		tr.Publish.State, tr.Publish.FreshUntil = job.Ready, time.Time{}
		tr.Publish.Failures++
		if e.Restart {
			tr.Publish.State, tr.Publish.Checkpoint = job.Accepted, nil
		}
		t.delay(ctx, tr, reason, wait, e.Message)
		return tr
	})
}

// lost notes that the answer is not known. The account stays armed with this
// publish until Find or the end of its window. Where the answer that came was a
// block, its scope rests besides: what Find proves absent waits for it. Where
// somebody else looks for the outcome by now, or has reported that nobody can
// tell, this answer adds nothing.
func (t *turn) lost(ctx context.Context, e *connectors.Error) {
	if e.Scope != "" && e.Wait > 0 {
		t.closeGate(ctx, e)
	}
	t.settle(ctx, func(p job.Publish) *job.Transition {
		if p.State != job.Armed {
			return nil
		}
		tr := &job.Transition{Publish: p, NextIn: t.timing.Look, HasNext: true, Steps: []job.Step{t.step("commit", "unknown", e.Call, e)}}
		tr.Publish.State, tr.Publish.Failures = job.Unknown, 0
		return tr
	})
}

// forget handles an armed publish whose caller is not this turn: the process
// that made the call is gone, or paused. Its answer, should it come, still
// counts.
func (t *turn) forget(ctx context.Context) {
	tr := t.transition(job.Unknown)
	tr.HasNext = true
	tr.Steps = []job.Step{t.step("commit", "unknown", connectors.Call{}, &connectors.Error{Message: "the process that made the call did not store its answer"})}
	t.write(ctx, tr)
}

// settle stores an answer: a proof about (publish, attempt), accepted from
// anybody while that attempt's outcome is open, and tried for as long as the
// process lives. One that comes later is kept in the attempt log and alarms.
// build gives nil where the row already says what the answer says.
func (t *turn) settle(ctx context.Context, build func(job.Publish) *job.Transition) {
	attempt := t.p.Attempt
	ctx = context.WithoutCancel(ctx) // a lost lane does not take back what is known
	t.r.cfg.Failpoint("publish.before_finish")
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		done, err := t.settleOnce(ctx, attempt, build)
		switch {
		case done:
			t.r.cfg.Failpoint("publish.finished")
			return
		case err == nil:
			continue // the row moved in between: built again on what stands now
		case job.IsRemoteTaken(err):
			t.taken(ctx, build)
			return
		case isRefusal(err):
			if build = t.less(ctx, build, err); build == nil {
				t.rest()
				return
			}
			continue
		}
		if !postgres.IsUnavailable(err) && !postgres.IsAmbiguous(err) {
			t.r.log.ErrorContext(ctx, "store answer", "publish", t.p.ID, "error", err)
		}
		select {
		case <-t.r.over:
			t.stumble(ctx, err)
			return
		case <-time.After(wait):
		}
	}
}

func (t *turn) settleOnce(ctx context.Context, attempt int, build func(job.Publish) *job.Transition) (done bool, err error) {
	tr := build(t.p)
	if tr == nil {
		return true, nil
	}
	if tr.Publish.State.Ended() && t.l.last(t.it) {
		tr.Release = t.l.fence
	}
	w, err := t.try(ctx, tr)
	if tr.Release != 0 && (err != nil || !w.Moved) {
		defer t.l.giveBack()
	}
	if err != nil {
		return false, err
	}
	if w.Moved {
		t.wrote(ctx, w.Publish)
		return true, nil
	}
	cur, err := t.r.store.Get(ctx, t.p.ID)
	if err != nil {
		return false, err
	}
	t.p = cur
	if cur.Attempt == attempt && cur.State.Pending() {
		return false, nil
	}
	t.tooLate(ctx, attempt, tr)
	return true, nil
}

// tooLate keeps an answer that nobody waits for any more.
func (t *turn) tooLate(ctx context.Context, attempt int, tr *job.Transition) {
	if known := t.p.State == job.Confirming || t.p.State == job.Completed; known && t.p.Attempt == attempt && t.p.RemoteID == tr.Publish.RemoteID {
		return // somebody else learned the same
	}
	if tr.Publish.State == job.Ready || tr.Publish.State == job.Unknown {
		return // this process knows that it posted nothing, or nothing at all
	}
	t.r.metrics.late.Add(ctx, 1)
	t.r.log.ErrorContext(ctx, "an answer of the provider came after its publish was settled",
		"publish", t.p.ID, "attempt", attempt, "state", t.p.State, "answer", tr.Publish.State, "remote_id", tr.Publish.RemoteID)
	for _, st := range tr.Steps {
		st.Step, st.Attempt = "late_answer", attempt
		st.Message = "came after the publish was " + string(t.p.State) + "; remote id " + tr.Publish.RemoteID
		if err := t.r.store.Log(ctx, t.p.ID, st); err != nil {
			t.r.log.ErrorContext(ctx, "log late answer", "publish", t.p.ID, "error", err)
		}
	}
}
