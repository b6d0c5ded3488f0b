// Package telemetry makes a service's traces, metrics and logs. Everything is a
// value that is passed on: nothing is registered with OpenTelemetry's globals,
// so that several services run in one process and each keeps its own name.
//
// Exporters, sampler and resource attributes are set by the standard OTEL_*
// variables, which the SDK reads from the process environment. One default
// differs from the standard: without any OTEL_* setting nothing is exported,
// so that a service on a laptop does not try to reach a collector.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Config says who speaks and where to.
type Config struct {
	Service string // service.name, such as "publisher"; required. OTEL_SERVICE_NAME wins over it
	Version string // service.version; left out when empty

	// SpanExporters get every sampled span, beside the exporter that the
	// environment names. They are called as a span ends, on its goroutine.
	SpanExporters []sdktrace.SpanExporter

	LogWriter io.Writer                // JSON lines; default standard output
	Getenv    func(name string) string // reads POSTBUS_LOG_LEVEL; default os.Getenv
}

// Telemetry is what a service's parts report with.
type Telemetry struct {
	Tracer     trace.TracerProvider
	Meter      metric.MeterProvider
	Propagator propagation.TextMapPropagator // W3C Trace Context and Baggage
	Logger     *slog.Logger                  // JSON with service, trace_id and span_id
	Metrics    http.Handler                  // the meter's state in Prometheus' text format
}

// Start makes the telemetry of one service. The function it returns sends what
// is still buffered and frees everything; ctx bounds how long it tries.
func Start(ctx context.Context, cfg Config) (*Telemetry, func(context.Context) error, error) {
	if cfg.Service == "" {
		return nil, nil, errors.New("start telemetry: a service name is required")
	}
	logger, err := newLogger(cfg)
	if err != nil {
		return nil, nil, fmt.Errorf("start telemetry: %w", err)
	}
	res, err := newResource(ctx, cfg)
	if err != nil {
		return nil, nil, fmt.Errorf("start telemetry: describe service: %w", err)
	}
	tracer, err := newTracerProvider(ctx, cfg, res)
	if err != nil {
		return nil, nil, fmt.Errorf("start telemetry: %w", err)
	}
	meter, handler, err := newMeterProvider(ctx, res)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("start telemetry: %w", err), tracer.Shutdown(ctx))
	}
	t := &Telemetry{Tracer: tracer, Meter: meter, Propagator: Propagator(), Logger: logger, Metrics: handler}
	shutdown := func(ctx context.Context) error {
		return errors.Join(tracer.Shutdown(ctx), meter.Shutdown(ctx))
	}
	return t, shutdown, nil
}

// Propagator reads and writes W3C Trace Context and Baggage. Baggage of
// strangers is carried within one request only: events store the trace context
// and nothing else.
func Propagator() propagation.TextMapPropagator {
	return propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
}

// TraceContext is the W3C form of ctx's span, as events carry it; "" where there
// is none.
func TraceContext(ctx context.Context) (parent, state string) {
	c := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, c)
	return c["traceparent"], c["tracestate"]
}

// newResource lets the environment win, as the specification asks.
func newResource(ctx context.Context, cfg Config) (*resource.Resource, error) {
	attrs := []attribute.KeyValue{
		attribute.String("service.name", cfg.Service),
		attribute.String("service.namespace", "postbus"),
		attribute.String("service.instance.id", uuid.NewString()),
	}
	if cfg.Version != "" {
		attrs = append(attrs, attribute.String("service.version", cfg.Version))
	}
	return resource.New(ctx, resource.WithTelemetrySDK(), resource.WithHost(),
		resource.WithAttributes(attrs...), resource.WithFromEnv())
}
