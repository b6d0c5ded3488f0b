package publisher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
	"go.opentelemetry.io/otel/metric"

	"postbus.dev/events"
	"postbus.dev/services/internal/httpapi"
	"postbus.dev/services/internal/limit"
	"postbus.dev/services/internal/outbox"
	"postbus.dev/services/internal/postgres"
	"postbus.dev/services/internal/tenant"
	"postbus.dev/services/publisher/internal/api"
	"postbus.dev/services/publisher/internal/job"
	"postbus.dev/services/publisher/internal/publish"
)

// resource is the publishes as the HTTP API works on them.
type resource struct {
	runner *publish.Runner
	store  *job.Store
	budget *postgres.Group[limit.Ask, limit.Decision]
	quota  int64
}

// newResource counts requests that wait at the same moment in one commit,
// exactly, over all processes.
func newResource(runner *publish.Runner, store *job.Store, budgets *limit.Budgets, quota int64, meter metric.MeterProvider) (*resource, error) {
	g, err := postgres.NewGroup(postgres.GroupConfig[limit.Ask, limit.Decision]{
		Name: "http_budget", Flush: budgets.TakeAll, Max: 500, Meter: meter,
	})
	if err != nil {
		return nil, err
	}
	return &resource{runner: runner, store: store, budget: g, quota: quota}, nil
}

func (r *resource) close() { r.budget.Close() }

// Accept runs the consumer's own Accept. The publish.requested that it appends
// in the same transaction comes back as a repeat.
func (r *resource) Accept(ctx context.Context, req api.Request) (api.Receipt, error) {
	d, err := r.budget.Do(ctx, limit.Ask{Key: "http/" + req.Caller.UserID.String(), Limit: r.quota, Period: api.DefaultWindow, N: 1})
	if err != nil {
		return api.Receipt{}, fmt.Errorf("count request: %w", err)
	}
	if !d.Allowed {
		return api.Receipt{Budget: d}, nil
	}
	taken, err := r.runner.Accept(ctx, publish.Request{
		Source: req.Source, ID: req.ID, Data: req.Data, Also: []event.Event{req.Event}, UserID: req.Caller.UserID,
		Allowed: func(a publish.Account) bool {
			owner, err := uuid.Parse(a.UserID)
			return err == nil && req.Reaches(owner)
		},
	})
	if errors.Is(err, outbox.ErrUnsendable) {
		return api.Receipt{}, httpapi.Invalid(events.Violation{Rule: "maxLength", Message: "is too large for an event"})
	}
	if err != nil {
		return api.Receipt{}, err
	}
	return api.Receipt{Budget: d, Known: !taken.Stored, Same: taken.Same, Publish: viewOf(taken.Publish, nil)}, nil
}

// Get reads a publish and its attempts.
func (r *resource) Get(ctx context.Context, id uuid.UUID) (api.Publish, error) {
	p, err := r.store.Get(ctx, id)
	return r.changed(ctx, p, err)
}

// List reads publishes of a user.
func (r *resource) List(ctx context.Context, f api.Filter) ([]api.Publish, error) {
	list, err := r.store.List(ctx, job.Filter{
		UserID: f.UserID, State: job.State(f.State), Provider: f.Provider, AccountID: f.AccountID,
		From: f.From, To: f.To, After: f.After, AfterID: f.AfterID, Limit: f.Limit,
	})
	out := make([]api.Publish, len(list))
	for i, p := range list {
		out[i] = viewOf(p, nil)
	}
	return out, err
}

// Cancel stops a publish that is known; over HTTP nobody leaves a tombstone.
func (r *resource) Cancel(ctx context.Context, id uuid.UUID, by tenant.Caller) (api.Publish, error) {
	if _, err := r.store.Get(ctx, id); err != nil {
		return api.Publish{}, told(err)
	}
	p, _, err := r.runner.Cancel(ctx, id, "", "", "canceled over HTTP by "+by.ExternalID)
	return r.changed(ctx, p, err)
}

// Reschedule changes when a publish is due.
func (r *resource) Reschedule(ctx context.Context, id uuid.UUID, due time.Time) (api.Publish, error) {
	p, err := r.runner.Reschedule(ctx, id, due)
	if refused, ok := errors.AsType[*publish.TimeError](err); ok {
		return api.Publish{}, httpapi.Invalid(events.Violation{Field: "/publishAt", Rule: refused.Rule, Message: refused.Message})
	}
	return r.changed(ctx, p, err)
}

// Resolve ends an unconfirmed publish as a person decides.
func (r *resource) Resolve(ctx context.Context, id uuid.UUID, v api.Verdict, by tenant.Caller) (api.Publish, error) {
	p, err := r.runner.Resolve(ctx, id, publish.Verdict{
		Published: v.Published, PostID: v.PostID, Permalink: v.Permalink, Reason: v.Reason,
		By: by.ExternalID + " with the key " + by.KeyID.String(),
	})
	if taken, ok := errors.AsType[*publish.TakenError](err); ok {
		owner, err := r.Get(ctx, taken.Owner)
		if err != nil {
			return api.Publish{}, err
		}
		return viewOf(p, nil), &api.TakenError{Owner: owner}
	}
	return r.changed(ctx, p, err)
}

// changed reads what was tried along with a publish that was changed.
func (r *resource) changed(ctx context.Context, p job.Publish, err error) (api.Publish, error) {
	if err != nil {
		return viewOf(p, nil), told(err)
	}
	steps, err := r.store.Steps(ctx, p.ID)
	return viewOf(p, steps), err
}

// told gives the cycle's errors the API's names.
func told(err error) error {
	switch {
	case errors.Is(err, job.ErrNotFound):
		return api.ErrNotFound
	case errors.Is(err, publish.ErrTooLate), errors.Is(err, publish.ErrNotUnconfirmed):
		return api.ErrTooLate
	default:
		return err
	}
}

func viewOf(p job.Publish, steps []job.Step) api.Publish {
	v := api.Publish{
		ID: p.ID, Source: p.EventSource, RequestID: p.EventID, UserID: p.UserID, AccountID: p.AccountID, Provider: p.Provider, MediaType: p.MediaType,
		Version: p.Version, State: string(p.State), Attempt: p.Attempt, DelayReason: p.DelayReason, AcceptedAt: p.AcceptedAt, DueAt: p.DueAt, NextAt: p.NextAt,
		ExpiresAt: p.ExpiresAt, ArmedAt: p.ArmedAt, EndedAt: p.EndedAt, TraceID: traceID(p.TraceParent),
	}
	var result publish.Result
	if p.State == job.Completed && json.Unmarshal(p.Result, &result) == nil {
		v.Result = &api.Result{PostID: orEmpty(result.PostID), Permalink: orEmpty(result.Permalink), Caption: result.Caption, Metadata: result.Metadata}
		if result.Timestamp != nil {
			v.Result.Timestamp = *result.Timestamp
		}
	}
	var problem publish.Problem
	if len(p.Error) > 0 && json.Unmarshal(p.Error, &problem) == nil {
		v.Problem = &api.Problem{Code: problem.Code, Message: problem.Message, ProviderCode: problem.ProviderCode, ProviderRequestID: problem.RequestID}
		for _, one := range problem.Violations {
			v.Problem.Violations = append(v.Problem.Violations, events.Violation(one))
		}
	}
	for _, s := range steps {
		v.Attempts = append(v.Attempts, api.Attempt{
			Attempt: s.Attempt, Step: s.Step, Call: s.Call, Outcome: s.Outcome, ProviderRequestID: s.RequestID, ProviderCode: s.Code,
			HTTPStatus: s.HTTPStatus, Message: s.Message, Duration: s.Duration.Round(time.Millisecond), At: s.At,
		})
	}
	return v
}

// traceID is the second part of a traceparent.
func traceID(parent string) string {
	if parts := strings.Split(parent, "-"); len(parts) == 4 {
		return parts[1]
	}
	return ""
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
