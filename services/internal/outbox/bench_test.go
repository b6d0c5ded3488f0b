package outbox_test

import (
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"postbus.dev/deploy/testbed"
	natsbed "postbus.dev/deploy/testbed/nats"
	"postbus.dev/events"
	"postbus.dev/services/internal/outbox"
)

func setupDurable(b *testing.B) *bed {
	b.Helper()
	return setupOn(b, testbed.Database(b), testbed.NATSServer(b, natsbed.Config{SyncAlways: true}).URL())
}

// BenchmarkDrain relays rows that wait, to a stream that flushes each write.
func BenchmarkDrain(b *testing.B) {
	const rows = 20_000
	var sum time.Duration
	for b.Loop() {
		b.StopTimer()
		bed := setupDurable(b)
		evs := notified(b, rows)
		for part := range slices.Chunk(evs, 500) {
			bed.append(part...)
		}
		b.StartTimer()
		start := time.Now()
		_, stop := bed.relay(outbox.RelayConfig{})
		bed.settled(events.StreamPublish, evs[rows-1])
		sum += time.Since(start)
		stop()
	}
	b.ReportMetric(float64(rows)*float64(b.N)/sum.Seconds(), "events/s")
}

// BenchmarkLatency measures from the commit to a consumer of the stream, at
// thirty transactions a second, the stream flushing each write.
func BenchmarkLatency(b *testing.B) {
	bed := setupDurable(b)
	r, _ := bed.relay(outbox.RelayConfig{})
	consumer, err := bed.js.OrderedConsumer(b.Context(), events.StreamPublish, jetstream.OrderedConsumerConfig{})
	if err != nil {
		b.Fatal(err)
	}
	arrived := make(chan time.Time, 1)
	consuming, err := consumer.Consume(func(jetstream.Msg) { arrived <- time.Now() })
	if err != nil {
		b.Fatal(err)
	}
	defer consuming.Stop()
	var all []time.Duration
	tick := time.NewTicker(time.Second / 30)
	defer tick.Stop()
	for b.Loop() {
		<-tick.C
		evs := notified(b, 1)
		tx, err := bed.pool.Begin(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if err := outbox.Append(b.Context(), tx, service, evs...); err != nil {
			b.Fatal(err)
		}
		if err := tx.Commit(b.Context()); err != nil {
			b.Fatal(err)
		}
		committed := time.Now()
		r.Poke()
		all = append(all, (<-arrived).Sub(committed))
	}
	slices.Sort(all)
	b.ReportMetric(ms(all[len(all)/2]), "p50-ms")
	b.ReportMetric(ms(all[len(all)*99/100]), "p99-ms")
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
