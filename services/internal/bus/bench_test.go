package bus

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
)

// BenchmarkSubscriber drains a backlog with a handler that does nothing.
func BenchmarkSubscriber(b *testing.B) {
	s := startServer(b)
	bus := connect(b, quick(s.URL()))
	for sent := 0; sent < b.N; sent += MaxBatch {
		if _, err := bus.PublishBatch(b.Context(), "PUBLISH", requests(fmt.Sprint(b.N, "-", sent), min(MaxBatch, b.N-sent))); err != nil {
			b.Fatal(err)
		}
	}
	var n atomic.Int64
	done := make(chan struct{})
	b.ResetTimer()
	stop := run(b, bus, Handler{Consumer: "publisher", Concurrency: 512, Handle: func(context.Context, event.Event) error {
		if n.Add(1) == int64(b.N) {
			close(done)
		}
		return nil
	}})
	<-done
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	stop()
}
