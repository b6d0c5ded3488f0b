package publish

import (
	"context"
	"encoding/json"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"

	"postbus.dev/events"
	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/limit"
	"postbus.dev/services/publisher/internal/job"
)

// Result is what a completed publish keeps: the post as the provider tells it.
type Result struct {
	PostID    *string         `json:"postId"`    // null where the provider never tells it
	Permalink *string         `json:"permalink"` // likewise
	Timestamp *time.Time      `json:"timestamp"`
	Caption   string          `json:"caption"`
	Metadata  json.RawMessage `json:"metadata,omitempty"`
}

// Problem is why a publish failed or cannot be confirmed.
type Problem struct {
	Code         string                 `json:"code"`
	Message      string                 `json:"message"`
	ProviderCode string                 `json:"providerCode,omitempty"`
	RequestID    string                 `json:"providerRequestId,omitempty"`
	Violations   []connectors.Violation `json:"violations,omitempty"`
}

// complete ends a publish that is live. It counts from anybody: it is a proof.
func (t *turn) complete(ctx context.Context, post *connectors.RemotePost, cp []byte, steps []job.Step) {
	t.settle(ctx, func(p job.Publish) *job.Transition { return t.completed(ctx, p, post, cp, steps) })
}

func (t *turn) completed(ctx context.Context, p job.Publish, post *connectors.RemotePost, cp []byte, steps []job.Step) *job.Transition {
	body, err := resultOf(post)
	tr := &job.Transition{Publish: p, Lane: job.Free, Steps: steps}
	tr.Publish.State, tr.Publish.Checkpoint = job.Completed, cp
	tr.Publish.RemoteID = firstOf(post.ID, p.RemoteID)
	tr.Publish.Result, tr.Publish.Error, tr.Publish.DelayReason = body, nil, ""
	tr.Events = t.event(ctx, tr.Publish, completedData(p, post))
	if err != nil {
		t.fault = unfit("describe post", err)
	}
	return tr
}

// resultOf is the post as the row keeps it.
func resultOf(post *connectors.RemotePost) ([]byte, error) {
	result := Result{PostID: orNull(post.ID), Permalink: orNull(post.URL), Caption: post.Caption, Metadata: tellable(post.Metadata)}
	if !post.Timestamp.IsZero() {
		result.Timestamp = &post.Timestamp
	}
	return events.EncodeJSON(result)
}

// fail ends a publish that is not live and will not be.
func (t *turn) fail(ctx context.Context, e *connectors.Error, step string) {
	t.noteError(e)
	build := func(p job.Publish) *job.Transition {
		tr := t.failed(ctx, p, e)
		if step != "" {
			tr.Steps = []job.Step{t.step(step, e.Kind.String(), e.Call, e)}
		}
		return tr
	}
	if t.p.State.Pending() {
		t.settle(ctx, build)
		return
	}
	tr := build(t.p)
	if t.l.last(t.it) {
		tr.Release = t.l.fence
	}
	if !t.write(ctx, tr) && tr.Release != 0 {
		t.l.giveBack()
	}
}

func (t *turn) failed(ctx context.Context, p job.Publish, e *connectors.Error) *job.Transition {
	tr := &job.Transition{Publish: p, Lane: job.Free}
	tr.Publish.State, tr.Publish.DelayReason = job.Failed, ""
	tr.Publish.Error = problem(e)
	tr.Events = t.event(ctx, tr.Publish, failedData(refOf(p), e, p.Attempt))
	return tr
}

// expire ends a publish that was not armed in time, with the last reason.
func (t *turn) expire(ctx context.Context) {
	why := "not armed by " + t.p.ExpiresAt.UTC().Format(time.RFC3339)
	if t.p.DelayReason != "" {
		why += "; it waited because of " + t.p.DelayReason
	}
	t.fail(ctx, &connectors.Error{Kind: connectors.KindReject, Code: "EXPIRED", Message: why}, "")
}

// stopped handles an error of a step that made nothing public.
func (t *turn) stopped(ctx context.Context, step string, err error) {
	e := connectors.AsError(err)
	if t.l.ctx.Err() != nil { // cut off because the lane is lost: no fault of the provider
		t.gone = true
		return
	}
	t.noteError(e)
	if e.Kind == connectors.KindReject {
		t.fail(ctx, e, step)
		return
	}
	if e.Kind == connectors.KindUnknown && t.p.Attempt > 0 && step == "prepare" {
		t.reopen(ctx, e)
		return
	}
	wait, reason := t.waitFor(ctx, e)
	tr := t.transition(t.p.State)
	if t.p.State == job.Ready {
		tr.Publish.State = job.Accepted
	}
	tr.Publish.Failures++
	tr.NextIn, tr.HasNext = t.lookIn(e, wait), true
	tr.Steps = []job.Step{t.step(step, e.Kind.String(), e.Call, e)}
	if e.Restart && t.p.State.Open() {
		tr.Publish.Checkpoint = nil
	}
	t.delay(ctx, tr, reason, wait, e.Message)
	t.write(ctx, tr)
}

// reopen handles a preparation that found an earlier commit's work done after
// all: its outcome is looked for, nothing is committed.
func (t *turn) reopen(ctx context.Context, e *connectors.Error) {
	tr := t.transition(job.Unknown)
	tr.Lane, tr.HasNext = job.Hold, true
	tr.Publish.Looks, tr.Publish.Failures = 0, 0
	tr.Steps = []job.Step{t.step("prepare", "unknown", e.Call, e)}
	t.write(ctx, tr)
}

// park lets a publish wait for something outside.
func (t *turn) park(ctx context.Context, reason string, wait time.Duration, detail string) {
	tr := t.transition(job.Accepted)
	tr.NextIn, tr.HasNext = max(wait, 100*time.Millisecond), true
	t.delay(ctx, tr, reason, wait, detail)
	t.write(ctx, tr)
}

// waitFor decides how long an error makes a publish wait, and closes the gate or
// asks for the refresh that it calls for.
func (t *turn) waitFor(ctx context.Context, e *connectors.Error) (time.Duration, string) {
	switch e.Kind {
	case connectors.KindWait:
		return t.closeGate(ctx, e), e.Reason
	case connectors.KindRefresh:
		return t.refresh(ctx)
	case connectors.KindReauthorize:
		return t.r.cfg.Recheck, connectors.ReasonReauth
	default:
		wait := max(e.Wait, t.backoff())
		if t.p.Failures >= 3 {
			return wait, connectors.ReasonProviderDown
		}
		return wait, ""
	}
}

// lookIn is when a publish that waits looks again. One that a gate stops does so
// before the gate's time: it may be opened by hand at any moment.
func (t *turn) lookIn(e *connectors.Error, wait time.Duration) time.Duration {
	if e.Kind == connectors.KindWait {
		return min(wait, t.r.cfg.Recheck)
	}
	return wait
}

// closeGate stops what the error's scope covers, for as long as it says.
func (t *turn) closeGate(ctx context.Context, e *connectors.Error) time.Duration {
	wait := max(e.Wait, t.timing.Look)
	if err := t.r.cfg.Gates.Close(ctx, limit.Gate{Scope: e.Scope, Key: t.gateKey(e.Scope), Reason: e.Reason, For: wait}); err != nil {
		t.r.log.WarnContext(ctx, "close gate", "scope", e.Scope, "reason", e.Reason, "error", err)
	}
	return wait
}

// refresh reads the account again: a newer token goes on at once, else the
// publish waits for one.
func (t *turn) refresh(ctx context.Context) (time.Duration, string) {
	used := t.acct.TokenVersion
	acct, _, err := t.l.current(ctx, 0)
	if err == nil && acct.TokenVersion > used {
		return 0, ""
	}
	return t.r.cfg.Recheck, connectors.ReasonToken
}

func (t *turn) gateKey(s connectors.Scope) string {
	switch s {
	case connectors.ScopeProvider:
		return t.p.Provider
	case connectors.ScopeClient:
		return clientKey(t.p.Provider)
	case connectors.ScopeAccount:
		return t.p.AccountID.String()
	default:
		return ""
	}
}

// delay tells of a wait when its reason is not the one that was told last, and
// asks for a refresh where one may help, of each token once.
func (t *turn) delay(ctx context.Context, tr *job.Transition, reason string, wait time.Duration, detail string) {
	if reason == connectors.ReasonToken || reason == connectors.ReasonReauth {
		tr.Heard = t.heard
	}
	if version := t.acct.TokenVersion; t.wantsRefresh(tr, reason) && (t.asks == version || t.l.asks(version)) {
		tr.Events = append(tr.Events, t.refreshEvent(ctx, refreshFor[reason])...)
		t.asks = version
	}
	if reason == "" || reason == tr.Publish.DelayReason {
		return
	}
	tr.Publish.DelayReason = reason
	tr.Events = append(tr.Events, t.event(ctx, tr.Publish, t.delayedData(reason, time.Now().Add(wait), detail))...)
}

// refreshFor is why a refresh is asked for, by the reason of the wait.
var refreshFor = map[string]string{ //nolint:gochecknoglobals // a constant
	connectors.ReasonToken:  "the provider refused the token",
	connectors.ReasonReauth: "the provider says that the account must be reconnected",
}

// wantsRefresh says whether a publish that has to wait asks for new tokens. Where
// the provider says that a person must reconnect the account, the refresh finds
// that out for the account; should it bring a token that is refused like the one
// before, as where a permission is missing, no other one is asked for.
func (t *turn) wantsRefresh(tr *job.Transition, reason string) bool {
	switch reason {
	case connectors.ReasonToken:
		return true
	case connectors.ReasonReauth:
		return t.acct.Status == "active" && tr.Publish.DelayReason != connectors.ReasonReauth
	}
	return false
}

func problem(e *connectors.Error) []byte {
	body, err := events.EncodeJSON(Problem{
		Code: firstOf(e.Code, connectors.CodeInternal), Message: e.Message, ProviderCode: e.ProviderCode, RequestID: e.Call.RequestID, Violations: e.Violations,
	})
	if err != nil {
		return []byte(`{"code":"INTERNAL_ERROR","message":""}`)
	}
	return body
}

func (t *turn) noteError(e *connectors.Error) {
	t.span.SetAttributes(attribute.String("error.type", e.Kind.String()), attribute.String("postbus.provider_code", e.ProviderCode))
	t.span.SetStatus(codes.Error, e.Message)
}

func (r *Runner) ended(ctx context.Context, provider string, state job.State) {
	r.metrics.ended.Add(ctx, 1, metric.WithAttributes(attribute.String("provider", provider), attribute.String("state", string(state))))
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
