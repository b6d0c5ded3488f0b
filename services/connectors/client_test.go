package connectors

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func TestDoSendsFormTokenAndQueryAndReturnsAnyStatus(t *testing.T) {
	t.Parallel()
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Method != "POST" || r.URL.Path != "/v25.0/1784/media" || r.URL.Query().Get("fields") != "id" || string(body) != "caption=a+b" ||
			r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || r.Header.Get("Authorization") != "Bearer "+testToken {
			t.Errorf("got %s %s %q %v", r.Method, r.URL, body, r.Header)
		}
		w.Header().Set("X-Fb-Trace-Id", "abc")
		w.WriteHeader(400)
		_, _ = io.WriteString(w, `{"error":{}}`)
	})
	resp, err := testClient(t, ClientConfig{}).Do(context.Background(), Request{
		Name: "media", Method: "POST", URL: base + "/v25.0/1784/media", Query: url.Values{"fields": {"id"}},
		Token: NewSecret(testToken), Form: url.Values{"caption": {"a b"}},
	})
	if err != nil || resp.Status != 400 || string(resp.Body) != `{"error":{}}` || resp.Header.Get("X-Fb-Trace-Id") != "abc" || resp.Call.Name != "media" {
		t.Fatalf("got %+v, %v", resp, err)
	}
}

func TestDoRefusesARedirectSoThatNoTokenTravels(t *testing.T) {
	t.Parallel()
	var asked atomic.Bool
	other := serve(t, func(http.ResponseWriter, *http.Request) { asked.Store(true) })
	base := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other, http.StatusFound) })
	resp, err := testClient(t, ClientConfig{}).Do(context.Background(), Request{Name: "x", Method: "GET", URL: base, Token: NewSecret(testToken)})
	if err != nil || resp.Status != http.StatusFound || asked.Load() {
		t.Fatalf("got %+v, %v, asked=%v", resp, err, asked.Load())
	}
}

func TestDoRefusesAnAnswerOverTheLimit(t *testing.T) {
	t.Parallel()
	base := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, MaxResponse+1)) })
	_, err := testClient(t, ClientConfig{}).Do(context.Background(), Request{Name: "x", Method: "GET", URL: base})
	wantKind(t, err, KindRetry, false)
}

func TestDoEndsAtItsTimeout(t *testing.T) {
	t.Parallel()
	done := make(chan struct{})
	base := serve(t, func(http.ResponseWriter, *http.Request) { <-done })
	defer close(done)
	_, err := testClient(t, ClientConfig{Timeout: 50 * time.Millisecond}).Do(context.Background(), Request{Name: "x", Method: "GET", URL: base})
	if e := wantKind(t, err, KindRetry, false); e.Code != CodeTimeout {
		t.Errorf("got %s", e.Code)
	}
}

func TestDoTellsACancelByItsCause(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := testClient(t, ClientConfig{}).Do(ctx, Request{Name: "x", Method: "GET", URL: "http://127.0.0.1:1/"})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// A reused connection that breaks after the request went out is where Go's
// transport would send an idempotent request again by itself.
func TestDoNeverReplaysAPostOnAReusedConnection(t *testing.T) {
	t.Parallel()
	var posts atomic.Int32
	p := listen(t, func(_ *peer, c net.Conn) {
		r := newConnReader(c)
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			body, _ := io.ReadAll(req.Body)
			if len(body) > 0 {
				posts.Add(1)
				return // cut without an answer
			}
			respond(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
		}
	})
	c := testClient(t, ClientConfig{})
	warm := Request{Name: "warm", Method: "GET", URL: "http://" + p.addr + "/"}
	if _, err := c.Do(context.Background(), warm); err != nil {
		t.Fatal(err)
	}
	post := warm
	post.Method, post.Form = "POST", url.Values{"a": {"b"}}
	post.Header = http.Header{"Idempotency-Key": {"x"}} // which marks a request as replayable to net/http
	_, err := c.Do(context.Background(), post)
	wantKind(t, err, KindRetry, false)
	if n := posts.Load(); n != 1 {
		t.Errorf("posted %d times", n)
	}
}

// callBoth makes a Do and a Commit that a provider answers with status.
func callBoth(t *testing.T, cfg ClientConfig, base string) (errs []error) {
	t.Helper()
	c := testClient(t, cfg)
	for _, call := range []func(context.Context, Request) (*Response, error){c.Do, c.Commit} {
		ctx := armFor(time.Second)
		_, err := call(ctx, Request{
			Name: "media", Method: "POST", URL: base + "/v25.0/17841400/media?x=" + testToken, Route: "/{version}/{user}/media",
			Query: url.Values{"access_token": {testToken}}, Token: NewSecret(testToken), Form: url.Values{"caption": {"the payload"}},
		})
		errs = append(errs, err)
	}
	return errs
}

func TestSpanNamesTheRouteAndNothingPrivate(t *testing.T) {
	t.Parallel()
	rec := tracetest.NewSpanRecorder()
	tp := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(rec))
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Traceparent") != "" || r.Header.Get("Baggage") != "" {
			t.Errorf("trace context was sent: %v", r.Header)
		}
		w.WriteHeader(400)
	})
	callBoth(t, ClientConfig{TracerProvider: tp}, base)
	spans := rec.Ended()
	if len(spans) != 2 {
		t.Fatalf("%d spans", len(spans))
	}
	for _, s := range spans {
		if s.Name() != "POST /{version}/{user}/media" || s.SpanKind() != trace.SpanKindClient {
			t.Errorf("got %s %v", s.Name(), s.SpanKind())
		}
		for _, a := range s.Attributes() {
			for _, private := range []string{testToken, "17841400", "payload"} {
				if strings.Contains(a.Value.String(), private) {
					t.Errorf("%s holds %q", a.Key, a.Value.String())
				}
			}
		}
	}
}

func TestErrorsAndLogsHoldNoTokenAndNoPayload(t *testing.T) {
	t.Parallel()
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	garbage := listen(t, func(p *peer, c net.Conn) {
		p.read(c, func(got []byte) bool { return bytes.HasSuffix(got, []byte("caption=the+payload")) })
		respond(c, "HTTP/1.1 "+testToken+"\r\n\r\n")
	})
	var log bytes.Buffer
	cfg := ClientConfig{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	for _, base := range []string{"http://" + dead.Addr().String(), "http://" + garbage.addr, "http://127.0.0.1:x"} {
		for _, err := range callBoth(t, cfg, base) {
			if err == nil || strings.Contains(err.Error(), testToken) || strings.Contains(err.Error(), "payload") {
				t.Errorf("got %v", err)
			}
		}
	}
	if s := log.String(); strings.Contains(s, testToken) || strings.Contains(s, "payload") || !strings.Contains(s, "provider call") {
		t.Errorf("logged %s", s)
	}
}
