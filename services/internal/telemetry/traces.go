package telemetry

import (
	"context"
	"fmt"
	"os"

	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// newTracerProvider leaves the sampler to the SDK, which reads
// OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG and else follows the parent,
// and samples where there is none.
func newTracerProvider(ctx context.Context, cfg Config, res *resource.Resource) (*sdktrace.TracerProvider, error) {
	exporter, err := newSpanExporter(ctx)
	if err != nil {
		return nil, fmt.Errorf("make trace exporter of OTEL_TRACES_EXPORTER: %w", err)
	}
	opts := []sdktrace.TracerProviderOption{sdktrace.WithResource(res)}
	if exporter != nil {
		opts = append(opts, sdktrace.WithBatcher(exporter))
	}
	for _, e := range cfg.SpanExporters {
		opts = append(opts, sdktrace.WithSyncer(e))
	}
	return sdktrace.NewTracerProvider(opts...), nil
}

// newSpanExporter returns nil where the environment asks for none.
func newSpanExporter(ctx context.Context) (sdktrace.SpanExporter, error) {
	if !anySet("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") {
		return nil, nil
	}
	exporter, err := autoexport.NewSpanExporter(ctx)
	if err != nil || autoexport.IsNoneSpanExporter(exporter) {
		return nil, err
	}
	return exporter, nil
}

func anySet(names ...string) bool {
	for _, name := range names {
		if os.Getenv(name) != "" {
			return true
		}
	}
	return false
}
