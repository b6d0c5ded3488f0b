package telemetry

import (
	"context"
	"fmt"
	"net/http"
	"os"

	promclient "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/prometheus"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// newMeterProvider always serves Prometheus, from a registry of its own, and
// sends where OTEL_METRICS_EXPORTER says.
func newMeterProvider(ctx context.Context, res *resource.Resource) (*sdkmetric.MeterProvider, http.Handler, error) {
	registry := promclient.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	scraped, err := prometheus.New(prometheus.WithRegisterer(registry), prometheus.WithAggregationSelector(aggregation))
	if err != nil {
		return nil, nil, fmt.Errorf("make prometheus exporter: %w", err)
	}
	opts := []sdkmetric.Option{sdkmetric.WithResource(res), sdkmetric.WithReader(scraped), sdkmetric.WithView(withoutHost())}
	sent, err := newMetricReader(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("make metric exporter of OTEL_METRICS_EXPORTER: %w", err)
	}
	if sent != nil {
		opts = append(opts, sdkmetric.WithReader(sent))
	}
	handler := promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true}) // OpenMetrics carries exemplars
	return sdkmetric.NewMeterProvider(opts...), handler, nil
}

// withoutHost leaves out of the HTTP server's metrics what the Host header of a
// request says: whoever sends many would make a series of each.
func withoutHost() sdkmetric.View {
	return sdkmetric.NewView(sdkmetric.Instrument{Name: "http.server.*"}, sdkmetric.Stream{
		AttributeFilter: attribute.NewDenyKeysFilter(semconv.ServerAddressKey, semconv.ServerPortKey),
	})
}

// newMetricReader returns nil where the environment asks for none. "prometheus"
// is served at /metrics already: the standard's second listener on port 9464
// would only be in the way.
func newMetricReader(ctx context.Context) (sdkmetric.Reader, error) {
	if !anySet("OTEL_METRICS_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT") ||
		os.Getenv("OTEL_METRICS_EXPORTER") == "prometheus" {
		return nil, nil
	}
	reader, err := autoexport.NewMetricReader(ctx)
	if err != nil || autoexport.IsNoneMetricReader(reader) {
		return nil, err
	}
	return reader, nil
}

// aggregation spreads a histogram that names no boundaries from a millisecond to
// a quarter of an hour, which also suits counts up to a thousand. The SDK's
// default was made for milliseconds and puts all durations in seconds into one
// bucket.
func aggregation(kind sdkmetric.InstrumentKind) sdkmetric.Aggregation {
	if kind != sdkmetric.InstrumentKindHistogram {
		return sdkmetric.DefaultAggregationSelector(kind)
	}
	return sdkmetric.AggregationExplicitBucketHistogram{Boundaries: []float64{
		0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000,
	}}
}
