package job

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/metric"

	"postbus.dev/services/internal/outbox"
	"postbus.dev/services/internal/postgres"
)

// Config says what a Store works with.
type Config struct {
	Pool    *pgxpool.Pool
	Service string        // whose outbox the events go to; "publisher"
	Owner   uuid.UUID     // this process; new for each start
	Lease   time.Duration // of a lane; 20 s
	Ahead   time.Duration // lanes are claimed this long before their time; 2 s
	Logger  *slog.Logger
	Meter   metric.MeterProvider // nil: no metrics
	// Wrote is called after a commit that appended events, so that the relay
	// need not wait for its poll.
	Wrote func()
}

// Store reads and writes publishes and lanes.
type Store struct {
	cfg    Config
	pool   *pgxpool.Pool
	writes *postgres.Group[*Transition, Written]
	intake *postgres.Group[*New, Taken]
	loads  *postgres.Group[Lane, Lane]
}

// NewStore checks cfg and starts the group writers; Close ends them.
func NewStore(cfg Config) (*Store, error) {
	if cfg.Pool == nil || cfg.Owner == uuid.Nil {
		return nil, errors.New("job store: Pool and Owner are required")
	}
	cfg.Service = cmp.Or(cfg.Service, "publisher")
	cfg.Lease = cmp.Or(cfg.Lease, 20*time.Second)
	cfg.Ahead = cmp.Or(cfg.Ahead, 2*time.Second)
	cfg.Logger = cmp.Or(cfg.Logger, slog.Default())
	if cfg.Wrote == nil {
		cfg.Wrote = func() {}
	}
	s := &Store{cfg: cfg, pool: cfg.Pool}
	var err error
	s.writes, err = postgres.NewGroup(postgres.GroupConfig[*Transition, Written]{
		Name: "publish_transitions", Flush: s.flush, Meter: cfg.Meter,
	})
	if err != nil {
		return nil, fmt.Errorf("job store: %w", err)
	}
	s.intake, err = postgres.NewGroup(postgres.GroupConfig[*New, Taken]{
		Name: "publish_intake", Max: 500, Writers: 1, Flush: s.flushIntake, Meter: cfg.Meter,
		Size: func(n *New) int { return len(n.Publish.Request) + 2048 },
	})
	if err != nil {
		return nil, fmt.Errorf("job store: %w", err)
	}
	s.loads, err = postgres.NewGroup(postgres.GroupConfig[Lane, Lane]{Name: "publish_loads", Max: 500, Flush: s.flushLoads, Meter: cfg.Meter})
	if err != nil {
		return nil, fmt.Errorf("job store: %w", err)
	}
	return s, nil
}

// Close waits for the writes that were begun.
func (s *Store) Close() {
	s.intake.Close()
	s.loads.Close()
	s.writes.Close()
}

// Lease is how long a lane is held without renewal.
func (s *Store) Lease() time.Duration { return s.cfg.Lease }

// Written is what a transition came to.
type Written struct {
	// Moved: the row is now as Publish says. Otherwise somebody else moved it, the
	// lane is lost or busy, a gate is closed or the time has not come: read again.
	Moved   bool
	Publish Publish
}

// Write moves one publish, together with whatever else waits. The error is
// about this transition alone, or the database is away.
func (s *Store) Write(ctx context.Context, t *Transition) (Written, error) {
	own, err := *t, error(nil)
	if !own.Publish.BlankedAt.IsZero() {
		own.blank()
	}
	if own.rows, err = rowsOf(t.Events); err != nil {
		return Written{}, err
	}
	return s.writes.Do(ctx, &own)
}

// eventRows are events as the outbox stores them. They are made before an
// operation joins a group: an event that cannot be stored concerns nobody else.
type eventRows struct {
	ids               [][16]byte
	streams, subjects []string
	bodies            [][]byte
}

func rowsOf(evs []event.Event) (r eventRows, err error) {
	if len(evs) == 0 {
		return r, nil
	}
	r.ids, r.streams, r.subjects, r.bodies, err = outbox.Rows(evs)
	return r, err
}

func (r *eventRows) add(more eventRows) {
	r.ids, r.streams = append(r.ids, more.ids...), append(r.streams, more.streams...)
	r.subjects, r.bodies = append(r.subjects, more.subjects...), append(r.bodies, more.bodies...)
}
