package main

import (
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

func TestAWaterfallShowsWhoDidWhatWithinWhat(t *testing.T) {
	t.Parallel()
	id := func(n byte) trace.SpanContext {
		return trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{n}})
	}
	at := func(ms int) time.Time { return time.Unix(0, 0).Add(time.Duration(ms) * time.Millisecond) }
	of := func(name string) *resource.Resource {
		return resource.NewSchemaless(attribute.String("service.name", name))
	}
	stubs := tracetest.SpanStubs{ // as they end: children before their parents
		{Name: "POST /media", SpanContext: id(3), Parent: id(2), SpanKind: trace.SpanKindClient, StartTime: at(50), EndTime: at(74), Resource: of("publisher"),
			Attributes: []attribute.KeyValue{attribute.Int("http.response.status_code", 503)}, Status: sdktrace.Status{Code: codes.Error, Description: "busy"}},
		{Name: "send it", SpanContext: id(1), SpanKind: trace.SpanKindProducer, StartTime: at(0), EndTime: at(1), Resource: of("upstream")},
		{Name: "process it", SpanContext: id(2), Parent: id(1), SpanKind: trace.SpanKindConsumer, StartTime: at(24), EndTime: at(96), Resource: of("publisher")},
		{Name: "lost its parent", SpanContext: id(4), Parent: id(9), SpanKind: trace.SpanKindInternal, StartTime: at(95), EndTime: at(96), Resource: of("publisher")},
	}
	const want = `trace 01000000000000000000000000000000: 4 spans, 96ms

  upstream   producer  send it              |=                       |      1.0 ms
  publisher  consumer    process it         |      ==================|     72.0 ms
  publisher  client        POST /media 503  |            ======      |     24.0 ms  error: busy
  publisher  internal  lost its parent      |                       =|      1.0 ms
`
	if got := draw(id(1).TraceID().String(), stubs.Snapshots()); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
