package bus

import (
	"context"
	"strings"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"postbus.dev/events"
)

// w3c is stateless. An event has its creation context in its attributes, and
// that of its last hop in the headers traceparent and tracestate.
var w3c = propagation.TraceContext{}

// headerCarrier: nats.Header keeps the case it was given, and other clients
// write Traceparent, so names are looked up without regard to case.
type headerCarrier nats.Header

func (c headerCarrier) Get(key string) string {
	if v := c[key]; len(v) > 0 {
		return v[0]
	}
	for name, v := range c {
		if strings.EqualFold(name, key) && len(v) > 0 {
			return v[0]
		}
	}
	return ""
}

func (c headerCarrier) Set(key, value string) { c[key] = []string{value} }
func (c headerCarrier) Keys() []string        { return nil } // not asked for by w3c

// metadataCarrier is the same over watermill's metadata.
type metadataCarrier message.Metadata

func (c metadataCarrier) Get(key string) string {
	if v, ok := c[key]; ok {
		return v
	}
	for name, v := range c {
		if strings.EqualFold(name, key) {
			return v
		}
	}
	return ""
}

func (c metadataCarrier) Set(key, value string) { c[key] = value }
func (c metadataCarrier) Keys() []string        { return nil }

// creation is the context in which the event was made.
func creation(e event.Event) trace.SpanContext {
	if e.Context == nil {
		return trace.SpanContext{}
	}
	attributes := e.Extensions()
	parent, _ := attributes[events.ExtTraceParent].(string)
	if parent == "" {
		return trace.SpanContext{}
	}
	state, _ := attributes[events.ExtTraceState].(string)
	return remote(propagation.MapCarrier{"traceparent": parent, "tracestate": state})
}

func remote(c propagation.TextMapCarrier) trace.SpanContext {
	return trace.SpanContextFromContext(w3c.Extract(context.Background(), c))
}

// trace opens the span of a handling. Its parent is the context in which the
// event was made, so that one trace runs from the first producer to the end,
// whoever relayed the event; the hop that brought it is linked. An event that
// tells of no creation continues the trace of its hop.
func (p *pipeline) trace(next message.HandlerFunc) message.HandlerFunc {
	return func(m *message.Message) ([]*message.Message, error) {
		base, d := m.Context(), deliveryOf(m)
		defer m.SetContext(base) // the next try begins anew
		ctx, opts := origin(base, d)
		subject := d.latest().Subject
		ctx, span := p.bus.tracer.Start(ctx, "process "+subject, opts...)
		defer span.End()
		if span.IsRecording() {
			span.SetAttributes(p.spanAttributes(d, m, subject)...)
		}
		m.SetContext(ctx)
		out, err := next(m)
		if err != nil && span.IsRecording() {
			span.SetStatus(codes.Error, oneLine(err.Error()))
			span.SetAttributes(semconv.ErrorTypeKey.String(string(outcomeOf(err))))
		}
		return out, err
	}
}

// origin is the parent of the span, with a link to the hop where that is another.
func origin(base context.Context, d *delivery) (context.Context, []trace.SpanStartOption) {
	opts := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindConsumer)}
	made, hop := creation(d.event), remote(headerCarrier(d.latest().Header))
	if !made.IsValid() {
		made = hop
	} else if hop.IsValid() && hop.SpanID() != made.SpanID() {
		opts = append(opts, trace.WithLinks(trace.Link{SpanContext: hop}))
	}
	if made.IsValid() {
		base = trace.ContextWithRemoteSpanContext(base, made)
	}
	return base, opts
}

func (p *pipeline) spanAttributes(d *delivery, m *message.Message, subject string) []attribute.KeyValue {
	all := []attribute.KeyValue{
		messagingSystem,
		semconv.MessagingOperationTypeProcess,
		semconv.MessagingOperationName("process"),
		semconv.MessagingDestinationName(subject),
		semconv.MessagingDestinationSubscriptionName(p.handler.Consumer),
		semconv.MessagingMessageID(m.UUID),
		semconv.MessagingMessageBodySize(len(m.Payload)),
		attribute.String("messaging.nats.stream", d.stream),
		attribute.Int64("messaging.nats.stream_sequence", int64(d.seq)),
		attribute.Int64("messaging.nats.deliveries", int64(d.deliveries())),
	}
	if d.malformed == nil {
		all = append(all, semconv.CloudEventsEventID(d.event.ID()), semconv.CloudEventsEventSource(d.event.Source()))
	}
	return all
}

var messagingSystem = attribute.String("messaging.system", "nats")

// startSend opens the span of one publish: within the event's trace, linked to
// what runs now where that is another.
func (b *Bus) startSend(ctx context.Context, e event.Event, links ...trace.Link) (context.Context, trace.Span) {
	made, now := creation(e), trace.SpanContextFromContext(ctx)
	if made.IsValid() {
		if now.IsValid() && now.TraceID() != made.TraceID() {
			links = append(links, trace.Link{SpanContext: now})
		}
		if now.TraceID() != made.TraceID() {
			ctx = trace.ContextWithRemoteSpanContext(ctx, made)
		}
	}
	return b.tracer.Start(ctx, "send "+e.Type(), trace.WithSpanKind(trace.SpanKindProducer), trace.WithLinks(links...),
		trace.WithAttributes(
			messagingSystem, semconv.MessagingOperationTypeSend, semconv.MessagingOperationName("send"),
			semconv.MessagingDestinationName(e.Type()), semconv.MessagingMessageID(e.ID()),
			semconv.CloudEventsEventID(e.ID()), semconv.CloudEventsEventSource(e.Source()),
		))
}

func (b *Bus) endSend(ctx context.Context, span trace.Span, n int, err error) {
	b.meter.sent(ctx, n, err)
	endSpan(span, err)
}

func endSpan(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, oneLine(err.Error()))
		span.SetAttributes(semconv.ErrorTypeKey.String(errorType(err)))
	}
	span.End()
}

const (
	// maxEventSpans is up to which size the events of a batch have spans of their
	// own: a trace then shows the send; beyond it they would cost more than the
	// sending.
	maxEventSpans = 64
	// maxLinks is what the SDK keeps by default.
	maxLinks = 128
)

// startBatch opens one span for the batch, in a trace of its own, linked with
// the traces of its events, and gives each message its hop.
func (b *Bus) startBatch(ctx context.Context, stream string, evs []event.Event, msgs []*nats.Msg) (context.Context, []trace.Span) {
	ctx, batch := b.tracer.Start(ctx, "send "+stream, trace.WithSpanKind(trace.SpanKindProducer),
		trace.WithLinks(links(evs)...),
		trace.WithAttributes(
			messagingSystem, semconv.MessagingOperationTypeSend, semconv.MessagingOperationName("send"),
			semconv.MessagingDestinationName(stream), semconv.MessagingBatchMessageCount(len(evs)),
		))
	spans := []trace.Span{batch}
	if !batch.SpanContext().IsValid() {
		return ctx, spans
	}
	for i, m := range msgs {
		hop := ctx
		if len(evs) <= maxEventSpans {
			var span trace.Span
			hop, span = b.startSend(ctx, evs[i])
			spans = append(spans, span)
		}
		w3c.Inject(hop, headerCarrier(m.Header))
	}
	return ctx, spans
}

func (b *Bus) endBatch(ctx context.Context, spans []trace.Span, n int, err error) {
	b.meter.sent(ctx, n, err)
	for _, s := range spans {
		endSpan(s, err)
	}
}

// links are the creation contexts of the events, each trace once.
func links(evs []event.Event) []trace.Link {
	var all []trace.Link
	seen := map[trace.TraceID]bool{}
	for _, e := range evs {
		made := creation(e)
		if !made.IsSampled() || seen[made.TraceID()] {
			continue
		}
		if seen[made.TraceID()] = true; len(seen) > maxLinks {
			break
		}
		all = append(all, trace.Link{SpanContext: made})
	}
	return all
}
