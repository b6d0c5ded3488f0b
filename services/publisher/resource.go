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
		Source: req.Source, ID: req.ID, Data: req.Data, Also: []event.Event{req.Event},
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
	if errors.Is(err, job.ErrNotFound) {
		return api.Publish{}, api.ErrNotFound
	}
	if err != nil {
		return api.Publish{}, err
	}
	steps, err := r.store.Steps(ctx, id)
	if err != nil {
		return api.Publish{}, err
	}
	return viewOf(p, steps), nil
}

// Cancel stops a publish that is known; over HTTP nobody leaves a tombstone.
func (r *resource) Cancel(ctx context.Context, id uuid.UUID, by tenant.Caller) (api.Publish, error) {
	if _, err := r.store.Get(ctx, id); errors.Is(err, job.ErrNotFound) {
		return api.Publish{}, api.ErrNotFound
	}
	p, _, err := r.runner.Cancel(ctx, id, "", "", "canceled over HTTP by "+by.ExternalID)
	if errors.Is(err, publish.ErrTooLate) {
		return viewOf(p, nil), api.ErrTooLate
	}
	return viewOf(p, nil), err
}

func viewOf(p job.Publish, steps []job.Step) api.Publish {
	v := api.Publish{
		ID: p.ID, Source: p.EventSource, RequestID: p.EventID, UserID: p.UserID, AccountID: p.AccountID, Provider: p.Provider, MediaType: p.MediaType,
		State: string(p.State), Attempt: p.Attempt, DelayReason: p.DelayReason, AcceptedAt: p.AcceptedAt, DueAt: p.DueAt, NextAt: p.NextAt,
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
