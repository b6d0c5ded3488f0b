package bus

import (
	"context"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"postbus.dev/events"
)

// BenchmarkSubscriber drains a backlog with 512 slots. The CPU time is that of
// the whole process, the server included.
func BenchmarkSubscriber(b *testing.B) {
	b.Run("empty handler", func(b *testing.B) {
		benchmark(b, func(context.Context, event.Event) error { return nil })
	})
	b.Run("handler that waits 10 ms", func(b *testing.B) { // as for a grouped write
		benchmark(b, func(context.Context, event.Event) error {
			time.Sleep(10 * time.Millisecond)
			return nil
		})
	})
}

func benchmark(b *testing.B, handle func(context.Context, event.Event) error) {
	bus := connect(b, quick(startServer(b).URL()))
	for sent := 0; sent < b.N; sent += MaxBatch {
		evs := requests(fmt.Sprint("r-", sent), min(MaxBatch, b.N-sent))
		if _, err := bus.PublishBatch(b.Context(), events.StreamPublish, evs); err != nil {
			b.Fatal(err)
		}
	}
	var n atomic.Int64
	done := make(chan struct{})
	h := Handler{Consumer: events.ConsumerPublisher, Concurrency: 512, Handle: func(ctx context.Context, e event.Event) error {
		defer func() {
			if n.Add(1) == int64(b.N) {
				close(done)
			}
		}()
		return handle(ctx, e)
	}}
	b.ReportAllocs()
	b.ResetTimer()
	cpu := cpuTime(b)
	stop := run(b, bus, h)
	<-done
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	b.ReportMetric(float64((cpuTime(b)-cpu).Microseconds())/float64(b.N), "cpu-µs/msg")
	stop()
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
