package publish

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/sdk/metric"
	trace "go.opentelemetry.io/otel/trace/noop"

	"postbus.dev/deploy/testbed"
	"postbus.dev/migrations"
	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/limit"
	"postbus.dev/services/internal/postgres"
	"postbus.dev/services/internal/telemetry/telemetrytest"
	"postbus.dev/services/publisher/internal/job"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

// bench is a runner of one provider on one database.
type bench struct {
	t     *testing.T
	dsn   string // of the owner of the tables
	pool  *pgxpool.Pool
	loads atomic.Int64 // of lanes
	store *job.Store
	toy   *toy
	cfg   Config // of run
	run   *Runner
	meter *metric.ManualReader
	lane  *lane
}

func setup(t *testing.T) *bench {
	t.Helper()
	t.Parallel()
	b := &bench{t: t, dsn: testbed.Database(t), toy: newToy(t), meter: metric.NewManualReader()}
	pool, err := postgres.Open(t.Context(), postgres.Config{DSN: testbed.As(b.dsn, migrations.RolePublisher), MaxConns: 4})
	if err != nil {
		t.Fatal(err)
	}
	cfg := pool.Config()
	pool.Close()
	cfg.ConnConfig.Tracer = b
	if b.pool, err = pgxpool.NewWithConfig(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.pool.Close)
	if b.store, err = job.NewStore(job.Config{Pool: b.pool, Owner: uuid.New(), Ahead: 50 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.store.Close)
	b.cfg = Config{
		Store: b.store, Accounts: anyAccount{}, Directory: anyAccount{}, Gates: limit.NewGates(b.pool), Connectors: map[string]connectors.Publisher{"toy": b.toy},
		Poll: 20 * time.Millisecond, Hold: 200 * time.Millisecond,
		Logger: slog.New(slog.DiscardHandler), Tracer: trace.NewTracerProvider(), Meter: metric.NewMeterProvider(metric.WithReader(b.meter)),
	}
	b.run = b.runner(nil)
	return b
}

// runner is one with the bench's configuration, changed.
func (b *bench) runner(change func(*Config)) *Runner {
	b.t.Helper()
	cfg := b.cfg
	if change != nil {
		change(&cfg)
	}
	r, err := New(cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// TraceBatchStart, with the methods after it, makes the bench see the statements
// of its pool.
func (b *bench) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	return ctx
}

func (b *bench) TraceBatchQuery(_ context.Context, _ *pgx.Conn, q pgx.TraceBatchQueryData) {
	if strings.HasPrefix(strings.TrimSpace(q.SQL), "SELECT clock_timestamp(), p.id") {
		b.loads.Add(1)
	}
}

func (b *bench) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

func (b *bench) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

func (b *bench) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// publish is a request that is due now.
func publish(provider string, account uuid.UUID) *job.New {
	id, sum := uuid.New(), make([]byte, 32)
	return &job.New{Publish: job.Publish{
		ID: id, EventSource: "/test", EventID: id.String(), AccountID: account, UserID: uuid.New(), Provider: provider, MediaType: "TEXT",
		Request: []byte(`{"mediaType":"TEXT"}`), RequestSum: sum, ContentSum: sum, State: job.Accepted, Version: 1,
	}}
}

// accepted is a publish on whose lane nothing was done yet.
func (b *bench) accepted(provider string) *turn {
	b.t.Helper()
	n := publish(provider, uuid.Must(uuid.NewV7()))
	n.Want = true
	taken, err := b.store.Store(b.t.Context(), n)
	if err != nil {
		b.t.Fatal(err)
	}
	b.lane = newLane(b.run, taken.Publish.AccountID, taken.Fence, time.Now().Add(time.Minute))
	return b.turn(taken.Publish)
}

// armed is a publish whose call has been at the provider long enough to rest.
func (b *bench) armed(provider string) *turn {
	b.t.Helper()
	t := b.accepted(provider)
	tr := t.transition(job.Armed)
	tr.Lane, tr.Fence, tr.HasNext, tr.SendIn, tr.Settle = job.Arm, t.l.fence, true, time.Millisecond, time.Millisecond
	tr.Publish.Attempt = 1
	w, err := b.store.Write(b.t.Context(), tr)
	if err != nil || !w.Moved {
		b.t.Fatal("not armed", err)
	}
	turn := b.turn(w.Publish)
	<-time.After(time.Until(turn.local(w.Publish.QuietAt)))
	return turn
}

// refusals is how many alarms there were.
func (b *bench) refusals() int64 {
	b.t.Helper()
	return telemetrytest.Counted(b.t, b.meter, "postbus.publish.refused")
}

func (b *bench) turn(p job.Publish) *turn {
	c := clock{db: p.StepAt, here: time.Now()}
	it := newItem(p, c)
	t := &turn{l: b.lane, r: b.run, it: it, p: p, clock: c}
	t.start()
	return t
}

func (b *bench) now(id uuid.UUID) job.Publish {
	b.t.Helper()
	p, err := b.store.Get(b.t.Context(), id)
	if err != nil {
		b.t.Fatal(err)
	}
	return p
}
