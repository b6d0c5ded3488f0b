package publish

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/google/uuid"
	metric "go.opentelemetry.io/otel/metric/noop"
	trace "go.opentelemetry.io/otel/trace/noop"

	"postbus.dev/deploy/testbed"
	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/limit"
	"postbus.dev/services/internal/postgres"
	"postbus.dev/services/publisher/internal/job"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

type noAccounts struct{}

func (noAccounts) Load(context.Context, uuid.UUID) (Account, error) { return Account{}, ErrNoAccount }
func (noAccounts) Find(context.Context, Target) (Found, error)      { return Found{NotFound: true}, nil }

type bench struct {
	t     *testing.T
	store *job.Store
	run   *Runner
	lane  *lane
}

func setup(t *testing.T) *bench {
	t.Helper()
	t.Parallel()
	pool, err := postgres.Open(t.Context(), postgres.Config{DSN: testbed.Database(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	store, err := job.NewStore(job.Config{Pool: pool, Owner: uuid.New()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	run, err := New(Config{
		Store: store, Accounts: noAccounts{}, Directory: noAccounts{}, Gates: limit.NewGates(pool),
		Connectors: map[string]connectors.Publisher{"none": nil},
		Logger:     slog.New(slog.DiscardHandler), Tracer: trace.NewTracerProvider(), Meter: metric.NewMeterProvider(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return &bench{t: t, store: store, run: run}
}

// armed is a publish whose call has been at the provider long enough to rest.
func (b *bench) armed() *turn {
	b.t.Helper()
	account, id, sum := uuid.Must(uuid.NewV7()), uuid.New(), make([]byte, 32)
	taken, err := b.store.Store(b.t.Context(), &job.New{Want: true, Publish: job.Publish{
		ID: id, EventSource: "/test", EventID: id.String(), AccountID: account, UserID: uuid.New(), Provider: "gone", MediaType: "IMAGE",
		Request: []byte(`{}`), RequestSum: sum, ContentSum: sum, State: job.Accepted, Version: 1,
	}})
	if err != nil {
		b.t.Fatal(err)
	}
	tr := &job.Transition{Publish: taken.Publish, Lane: job.Arm, Fence: taken.Fence, HasNext: true, SendIn: time.Millisecond, Settle: time.Millisecond}
	tr.Publish.State, tr.Publish.Attempt = job.Armed, 1
	w, err := b.store.Write(b.t.Context(), tr)
	if err != nil || !w.Moved {
		b.t.Fatal("not armed", err)
	}
	b.lane = newLane(b.run, account, taken.Fence, time.Now().Add(time.Minute))
	return b.turn(w.Publish)
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

func TestALostAnswerDoesNotTakeBackWhatWasReported(t *testing.T) {
	b := setup(t)
	stalled := b.armed()
	other := b.turn(stalled.p)
	other.unclear(t.Context(), connectors.Found{Evidence: "looked for long enough"})
	if s := b.now(stalled.p.ID).State; s != job.Unconfirmed {
		t.Fatalf("%s, want unconfirmed", s)
	}
	stalled.lost(t.Context(), &connectors.Error{Message: "timed out"})
	if s := b.now(stalled.p.ID).State; s != job.Unconfirmed {
		t.Errorf("%s, want unconfirmed still: it would be reported once more", s)
	}
}

func TestWhatWasAtTheProviderHasNotFailedForWantOfItsConnector(t *testing.T) {
	b := setup(t)
	turn := b.armed()
	for range 100 {
		turn.run()
		if p := b.now(turn.p.ID); p.State == job.Unconfirmed {
			return
		} else if p.State.Ended() {
			t.Fatalf("%s, although nobody knows", p.State)
		}
		turn = b.turn(turn.p)
	}
	t.Fatalf("%s, want unconfirmed", turn.p.State)
}

func TestAnAnswerThatTheDatabaseWouldRefuseIsStored(t *testing.T) {
	b := setup(t)
	turn := b.armed()
	turn.complete(t.Context(), &connectors.RemotePost{ID: "1", Caption: "a\x00b", Metadata: []byte(`{"x":"\u0000"}`)}, nil, nil)
	if s := b.now(turn.p.ID).State; s != job.Completed {
		t.Errorf("%s, want completed", s)
	}
}
