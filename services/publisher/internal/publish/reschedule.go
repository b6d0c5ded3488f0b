package publish

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"

	"postbus.dev/events"
	"postbus.dev/services/publisher/internal/job"
)

// TimeError says why a publish cannot be due at a time.
type TimeError struct{ Rule, Message string }

func (e *TimeError) Error() string { return "publishAt " + e.Message }

// Reschedule changes when a publish is due, as long as it is not armed. What is
// prepared for the old time is prepared again for the new one unless it is still
// fresh then. ErrTooLate, job.ErrNotFound, *TimeError.
func (r *Runner) Reschedule(ctx context.Context, id uuid.UUID, due time.Time) (job.Publish, error) {
	for {
		p, err := r.store.Get(ctx, id)
		if err != nil {
			return p, err
		}
		if !p.State.Open() {
			return p, ErrTooLate
		}
		tr, err := r.dueAt(ctx, p, due)
		if err != nil {
			return p, err
		}
		w, err := r.store.Write(ctx, tr)
		if err != nil {
			return p, fmt.Errorf("reschedule publish: %w", err)
		}
		if w.Moved {
			r.tellOwner(ctx, p.AccountID)
			return w.Publish, nil
		}
	}
}

// dueAt makes the transition, with the times that Accept would have given it.
func (r *Runner) dueAt(ctx context.Context, p job.Publish, due time.Time) (*job.Transition, error) {
	req, err := events.ReadPublishRequested(p.Request)
	if err != nil {
		return nil, errors.New("reschedule publish: the stored request cannot be read")
	}
	tr := &job.Transition{Publish: p, Lane: job.Tell}
	n := &tr.Publish
	n.DueAt, n.Scheduled, n.DelayReason, n.Failures = due, true, "", 0
	if n.ExpiresAt, err = expiry(req, due); err != nil {
		return nil, err
	}
	n.NextAt = due
	if p.State == job.Accepted || !p.FreshUntil.After(due) {
		n.State, n.FreshUntil = job.Accepted, time.Time{}
		if conn, ok := r.cfg.Connectors[p.Provider]; ok {
			n.NextAt = due.Add(-conn.Timing(PostOf(p.ID.String(), req)).Lead)
		}
	}
	e, err := tell(ctx, *n, p.Version+1, events.PublishScheduled{PublishRef: refOf(p), DueAt: due, ExpiresAt: n.ExpiresAt})
	tr.Events = []event.Event{e}
	return tr, err
}

// expiry is when a publish that is due at a time expires.
func expiry(req events.PublishRequested, due time.Time) (time.Time, error) {
	if !due.After(time.Now()) {
		return due, &TimeError{Rule: "future", Message: "lies in the past"}
	}
	told, err := req.ExpiryTime()
	switch {
	case err != nil || told.IsZero():
		return due.Add(defaultLife), nil //nolint:nilerr // Accept has refused what cannot be read
	case !told.After(due):
		return due, &TimeError{Rule: "before", Message: "must be before the request's expiresAt, " + told.UTC().Format(time.RFC3339)}
	case told.After(due.Add(maxLife + time.Minute)):
		return due, &TimeError{Rule: "minimum", Message: "is more than 30 days before the request's expiresAt, " + told.UTC().Format(time.RFC3339)}
	}
	return told, nil
}

// tellOwner makes whoever holds the lane look at once.
func (r *Runner) tellOwner(ctx context.Context, account uuid.UUID) {
	owner, err := r.store.LaneOwner(ctx, account)
	_ = r.woken(owner, err) // a poll finds what a lost poke misses
}
