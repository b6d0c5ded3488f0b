package oauthaccount

import (
	"context"
	"errors"
	"fmt"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/jackc/pgx/v5"

	"postbus.dev/events"
	"postbus.dev/services/internal/outbox"
	"postbus.dev/services/internal/telemetry"
)

// change runs f in a transaction and appends the events that it returns, which
// are those of the rows that it has changed.
func (s *Store) change(ctx context.Context, f func(tx pgx.Tx) ([]event.Event, error)) error {
	if err := s.writes(); err != nil {
		return err
	}
	told := false
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		evs, err := f(tx)
		if err != nil || len(evs) == 0 {
			return err
		}
		told = true
		return outbox.Append(ctx, tx, s.cfg.Service, evs...)
	})
	if err == nil && told {
		s.cfg.Wrote()
	}
	return err
}

// writes is an error of a store that only reads.
func (s *Store) writes() error {
	if s.cfg.Service == "" {
		return errors.New("this store only reads: it was made without a service")
	}
	return nil
}

// tell makes the events of a change that left a as it is. The last of them has
// a's version as its sequence, and those before it the versions before.
func (s *Store) tell(ctx context.Context, a Account, all ...events.Data) ([]event.Event, error) {
	evs := make([]event.Event, len(all))
	for i, d := range all {
		parent, state := telemetry.TraceContext(ctx)
		e, err := events.New(events.Meta{
			Source: "/postbus/" + s.cfg.Service, Subject: a.ID.String(), PartitionKey: a.ID.String(),
			Sequence: a.Version - int64(len(all)-1-i), TraceParent: parent, TraceState: state,
		}, d)
		if err != nil {
			return nil, fmt.Errorf("make %s: %w", d.EventType(), err)
		}
		evs[i] = e
	}
	return evs, nil
}

func (a Account) ref() events.AccountRef {
	return events.AccountRef{AccountID: a.ID.String(), Provider: a.Provider}
}

func (a Account) owner() events.AccountOwner {
	return events.AccountOwner{AccountRef: a.ref(), UserID: a.UserExternalID}
}
