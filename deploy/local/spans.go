package main

import (
	"context"
	"slices"
	"sync"

	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"postbus.dev/events"
)

// keepSpans bounds the memory; the first posts make about a hundred.
const keepSpans = 5_000

// spans keeps the newest spans in memory, for the waterfall.
type spans struct {
	mu   sync.Mutex
	kept []sdktrace.ReadOnlySpan
}

func newSpans() *spans { return &spans{} }

// ExportSpans keeps spans.
func (s *spans) ExportSpans(_ context.Context, more []sdktrace.ReadOnlySpan) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = append(s.kept, more...)
	if extra := len(s.kept) - keepSpans; extra > 0 {
		s.kept = slices.Delete(s.kept, 0, extra)
	}
	return nil
}

// Shutdown does nothing.
func (s *spans) Shutdown(context.Context) error { return nil }

func (s *spans) of(traceID string) []sdktrace.ReadOnlySpan {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []sdktrace.ReadOnlySpan
	for _, sp := range s.kept {
		if sp.SpanContext().TraceID().String() == traceID {
			out = append(out, sp)
		}
	}
	return out
}

// tracer begins traces, as an upstream system that traces itself does.
type tracer struct {
	provider *sdktrace.TracerProvider
	trace.Tracer
}

func newTracer(to *spans) tracer {
	p := sdktrace.NewTracerProvider(sdktrace.WithSyncer(to), sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", "upstream"))))
	return tracer{p, p.Tracer("postbus.dev/deploy/local")}
}

func (t tracer) stop(ctx context.Context) { _ = t.provider.Shutdown(context.WithoutCancel(ctx)) }

// send sends a request and returns the trace that began with it.
func (t tracer) send(ctx context.Context, js jetstream.JetStream, id string, post events.PublishRequested) (traceID string, err error) {
	ctx, span := t.Start(ctx, "send "+events.TypePublishRequested, trace.WithSpanKind(trace.SpanKindProducer))
	defer span.End()
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	e, err := events.New(events.Meta{ID: id, Source: upstream, TraceParent: carrier["traceparent"]}, post)
	if err != nil {
		return "", err
	}
	m, err := events.Encode(e)
	if err != nil {
		return "", err
	}
	_, err = js.PublishMsg(ctx, m)
	return span.SpanContext().TraceID().String(), err
}
