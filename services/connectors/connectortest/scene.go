package connectortest

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"postbus.dev/services/connectors"
)

// stage is what a scene is made of.
type stage struct {
	handler   http.Handler // the stand-in
	connector func(baseURL string, c *connectors.Client, configured bool) (connectors.Connector, error)
	timeout   time.Duration // of a repeatable call
	request   func(r *http.Request, body []byte) error
	secrets   func() []string // known until now
}

// scene is a stand-in, a wire to it, a connector, and every text that came of
// them.
type scene struct {
	t         testing.TB
	stage     stage
	wire      *Wire
	base      string
	connector connectors.Connector
	spans     *tracetest.SpanRecorder

	mu    sync.Mutex
	log   bytes.Buffer
	texts []string
}

// newScene makes a scene; what it finds wrong is told to report.
func newScene(t *testing.T, report testing.TB, st stage) *scene {
	t.Helper()
	s := &scene{t: report, stage: st, wire: NewWire(st.handler), spans: tracetest.NewSpanRecorder()}
	server := httptest.NewServer(s.wire)
	client := connectors.NewClient(connectors.ClientConfig{
		TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(s.spans)), Timeout: st.timeout,
		Logger: slog.New(slog.NewTextHandler(writer{s}, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	t.Cleanup(func() {
		s.wire.Close()
		client.Close()
		server.Close()
		s.check()
	})
	s.base = server.URL
	c, err := st.connector(server.URL, client, true)
	if err != nil {
		t.Fatal(err)
	}
	s.connector = c
	return s
}

// writer is the log of a scene.
type writer struct{ s *scene }

func (w writer) Write(p []byte) (int, error) {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	return w.s.log.Write(p)
}

// say keeps what a caller would print of a value.
func (s *scene) say(values ...any) {
	for _, v := range values {
		s.texts = append(s.texts, fmt.Sprintf("%v %+v %#v", v, v, v))
		if err, ok := v.(error); ok {
			s.texts = append(s.texts, fmt.Sprintf("%+v", *connectors.AsError(err)))
		}
	}
}

// check looks through everything that was said, and at what was asked.
func (s *scene) check() {
	for _, wrong := range s.wire.wrong("", s.stage.request) {
		s.t.Error(wrong)
	}
	texts := append(slices.Clone(s.texts), s.log.String())
	for _, span := range s.spans.Ended() {
		texts = append(texts, fmt.Sprintf("span %s %+v %+v %+v", span.Name(), span.Attributes(), span.Events(), span.Status()))
	}
	for _, secret := range s.stage.secrets() {
		for _, text := range texts {
			if strings.Contains(text, secret) || strings.Contains(text, url.QueryEscape(secret)) {
				s.t.Errorf("a secret is shown: %s", text)
			}
		}
	}
}

// wantKind holds an error to the contract, and to the kinds that are right.
func (s *scene) wantKind(what string, err error, kinds ...connectors.Kind) *connectors.Error {
	s.t.Helper()
	s.say(err)
	e := connectors.AsError(err)
	if err == nil {
		s.t.Errorf("%s: no error", what)
	} else if !slices.Contains(kinds, e.Kind) || e.Code == "" {
		s.t.Errorf("%s: an error of kind %v, code %q: %v", what, e.Kind, e.Code, err)
	}
	return e
}
