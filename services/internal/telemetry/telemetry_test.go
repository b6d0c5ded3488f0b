package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type bundle struct {
	*Telemetry
	spans *tracetest.InMemoryExporter
	logs  *bytes.Buffer
}

func setup(t *testing.T, env map[string]string) bundle {
	t.Helper()
	b := bundle{spans: tracetest.NewInMemoryExporter(), logs: &bytes.Buffer{}}
	tel, shutdown, err := Start(t.Context(), Config{
		Service: "publisher", Version: "1.2.3", LogWriter: b.logs,
		SpanExporters: []sdktrace.SpanExporter{b.spans},
		Getenv:        func(name string) string { return env[name] },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	b.Telemetry = tel
	return b
}

// lines decodes what was logged, one object a line.
func (b bundle) lines(t *testing.T) []map[string]any {
	t.Helper()
	var out []map[string]any
	for line := range strings.Lines(b.logs.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("not JSON: %s", line)
		}
		out = append(out, m)
	}
	return out
}

func TestLogLinesCarryServiceAndTraceIDs(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	ctx, span := b.Tracer.Tracer("test").Start(t.Context(), "work")
	defer span.End()
	want := span.SpanContext()

	b.Logger.InfoContext(ctx, "plain")
	b.Logger.With("a", 1).WithGroup("g").With("b", 2).InfoContext(ctx, "grouped", "c", 3)
	b.Logger.InfoContext(t.Context(), "outside")

	lines := b.lines(t)
	for _, line := range lines[:2] {
		if line["trace_id"] != want.TraceID().String() || line["span_id"] != want.SpanID().String() || line["service"] != "publisher" {
			t.Errorf("ids are not at the top of %v", line)
		}
	}
	group, _ := lines[1]["g"].(map[string]any)
	if lines[1]["a"] != 1.0 || group["b"] != 2.0 || group["c"] != 3.0 {
		t.Errorf("attributes were lost: %v", lines[1])
	}
	if _, ok := lines[2]["trace_id"]; ok || lines[2]["service"] != "publisher" {
		t.Errorf("a line outside of a span: %v", lines[2])
	}
}

func TestDurationsAreLoggedWithTheirUnit(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	b.Logger.Warn("slow", "took", 1500*time.Millisecond)
	if lines := b.lines(t); len(lines) != 1 || lines[0]["took"] != "1.5s" {
		t.Errorf("logged %v", lines)
	}
}

func TestLogLevelComesFromTheEnvironment(t *testing.T) {
	t.Parallel()
	b := setup(t, map[string]string{"POSTBUS_LOG_LEVEL": "warn"})
	b.Logger.Info("quiet")
	b.Logger.Warn("loud")
	if lines := b.lines(t); len(lines) != 1 || lines[0]["msg"] != "loud" {
		t.Errorf("logged %v", lines)
	}
	_, _, err := Start(t.Context(), Config{Service: "x", Getenv: func(string) string { return "chatty" }})
	if err == nil || !strings.Contains(err.Error(), "POSTBUS_LOG_LEVEL") || !strings.Contains(err.Error(), "debug, info, warn or error") {
		t.Errorf("a wrong level gives %v", err)
	}
}

func TestSpansReachTheExportersThatWerePassed(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	_, span := b.Tracer.Tracer("test").Start(t.Context(), "work")
	span.End()
	stubs := b.spans.GetSpans()
	if len(stubs) != 1 || stubs[0].Name != "work" {
		t.Fatalf("exported %v", stubs)
	}
	var service, version string
	for _, kv := range stubs[0].Resource.Attributes() {
		switch kv.Key {
		case "service.name":
			service = kv.Value.AsString()
		case "service.version":
			version = kv.Value.AsString()
		}
	}
	if service != "publisher" || version != "1.2.3" {
		t.Errorf("resource says %s %s", service, version)
	}
}

func TestTheSamplerFollowsTheParent(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	parent := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, Remote: true})
	_, span := b.Tracer.Tracer("test").Start(trace.ContextWithRemoteSpanContext(t.Context(), parent), "work")
	if span.IsRecording() || span.SpanContext().TraceID() != parent.TraceID() {
		t.Errorf("an unsampled parent got %v, recording %v", span.SpanContext(), span.IsRecording())
	}
}

func TestMetricsAreServedForPrometheus(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	meter := b.Meter.Meter("test")
	count, _ := meter.Int64Counter("publishes")
	took, _ := meter.Float64Histogram("took", metric.WithUnit("s"))
	count.Add(t.Context(), 3)
	took.Record(t.Context(), 0.02)

	rec := httptest.NewRecorder()
	b.Metrics.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{"publishes_total{", "} 3", `le="0.025"`, "go_goroutines", `service_name="publisher"`} {
		if !strings.Contains(rec.Body.String(), want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
}

func TestAHostHeaderMakesNoSeries(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	server := otelhttp.NewHandler(http.NotFoundHandler(), "http", otelhttp.WithMeterProvider(b.Meter))
	for _, host := range []string{"one.example:81", "two.example:82"} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host = host
		server.ServeHTTP(httptest.NewRecorder(), r)
	}
	rec := httptest.NewRecorder()
	b.Metrics.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if got := rec.Body.String(); strings.Count(got, "http_server_request_duration_seconds_count{") != 1 || !strings.Contains(got, `le="0.025"`) {
		t.Errorf("want one series, of our buckets: %s", got)
	}
}

func TestServicesInOneProcessDoNotShareMetrics(t *testing.T) {
	t.Parallel()
	one, two := setup(t, nil), setup(t, nil)
	count, _ := one.Meter.Meter("test").Int64Counter("mine")
	count.Add(t.Context(), 1)
	rec := httptest.NewRecorder()
	two.Metrics.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if strings.Contains(rec.Body.String(), "mine_total") {
		t.Error("another service's counter is shown")
	}
}

func TestNothingIsRegisteredWithTheGlobals(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	if otel.GetTracerProvider() == b.Tracer || otel.GetMeterProvider() == b.Meter {
		t.Error("a global provider was set")
	}
	carrier := propagation.MapCarrier{}
	ctx, span := b.Tracer.Tracer("test").Start(t.Context(), "work")
	defer span.End()
	b.Propagator.Inject(ctx, carrier)
	if !strings.Contains(carrier["traceparent"], span.SpanContext().TraceID().String()) {
		t.Errorf("injected %v", carrier)
	}
}

func TestAServiceWithoutANameIsRefused(t *testing.T) {
	t.Parallel()
	if _, _, err := Start(t.Context(), Config{}); err == nil {
		t.Error("started")
	}
}

func TestLoggerKeepsDebugOutByDefault(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	if b.Logger.Enabled(t.Context(), slog.LevelDebug) || !b.Logger.Enabled(t.Context(), slog.LevelInfo) {
		t.Error("the default level is not info")
	}
}
