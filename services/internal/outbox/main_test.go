package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"postbus.dev/deploy/testbed"
	"postbus.dev/events"
	"postbus.dev/migrations"
	"postbus.dev/services/internal/bus"
	"postbus.dev/services/internal/outbox"
	"postbus.dev/services/internal/postgres"
)

const service = "publisher"

func TestMain(m *testing.M) {
	if os.Getenv(pausedEnv) != "" {
		os.Exit(pausedRelay())
	}
	// A NATS server that is stopped amid an atomic batch forgets the loops of the
	// store that it had made for it.
	os.Exit(testbed.Main(m,
		goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server.(*fileStore).flushStreamStateLoop"),
		goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server.(*msgBlock).flushLoop"),
		goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1")))
}

// bed is a database and a bus with the declared streams. The relay and who
// appends log in as the service's role.
type bed struct {
	t     testing.TB
	admin string // DSN of the superuser
	dsn   string // of the role
	url   string
	pool  *pgxpool.Pool
	bus   *bus.Bus
	js    jetstream.JetStream
}

func setup(t testing.TB) *bed {
	t.Helper()
	return setupOn(t, testbed.Database(t), testbed.NATS(t))
}

func setupOn(t testing.TB, dsn, url string) *bed {
	t.Helper()
	b := &bed{t: t, admin: dsn, dsn: testbed.As(dsn, migrations.RolePublisher), url: url}
	b.pool = b.openPool(b.dsn)
	b.bus = b.connect(t.Name())
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if b.js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	if err := b.bus.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bed) openPool(dsn string) *pgxpool.Pool {
	b.t.Helper()
	pool, err := postgres.Open(b.t.Context(), postgres.Config{DSN: dsn, Name: b.t.Name(), MaxConns: 4})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(pool.Close)
	return pool
}

// operate does what an operator does.
func (b *bed) operate(sql string, args ...any) {
	b.t.Helper()
	conn, err := pgx.Connect(context.Background(), b.admin)
	if err != nil {
		b.t.Fatal(err)
	}
	_, err = conn.Exec(context.Background(), sql, args...)
	if err := errors.Join(err, conn.Close(context.Background())); err != nil {
		b.t.Fatalf("%s: %v", sql, err)
	}
}

func (b *bed) connect(name string) *bus.Bus {
	b.t.Helper()
	conn, err := bus.Connect(b.t.Context(), bus.Config{URL: b.url, Name: name, PublishTimeout: 2 * time.Second})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		if err := conn.Close(context.Background()); err != nil {
			b.t.Errorf("close bus: %v", err)
		}
	})
	b.eventually("connection", conn.Connected)
	return conn
}

// forgetful makes the stream remember Nats-Msg-Ids for the shortest time that
// the server takes, and returns a function that waits until they are forgotten.
func (b *bed) forgetful(stream string) (forget func()) {
	b.t.Helper()
	const window = 100 * time.Millisecond
	s, err := b.js.Stream(b.t.Context(), stream)
	if err != nil {
		b.t.Fatal(err)
	}
	config := s.CachedInfo().Config
	config.Duplicates = window
	if _, err := b.js.UpdateStream(b.t.Context(), config); err != nil {
		b.t.Fatal(err)
	}
	return func() { time.Sleep(3 * window) }
}

// relay runs a relay until the test ends or stop is called.
func (b *bed) relay(c outbox.RelayConfig) (r *outbox.Relay, stop func()) {
	b.t.Helper()
	if c.Pool == nil {
		c.Pool = b.pool
	}
	if c.Bus == nil {
		c.Bus = b.bus
	}
	c.Service = service
	if c.Logger == nil {
		c.Logger = slog.New(slog.NewTextHandler(b.t.Output(), nil))
	}
	r, err := outbox.NewRelay(c)
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Errorf("relay: %v", err)
		}
	})
	b.t.Cleanup(stop)
	return r, stop
}

// append writes evs in one transaction.
func (b *bed) append(evs ...event.Event) {
	b.t.Helper()
	err := pgx.BeginFunc(b.t.Context(), b.pool, func(tx pgx.Tx) error {
		return outbox.Append(b.t.Context(), tx, service, evs...)
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// stored is what a stream holds, in its order.
func (b *bed) stored(stream string) []event.Event {
	b.t.Helper()
	s, err := b.js.Stream(b.t.Context(), stream)
	if err != nil {
		return nil // the server is away
	}
	info, err := s.Info(b.t.Context())
	if err != nil || info.State.Msgs == 0 {
		return nil
	}
	c, err := s.OrderedConsumer(b.t.Context(), jetstream.OrderedConsumerConfig{})
	if err != nil {
		b.t.Fatal(err)
	}
	messages, err := c.Messages()
	if err != nil {
		b.t.Fatal(err)
	}
	defer messages.Stop()
	var all []event.Event
	for seq := uint64(0); seq < info.State.LastSeq; {
		m, err := messages.Next(jetstream.NextMaxWait(10 * time.Second))
		if err != nil {
			b.t.Fatal(err)
		}
		md, err := m.Metadata()
		if err != nil {
			b.t.Fatal(err)
		}
		e, err := events.Decode(&nats.Msg{Subject: m.Subject(), Header: m.Headers(), Data: m.Data()})
		if err != nil {
			b.t.Fatal(err)
		}
		all, seq = append(all, e), md.Sequence.Stream
	}
	return all
}

func (b *bed) count(stream string) int {
	b.t.Helper()
	s, err := b.js.Stream(b.t.Context(), stream)
	if err != nil {
		return -1
	}
	return int(s.CachedInfo().State.Msgs)
}

// holds waits until the stream has as many events as want, and checks that it
// holds those, in that order.
func (b *bed) holds(stream string, want ...event.Event) {
	b.t.Helper()
	b.eventually(fmt.Sprintf("%d events in %s", len(want), stream), func() bool { return b.count(stream) >= len(want) })
	b.same(b.stored(stream), want)
}

func (b *bed) same(got, want []event.Event) {
	b.t.Helper()
	if g, w := ids(got), ids(want); !slices.Equal(g, w) {
		b.t.Fatalf("the stream holds %d events, want %d:\n%s", len(g), len(w), diff(g, w))
	}
}

func diff(got, want []string) string {
	var out []string
	for i := range max(len(got), len(want)) {
		g, w := at(got, i), at(want, i)
		if g != w && len(out) < 5 {
			out = append(out, fmt.Sprintf("  %d: %s, want %s", i, g, w))
		}
	}
	return strings.Join(out, "\n")
}

func at(s []string, i int) string {
	if i < len(s) {
		return s[i]
	}
	return "nothing"
}

func ids(evs []event.Event) []string {
	out := make([]string, len(evs))
	for i, e := range evs {
		out[i] = e.ID()
	}
	return out
}

// cursor returns where the database says the relay is.
func (b *bed) cursor(stream string) (id uuid.UUID, seq int64) {
	b.t.Helper()
	err := b.pool.QueryRow(b.t.Context(), "SELECT id, stream_seq FROM outbox_cursors WHERE service = $1 AND stream = $2", service, stream).Scan(&id, &seq)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		b.t.Fatal(err)
	}
	return id, seq
}

// settled waits until the cursor is at the event.
func (b *bed) settled(stream string, e event.Event) {
	b.t.Helper()
	b.eventually("cursor at "+e.ID(), func() bool {
		id, _ := b.cursor(stream)
		return id.String() == e.ID()
	})
}

func (b *bed) eventually(what string, f func() bool) {
	b.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !f(); {
		if time.Now().After(deadline) {
			b.t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// notified makes n events of one subject for PUBLISH.
func notified(t testing.TB, n int) []event.Event {
	t.Helper()
	return made(t, n, events.PublishProviderNotified{AccountID: uuid.NewString(), Provider: "instagram", Handle: "17", Kind: "container"})
}

// refreshes makes n events for ACCOUNT.
func refreshes(t testing.TB, n int) []event.Event {
	t.Helper()
	return made(t, n, events.TokenRefreshRequested{AccountID: uuid.NewString(), Provider: "instagram", TokenVersion: 1})
}

func made(t testing.TB, n int, d events.Data) []event.Event {
	t.Helper()
	all := make([]event.Event, n)
	for i := range all {
		e, err := events.New(events.Meta{Source: "/postbus/publisher", Subject: "s", Sequence: int64(i + 1)}, d)
		if err != nil {
			t.Fatal(err)
		}
		all[i] = e
	}
	return all
}
