package telemetry

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
)

// No t.Parallel: the SDK reads the environment of the process.
func TestTheEnvironmentNamesTheCollector(t *testing.T) {
	var traces, metrics atomic.Int32
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v1/traces":
			traces.Add(1)
		case "/v1/metrics":
			metrics.Add(1)
		}
	}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	work := func() {
		tel, shutdown, err := Start(t.Context(), Config{Service: "publisher", LogWriter: t.Output()})
		if err != nil {
			t.Fatal(err)
		}
		_, span := tel.Tracer.Tracer("test").Start(t.Context(), "work")
		span.End()
		count, _ := tel.Meter.Meter("test").Int64Counter("works")
		count.Add(t.Context(), 1)
		if err := shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
	}

	work()
	if traces.Load() != 1 || metrics.Load() != 1 {
		t.Errorf("collector got %d traces, %d metrics", traces.Load(), metrics.Load())
	}
	t.Setenv("OTEL_TRACES_EXPORTER", "none")
	t.Setenv("OTEL_METRICS_EXPORTER", "prometheus") // served at /metrics, not on a port of its own
	work()
	if traces.Load() != 1 || metrics.Load() != 1 {
		t.Errorf("collector got %d traces, %d metrics although both were turned off", traces.Load(), metrics.Load())
	}
}

func TestWithoutSettingsNothingIsExported(t *testing.T) {
	for _, name := range []string{"OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT"} {
		t.Setenv(name, "")
	}
	exporter, err := newSpanExporter(t.Context())
	if exporter != nil || err != nil {
		t.Errorf("span exporter %v, %v", exporter, err)
	}
	reader, err := newMetricReader(t.Context())
	if reader != nil || err != nil {
		t.Errorf("metric reader %v, %v", reader, err)
	}
}

func TestAnUnknownExporterIsRefused(t *testing.T) {
	t.Setenv("OTEL_TRACES_EXPORTER", "telepathy")
	if _, _, err := Start(t.Context(), Config{Service: "publisher"}); err == nil {
		t.Error("started")
	}
}

func TestTheSampledShareComesFromTheEnvironment(t *testing.T) {
	t.Setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
	t.Setenv("OTEL_TRACES_SAMPLER_ARG", "0")
	b := setup(t, nil)
	_, span := b.Tracer.Tracer("test").Start(t.Context(), "work")
	if span.IsRecording() {
		t.Error("a share of 0 was sampled")
	}
}
