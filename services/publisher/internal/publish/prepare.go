package publish

import (
	"context"
	"fmt"
	"time"

	"postbus.dev/events"
	"postbus.dev/services/connectors"
	"postbus.dev/services/publisher/internal/job"
)

// prepare runs one repeatable step and stores its checkpoint. A post that is
// ready, due and alone goes straight on to commit.
func (t *turn) prepare(ctx context.Context) {
	t.r.cfg.Failpoint("publish.before_prepare")
	step, err := t.conn.Prepare(ctx, t.acct.Account, t.post, t.p.Checkpoint)
	if err != nil {
		t.stopped(ctx, "prepare", err)
		return
	}
	t.r.cfg.Failpoint("publish.prepared")
	tr := t.transition(job.Accepted)
	tr.Publish.Checkpoint = keep(step.Checkpoint, t.p.Checkpoint)
	tr.Publish.Failures = 0
	switch step.Next {
	case connectors.Ready:
		if t.due() && t.l.claimCommit(t.it) {
			t.p.State, t.p.Checkpoint, t.p.Failures = job.Ready, tr.Publish.Checkpoint, 0
			t.commit(ctx)
			return
		}
		tr.Publish.State, tr.FreshIn = job.Ready, step.FreshFor
		tr.Publish.NextAt = t.p.DueAt
		tr.Steps = []job.Step{t.step("prepare", "ready", step.Call, noted(step))}
	case connectors.Wait:
		tr.NextIn, tr.HasNext = step.Wait, true
		if string(tr.Publish.Checkpoint) != string(t.p.Checkpoint) {
			tr.Steps = []job.Step{t.step("prepare", "wait", step.Call, noted(step))}
		}
	default:
		tr.HasNext = true
		tr.Steps = []job.Step{t.step("prepare", "continue", step.Call, noted(step))}
	}
	tr.Publish.DelayReason = ""
	if t.write(ctx, tr) {
		t.r.cfg.Failpoint("publish.checkpointed")
	}
}

func (t *turn) due() bool { return !t.local(t.p.DueAt).After(time.Now()) }

// claimCommit makes it the one of its account that commits; false if another is.
func (l *lane) claimCommit(it *item) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.armed != nil && l.armed != it {
		return false
	}
	l.armed = it
	return true
}

// confirm asks whether an accepted post is published.
func (t *turn) confirm(ctx context.Context) {
	if time.Since(t.local(t.p.ArmedAt)) > t.timing.Confirm {
		t.untold(ctx, fmt.Sprintf("the provider accepted the post and did not say within %v whether it is published", t.timing.Confirm))
		return
	}
	step, err := t.conn.Confirm(ctx, t.acct.Account, t.post, t.p.Checkpoint)
	if err != nil {
		t.stopped(ctx, "confirm", err)
		return
	}
	if step.Next == connectors.Done && step.Post != nil {
		t.complete(ctx, step.Post, keep(step.Checkpoint, t.p.Checkpoint), []job.Step{t.step("confirm", "done", step.Call, noted(step))})
		return
	}
	tr := t.transition(job.Confirming)
	tr.Publish.Checkpoint = keep(step.Checkpoint, t.p.Checkpoint)
	tr.Publish.Failures = 0
	tr.NextIn, tr.HasNext = step.Wait, true
	t.write(ctx, tr)
}

// untold ends a publish of which the provider will tell no more. A post that it
// named is live, and completed by its name; of any other one nobody can tell.
func (t *turn) untold(ctx context.Context, evidence string) {
	if post := named(t.p); post != nil {
		t.complete(ctx, post, t.p.Checkpoint, []job.Step{t.step("confirm", "done", connectors.Call{}, &connectors.Error{Message: evidence + "; " + isNamed})})
		return
	}
	t.unclear(ctx, connectors.Found{Evidence: evidence})
}

const isNamed = "the answer of the commit named the post"

// named is the post that the answer of a commit named, which is live by that,
// although Confirm has not read it; nil where there is none. What is known of it
// is its name, and its caption as long as the request is there.
func named(p job.Publish) *connectors.RemotePost {
	if p.State != job.Confirming || p.RemoteID == "" {
		return nil
	}
	asked, _ := events.ReadPublishRequested(p.Request)
	return &connectors.RemotePost{ID: p.RemoteID, Caption: asked.Caption}
}
