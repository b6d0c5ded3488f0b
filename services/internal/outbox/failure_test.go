package outbox_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"postbus.dev/deploy/testbed"
	natsbed "postbus.dev/deploy/testbed/nats"
	"postbus.dev/events"
	"postbus.dev/services/internal/outbox"
)

// die ends the database sessions of a relay and makes its process stop there.
func (b *bed) die() {
	b.operate(`SELECT pg_terminate_backend(pid) FROM pg_locks
WHERE locktype = 'advisory' AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND pid <> pg_backend_pid()`)
}

func TestADeathBetweenAckAndCursorSendsNothingTwice(t *testing.T) {
	t.Parallel()
	for name, n := range map[string]int{"single": 1, "batch": 50} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			forget := b.forgetful(events.StreamPublish)
			evs := notified(t, n)
			b.append(evs...)

			died, end := make(chan struct{}), make(chan struct{})
			var hits atomic.Int32
			_, stop := b.relay(outbox.RelayConfig{Failpoint: func(name string) {
				if name == "relay.after_ack" && hits.Add(1) == 1 {
					b.die()
					close(died)
					<-end
				}
			}})
			<-died
			forget()
			if id, _ := b.cursor(events.StreamPublish); id.String() == evs[n-1].ID() {
				t.Fatal("the cursor had moved before the death")
			}
			close(end)
			stop()

			b.relay(outbox.RelayConfig{})
			b.settled(events.StreamPublish, evs[n-1])
			b.holds(events.StreamPublish, evs...)
		})
	}
}

// The failpoints stand where the crash windows are.
func TestFailpointsStandAroundAckAndCursor(t *testing.T) {
	t.Parallel()
	b := setup(t)
	evs := notified(t, 1)
	seen := make(chan string, 100)
	b.relay(outbox.RelayConfig{Failpoint: func(name string) {
		id, _ := b.cursor(events.StreamPublish)
		state := name
		if b.count(events.StreamPublish) == 1 {
			state += " stored"
		}
		if id.String() == evs[0].ID() {
			state += " moved"
		}
		seen <- state
	}})
	b.append(evs...)
	for _, want := range []string{"relay.before_send", "relay.after_ack stored", "relay.after_cursor stored moved"} {
		if got := <-seen; got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
}

func TestABatchWithAKnownEventIsSentOneByOne(t *testing.T) {
	t.Parallel()
	for name, after := range map[string]bool{
		"which a look at the stream finds":      true,
		"which only the server remembers still": false,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			evs, marks := notified(t, 40), notified(t, 2)
			known := evs[17]
			if !after {
				publish(t, b, known)
			}
			b.relay(outbox.RelayConfig{})
			for _, mark := range marks { // with the second, nothing is left of the relay's first look
				b.append(mark)
				b.settled(events.StreamPublish, mark)
			}
			if after {
				publish(t, b, known)
			}
			b.append(evs...)
			b.settled(events.StreamPublish, evs[len(evs)-1])
			rest := append(append([]event.Event{}, evs[:17]...), evs[18:]...)
			if after {
				b.holds(events.StreamPublish, append([]event.Event{marks[0], marks[1], known}, rest...)...)
			} else {
				b.holds(events.StreamPublish, append([]event.Event{known, marks[0], marks[1]}, rest...)...)
			}
		})
	}
}

func publish(t *testing.T, b *bed, e event.Event) {
	t.Helper()
	if _, _, err := b.bus.PublishOne(t.Context(), e); err != nil {
		t.Fatal(err)
	}
}

// deaf loses the answers to what it sends.
type deaf struct {
	outbox.Bus
	lost atomic.Int32
}

var errLost = errors.New("the answer got lost")

func (d *deaf) PublishBatch(ctx context.Context, stream string, evs []event.Event) (uint64, error) {
	seq, err := d.Bus.PublishBatch(ctx, stream, evs)
	if err == nil && d.lost.Add(1) < 3 {
		return 0, errLost
	}
	return seq, err
}

func (d *deaf) PublishOne(ctx context.Context, e event.Event) (uint64, bool, error) {
	seq, duplicate, err := d.Bus.PublishOne(ctx, e)
	if err == nil && d.lost.Add(1) < 3 {
		return 0, false, errLost
	}
	return seq, duplicate, err
}

func TestALostAnswerSendsNothingTwice(t *testing.T) {
	t.Parallel()
	for name, n := range map[string]int{"single": 2, "batch": 50} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			forget := b.forgetful(events.StreamPublish)
			slow := &deaf{Bus: forgetting{b.bus, forget}}
			evs := notified(t, n)
			b.append(evs...)
			b.relay(outbox.RelayConfig{Bus: slow})
			b.settled(events.StreamPublish, evs[n-1])
			b.holds(events.StreamPublish, evs...)
			if slow.lost.Load() == 0 {
				t.Fatal("no answer was lost")
			}
		})
	}
}

// forgetting lets the duplicate window pass before each look at the stream.
type forgetting struct {
	outbox.Bus
	forget func()
}

func (f forgetting) IDsAfter(ctx context.Context, stream string, seq uint64) (map[string]uint64, uint64, error) {
	f.forget()
	return f.Bus.IDsAfter(ctx, stream, seq)
}

func TestNothingIsLostOrReorderedWhileTheBusIsAway(t *testing.T) {
	t.Parallel()
	server := testbed.NATSServer(t, natsbed.Config{})
	b := setupOn(t, testbed.Database(t), server.URL())
	r, _ := b.relay(outbox.RelayConfig{})
	evs := notified(t, 400)
	for i := 0; i < len(evs); i += 4 {
		switch i {
		case 100, 260:
			server.Stop()
		case 160, 300:
			if err := server.Start(); err != nil {
				t.Fatal(err)
			}
		}
		b.append(evs[i : i+4]...)
		r.Poke()
	}
	b.settled(events.StreamPublish, evs[len(evs)-1])
	b.holds(events.StreamPublish, evs...)
}

func TestNothingIsLostOrDoubledWhenTheDatabaseCrashes(t *testing.T) {
	t.Parallel()
	cluster := testbed.Cluster(t)
	b := setupOn(t, cluster.Database(t), testbed.NATS(t))
	b.forgetful(events.StreamPublish)
	r, _ := b.relay(outbox.RelayConfig{})
	var all []event.Event
	for range 3 {
		for range 20 {
			evs := notified(t, 5)
			b.append(evs...)
			r.Poke()
			all = append(all, evs...)
		}
		b.eventually("the stream to have them", func() bool { return b.count(events.StreamPublish) == len(all) })
		if err := cluster.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := cluster.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.eventually("the database", func() bool { return b.pool.Ping(t.Context()) == nil })
	}
	last := notified(t, 1)
	b.append(last...)
	b.settled(events.StreamPublish, last[0])
	b.holds(events.StreamPublish, append(all, last...)...)
}

func TestAStreamThatRefusesHoldsUpOnlyItselfAndRaisesTheAlarm(t *testing.T) {
	t.Parallel()
	b := setup(t)
	if err := b.js.DeleteStream(t.Context(), events.StreamAccount); err != nil {
		t.Fatal(err)
	}
	reader := metric.NewManualReader()
	b.relay(outbox.RelayConfig{Upkeep: 10 * time.Millisecond, Meter: metric.NewMeterProvider(metric.WithReader(reader))})
	stuck, others := refreshes(t, 7), notified(t, 5)
	b.append(stuck...)
	b.append(others...)
	b.holds(events.StreamPublish, others...)
	b.eventually("the lag to show", func() bool { return value(t, reader, "postbus.outbox.lag.rows") == int64(len(stuck)) })
	b.eventually("failures to count", func() bool { return value(t, reader, "postbus.outbox.failures") > 0 })

	if err := b.bus.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.holds(events.StreamAccount, stuck...)
	b.eventually("the lag to end", func() bool { return value(t, reader, "postbus.outbox.lag.rows") == 0 })
}

// value sums up a metric over all streams.
func value(t *testing.T, r *metric.ManualReader, name string) (sum int64) {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := r.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if m.Name != name {
				continue
			}
			switch data := m.Data.(type) {
			case metricdata.Gauge[int64]:
				for _, p := range data.DataPoints {
					sum += p.Value
				}
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					sum += p.Value
				}
			}
		}
	}
	return sum
}

func TestACursorOfAnotherClusterMovesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	if _, err := b.pool.Exec(t.Context(), `INSERT INTO outbox_cursors (service, stream, xid, id, system_identifier)
VALUES ($1, $2, '0', '00000000-0000-0000-0000-000000000000', 1)`, service, events.StreamPublish); err != nil {
		t.Fatal(err)
	}
	reader := metric.NewManualReader()
	b.relay(outbox.RelayConfig{Meter: metric.NewMeterProvider(metric.WithReader(reader))})
	evs := notified(t, 3)
	b.append(evs...)
	b.eventually("failures", func() bool { return value(t, reader, "postbus.outbox.failures") >= 3 })
	if n := b.count(events.StreamPublish); n != 0 {
		t.Fatalf("%d events were sent", n)
	}
}

func TestTheRelayLooksAfterThePartitions(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ahead := "outbox_" + time.Now().UTC().AddDate(0, 0, 5).Format("20060102")
	past := time.Now().UTC().AddDate(0, 0, -20)
	for _, sql := range []string{
		"DROP TABLE " + ahead,
		"CREATE TABLE outbox_old PARTITION OF outbox FOR VALUES FROM ('" + past.Format(time.DateOnly) + "Z') TO ('" + past.AddDate(0, 0, 1).Format(time.DateOnly) + "Z')",
	} {
		b.operate(sql)
	}
	exists := func(table string) (ok bool) {
		if err := b.pool.QueryRow(t.Context(), "SELECT to_regclass($1) IS NOT NULL", table).Scan(&ok); err != nil {
			t.Fatal(err)
		}
		return ok
	}
	b.relay(outbox.RelayConfig{})
	b.eventually("the missing partition", func() bool { return exists(ahead) })
	b.eventually("the old partition to go", func() bool { return !exists("outbox_old") })
}
