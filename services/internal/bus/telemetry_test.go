package bus

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"postbus.dev/events"
)

const (
	creationTrace = "0af7651916cd43dd8448eb211c80319c"
	creationSpan  = "b7ad6b7169203331"
)

// traced is a bus whose spans can be read.
func traced(t *testing.T) (*Bus, *tracetest.SpanRecorder) {
	t.Helper()
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	t.Cleanup(func() { _ = provider.Shutdown(context.Background()) })
	c := quick(startServer(t).URL())
	c.Tracer = provider
	return connect(t, c), spans
}

// madeIn is an event that was made in a trace.
func madeIn(id, traceparent string) event.Event {
	e := request(id)
	e.SetExtension(events.ExtTraceParent, traceparent)
	return e
}

func TestOneTraceRunsFromTheFirstProducerToTheHandler(t *testing.T) {
	t.Parallel()
	for name, publish := range map[string]func(*Bus, context.Context, event.Event) error{
		"send": (*Bus).Send,
		"one": func(b *Bus, ctx context.Context, e event.Event) error {
			_, _, err := b.PublishOne(ctx, e)
			return err
		},
		"batch": func(b *Bus, ctx context.Context, e event.Event) error {
			_, err := b.PublishBatch(ctx, events.StreamPublish, append(requests("other", 3), e))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, spans := traced(t)
			inside := make(chan trace.SpanContext, 10)
			run(t, b, publisher(func(ctx context.Context, e event.Event) error {
				if e.ID() == "r-1" {
					inside <- trace.SpanContextFromContext(ctx)
				}
				return nil
			}))
			ctx, relay := b.tracer.Start(t.Context(), "relay")
			if err := publish(b, ctx, madeIn("r-1", "00-"+creationTrace+"-"+creationSpan+"-01")); err != nil {
				t.Fatal(err)
			}
			relay.End()
			process := <-inside
			var sent, handled sdktrace.ReadOnlySpan
			eventually(t, "spans", func() bool {
				sent, handled = spanOf(spans, "send publish.requested", "r-1"), spanOf(spans, "process publish.requested", "r-1")
				return sent != nil && handled != nil
			})
			if process.TraceID().String() != creationTrace || process.SpanID() != handled.SpanContext().SpanID() {
				t.Errorf("the handler runs in %s", process.TraceID())
			}
			if handled.Parent().SpanID().String() != creationSpan || handled.SpanKind() != trace.SpanKindConsumer {
				t.Errorf("parent %s, kind %s", handled.Parent().SpanID(), handled.SpanKind())
			}
			if l := handled.Links(); len(l) != 1 || l[0].SpanContext.SpanID() != sent.SpanContext().SpanID() {
				t.Errorf("links of the handling: %v", l)
			}
			if sent.SpanContext().TraceID().String() != creationTrace || sent.SpanKind() != trace.SpanKindProducer || len(sent.Links()) != 1 {
				t.Errorf("send: trace %s, kind %s, links %v", sent.SpanContext().TraceID(), sent.SpanKind(), sent.Links())
			}
			for key, want := range map[attribute.Key]string{
				"messaging.system": "nats", "messaging.operation.type": "process", "messaging.destination.name": "publish.requested",
				"messaging.destination.subscription.name": "publisher", "messaging.message.id": "r-1", "cloudevents.event_source": "/test",
			} {
				if got := attributeOf(handled, key); got != want {
					t.Errorf("%s is %q", key, got)
				}
			}
		})
	}
}

func TestALargeBatchHasOneSpanWithLinks(t *testing.T) {
	t.Parallel()
	b, spans := traced(t)
	evs := make([]event.Event, maxEventSpans+1)
	for i := range evs {
		evs[i] = madeIn(fmt.Sprint("r-", i), fmt.Sprintf("00-%032x-%s-01", i%3+1, creationSpan))
	}
	mustPublish(t, b, evs...)
	ended := spans.Ended()
	if len(ended) != 1 || ended[0].Name() != "send PUBLISH" || len(ended[0].Links()) != 3 {
		t.Fatalf("%d spans, first %+v", len(ended), ended[0])
	}
	if got := attributeOf(ended[0], "messaging.batch.message_count"); got != fmt.Sprint(len(evs)) {
		t.Errorf("count %s", got)
	}
}

func TestAnEventWithoutACreationContextContinuesItsHop(t *testing.T) {
	t.Parallel()
	b, spans := traced(t)
	run(t, b, publisher(newDatabase().insert))
	m, err := events.Encode(request("r-1"))
	if err != nil {
		t.Fatal(err)
	}
	m.Header["Traceparent"] = []string{"00-" + creationTrace + "-" + creationSpan + "-01"} // as net/http's carrier writes it
	if _, err := b.js.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	eventually(t, "span", func() bool { return spanOf(spans, "process publish.requested", "r-1") != nil })
	s := spanOf(spans, "process publish.requested", "r-1")
	if s.Parent().SpanID().String() != creationSpan || len(s.Links()) != 0 {
		t.Errorf("parent %s, links %v", s.Parent().SpanID(), s.Links())
	}
}

func TestAFailureIsAnErrorOfItsSpan(t *testing.T) {
	t.Parallel()
	b, spans := traced(t)
	run(t, b, publisher(func(context.Context, event.Event) error { return Reject("bad", nil) }))
	mustPublish(t, b, request("r-1"))
	eventually(t, "span", func() bool { return spanOf(spans, "process publish.requested", "r-1") != nil })
	s := spanOf(spans, "process publish.requested", "r-1")
	if s.Status().Code != codes.Error || attributeOf(s, "error.type") != "dead_letter" {
		t.Errorf("status %v, attributes %v", s.Status(), s.Attributes())
	}
}

func TestMetricsCountWhatBecameOfEvents(t *testing.T) {
	t.Parallel()
	reader := sdkmetric.NewManualReader()
	c := quick(startServer(t).URL())
	c.Meter = sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	b := connect(t, c)
	release, inHand := make(chan struct{}), make(chan struct{})
	db := newDatabase()
	run(t, b, publisher(func(ctx context.Context, e event.Event) error {
		switch e.ID() {
		case "failing":
			return errors.New("bad data")
		case "rejected":
			return Reject("never", nil)
		case "slow":
			close(inHand)
			<-release
		}
		return db.insert(ctx, e)
	}))
	mustPublish(t, b, append(requests("r", 10), request("failing"), request("rejected"), request("slow"))...)
	<-inHand
	awaitDeadLetters(t, b, 2)
	eventually(t, "others handled", func() bool { return db.got.len() == 10 && consumerInfo(t, b).NumAckPending == 1 })

	want := map[string]int64{
		"postbus.bus.handled{done}":                  10,
		"postbus.bus.handled{failed}":                MaxFailures - 1,
		"postbus.bus.handled{dead_letter}":           2,
		"postbus.bus.dead_letters{failed too often}": 1,
		"postbus.bus.dead_letters{rejected}":         1,
		"postbus.bus.redeliveries{}":                 MaxFailures - 1,
		"postbus.bus.in_flight{}":                    1,
		"messaging.process.duration{done}":           10,
		"messaging.client.sent.messages{}":           13,
	}
	for name, n := range want {
		if got := collect(t, reader)[name]; got != n {
			t.Errorf("%s is %d, want %d", name, got, n)
		}
	}
	close(release)
}

// collect reads the counters, histogram counts and gauges by name and the one
// attribute that tells them apart.
func collect(t *testing.T, r sdkmetric.Reader) map[string]int64 {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := r.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	got := map[string]int64{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					got[m.Name+"{"+label(p.Attributes)+"}"] += p.Value
				}
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					got[m.Name+"{"+label(p.Attributes)+"}"] += int64(p.Count)
				}
			}
		}
	}
	return got
}

func label(set attribute.Set) string {
	for _, key := range []attribute.Key{outcomeKey, reasonKey, "error.type"} {
		if v, ok := set.Value(key); ok {
			return v.AsString()
		}
	}
	return ""
}

func spanOf(r *tracetest.SpanRecorder, name, messageID string) sdktrace.ReadOnlySpan {
	for _, s := range r.Ended() {
		if s.Name() == name && attributeOf(s, "messaging.message.id") == messageID {
			return s
		}
	}
	return nil
}

func attributeOf(s sdktrace.ReadOnlySpan, key attribute.Key) string {
	for _, kv := range s.Attributes() {
		if kv.Key == key {
			return kv.Value.String()
		}
	}
	return ""
}
