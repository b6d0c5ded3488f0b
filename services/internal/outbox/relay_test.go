package outbox_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/jackc/pgx/v5"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"postbus.dev/deploy/testbed"
	"postbus.dev/events"
	"postbus.dev/services/internal/bus"
	"postbus.dev/services/internal/outbox"
)

func TestEventsReachTheirStreamsInOrder(t *testing.T) {
	t.Parallel()
	b := setup(t)
	published, account := notified(t, 2500), refreshes(t, 20)
	b.append(published[:1]...)
	r, _ := b.relay(outbox.RelayConfig{})
	b.append(append(published[1:1200:1200], account[:10]...)...)
	r.Poke()
	b.append(account[10:]...)
	b.append(published[1200:]...)
	r.Poke()
	b.holds(events.StreamPublish, published...)
	b.holds(events.StreamAccount, account...)
	b.settled(events.StreamPublish, published[len(published)-1])
	b.settled(events.StreamAccount, account[len(account)-1])
	if _, seq := b.cursor(events.StreamPublish); seq != int64(len(published)) {
		t.Errorf("the cursor remembers sequence %d, want %d", seq, len(published))
	}
}

// Also where row-level security does not see to it.
func TestAnotherServicesRowsAreLeftToIt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.pool = b.openPool(b.admin)
	others, own := notified(t, 1), notified(t, 1)
	err := pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error {
		return outbox.Append(t.Context(), tx, "account", others...)
	})
	if err != nil {
		t.Fatal(err)
	}
	b.append(own...)
	b.relay(outbox.RelayConfig{})
	b.settled(events.StreamPublish, own[0])
	b.holds(events.StreamPublish, own...)
}

// A transaction that takes its place early and commits late.
func TestARowThatCommitsLateIsNotSkipped(t *testing.T) {
	t.Parallel()
	b := setupOn(t, testbed.Cluster(t).Database(t), testbed.NATS(t))
	r, _ := b.relay(outbox.RelayConfig{})
	first := notified(t, 1)
	b.append(first...)
	b.holds(events.StreamPublish, first...) // the relay is at work

	late, early := notified(t, 1), notified(t, 1)
	tx, err := b.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := outbox.Append(t.Context(), tx, service, late...); err != nil {
		t.Fatal(err)
	}
	b.append(early...)
	for range 20 { // time enough to send what must not be sent yet
		r.Poke()
		time.Sleep(20 * time.Millisecond)
	}
	if n := b.count(events.StreamPublish); n != 1 {
		t.Errorf("the stream holds %d events while an older transaction is open, want 1", n)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.holds(events.StreamPublish, first[0], late[0], early[0])
}

func TestAPokeReachesTheHolderFromAnyProcess(t *testing.T) {
	t.Parallel()
	b := setup(t)
	holder, _ := b.relay(outbox.RelayConfig{Poll: time.Hour})
	warm := notified(t, 1)
	b.append(warm...)
	b.eventually("the holder to work", func() bool { holder.Poke(); return b.count(events.StreamPublish) == 1 })
	b.settled(events.StreamPublish, warm[0])

	own := notified(t, 1)
	b.append(own...)
	holder.Poke()
	b.settled(events.StreamPublish, own[0])

	standby, _ := b.relay(outbox.RelayConfig{Poll: time.Hour, Pool: b.openPool(b.dsn), Bus: b.connect("standby")})
	others := notified(t, 1)
	b.append(others...)
	standby.Poke()
	b.settled(events.StreamPublish, others[0])
}

func TestThePollFindsWhatNobodyPokedFor(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.relay(outbox.RelayConfig{Poll: 10 * time.Millisecond})
	for range 3 {
		e := notified(t, 1)
		b.append(e...)
		b.settled(events.StreamPublish, e[0])
	}
}

// sends counts what goes through a bus.
type sends struct {
	outbox.Bus
	n atomic.Int64
}

func (s *sends) PublishBatch(ctx context.Context, stream string, evs []event.Event) (uint64, error) {
	s.n.Add(1)
	return s.Bus.PublishBatch(ctx, stream, evs)
}

func (s *sends) PublishOne(ctx context.Context, e event.Event) (uint64, bool, error) {
	s.n.Add(1)
	return s.Bus.PublishOne(ctx, e)
}

func TestOfTwoRelaysOneSendsAndTheOtherTakesOver(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one, two := &sends{Bus: b.bus}, &sends{Bus: b.connect("two")}
	first, stop := b.relay(outbox.RelayConfig{Bus: one})
	warm := notified(t, 1)
	b.append(warm...)
	b.settled(events.StreamPublish, warm[0])
	second, _ := b.relay(outbox.RelayConfig{Bus: two, Pool: b.openPool(b.dsn)})

	evs := notified(t, 300)
	for i := 0; i < len(evs); i += 10 {
		b.append(evs[i : i+10]...)
		first.Poke()
		second.Poke()
	}
	b.settled(events.StreamPublish, evs[len(evs)-1])
	if two.n.Load() != 0 {
		t.Fatalf("the standby sent %d times", two.n.Load())
	}
	stop()
	sent := one.n.Load()
	last := notified(t, 1)
	b.append(last...)
	b.settled(events.StreamPublish, last[0])
	if one.n.Load() != sent || two.n.Load() != 1 {
		t.Fatalf("after the take-over the first sent %d, the second %d", one.n.Load()-sent, two.n.Load())
	}
	b.holds(events.StreamPublish, append(append(warm, evs...), last...)...)
}

// Two relays start on an empty cursor at the same moment and fight for it.
func TestManyRelaysSendEachEventOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.forgetful(events.StreamPublish)
	evs := notified(t, 200)
	var wg sync.WaitGroup
	for range 3 {
		_, stop := b.relay(outbox.RelayConfig{Pool: b.openPool(b.dsn), Bus: b.connect("one of many")})
		wg.Go(func() {
			b.eventually("a third of the events", func() bool { return b.count(events.StreamPublish) >= 60 })
			stop()
		})
	}
	for i := range evs {
		b.append(evs[i])
	}
	wg.Wait()
	b.relay(outbox.RelayConfig{})
	b.holds(events.StreamPublish, evs...)
}

// The next holder should not have to read all that others wrote since the last
// event of a quiet stream.
func TestTheCursorOfAQuietStreamFollows(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.relay(outbox.RelayConfig{Upkeep: time.Millisecond, Poll: 10 * time.Millisecond})
	evs := notified(t, 1)
	b.append(evs...)
	b.settled(events.StreamPublish, evs[0])
	var before uint64
	if err := b.pool.QueryRow(t.Context(), "SELECT pg_current_xact_id()").Scan(&before); err != nil {
		t.Fatal(err)
	}
	var busy pgx.Batch
	for range 1100 {
		busy.Queue("BEGIN")
		busy.Queue("SELECT pg_current_xact_id()")
		busy.Queue("COMMIT")
	}
	if err := b.pool.SendBatch(t.Context(), &busy).Close(); err != nil {
		t.Fatal(err)
	}
	b.eventually("the cursor to follow", func() bool {
		var xid uint64
		if err := b.pool.QueryRow(t.Context(), "SELECT xid FROM outbox_cursors WHERE service = $1 AND stream = $2", service, events.StreamPublish).Scan(&xid); err != nil {
			t.Fatal(err)
		}
		return xid > before+500
	})
	next := notified(t, 1)
	b.append(next...)
	b.settled(events.StreamPublish, next[0])
	b.holds(events.StreamPublish, evs[0], next[0])
}

func TestTheSendShowsInTheTraceThatMadeTheEvent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	spans := tracetest.NewInMemoryExporter()
	conn, err := bus.Connect(t.Context(), bus.Config{URL: b.url, Name: "traced", Tracer: sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, n := range []int{1, 30} { // singly, and in a batch
		evs := notified(t, n)
		for i := range evs {
			evs[i].SetExtension(events.ExtTraceParent, fmt.Sprintf("00-%032x-%016x-01", n*100+i, i+1))
		}
		b.append(evs...)
		_, stop := b.relay(outbox.RelayConfig{Bus: conn})
		b.settled(events.StreamPublish, evs[n-1])
		stop()
		for i := range evs {
			trace := fmt.Sprintf("%032x", n*100+i)
			if !slices.ContainsFunc(spans.GetSpans(), func(s tracetest.SpanStub) bool {
				return s.SpanContext.TraceID().String() == trace && s.Parent.SpanID().String() == fmt.Sprintf("%016x", i+1)
			}) {
				t.Errorf("event %d of %d has no span in its trace", i, n)
			}
		}
	}
}
