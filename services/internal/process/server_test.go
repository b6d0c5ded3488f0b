package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// serve runs a server until the test ends; stop asks it to end and returns what
// Run returned.
func serve(t *testing.T, cfg ServerConfig) (url string, stop func() error) {
	t.Helper()
	cfg.Addr = "127.0.0.1:0"
	s, err := Listen(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() { cancel(); http.DefaultClient.CloseIdleConnections() })
	return "http://" + s.Addr(), func() error { cancel(); return <-done }
}

func TestABusyAddressIsOneClearLine(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = Listen(t.Context(), ServerConfig{Addr: l.Addr().String(), Setting: "POSTBUS_HTTP_ADDR", Handler: http.NotFoundHandler()})
	if err == nil || !strings.Contains(err.Error(), "another process") || !strings.Contains(err.Error(), "set POSTBUS_HTTP_ADDR") {
		t.Errorf("got %v", err)
	}
}

func TestRequestsInProgressAreAnsweredAtShutdown(t *testing.T) {
	t.Parallel()
	wake, entered := make(chan struct{}), make(chan struct{})
	url, stop := serve(t, ServerConfig{
		OnShutdown: func() { close(wake) },
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			close(entered)
			<-wake
			if r.Context().Err() != nil {
				t.Error("the request was canceled")
			}
			_, _ = io.WriteString(w, "done")
		}),
	})
	answer := make(chan string, 1)
	go func() { answer <- get(url) }()
	<-entered
	if err := stop(); err != nil {
		t.Error(err)
	}
	if got := <-answer; got != "200 done" {
		t.Errorf("the waiting request got %q", got)
	}
}

func get(url string) string {
	res, err := http.Get(url) //nolint:noctx // a test server on loopback
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return fmt.Sprint(res.StatusCode, " ", string(b))
}

func TestARequestThatNeverEndsIsCutAtTheDrainLimit(t *testing.T) {
	t.Parallel()
	entered := make(chan struct{})
	url, stop := serve(t, ServerConfig{
		DrainLimit: 10 * time.Millisecond,
		Handler:    http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { close(entered); <-r.Context().Done() }),
	})
	answer := make(chan string, 1)
	go func() { answer <- get(url) }()
	<-entered
	if err := stop(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if got := <-answer; !strings.Contains(got, "EOF") {
		t.Errorf("the request got %q", got)
	}
}

func TestABodyOverTheLimitCannotBeRead(t *testing.T) {
	t.Parallel()
	got := make(chan error, 1)
	url, stop := serve(t, ServerConfig{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		got <- err
	})})
	res, err := http.Post(url, "application/json", strings.NewReader(strings.Repeat("x", MaxBodyBytes+1))) //nolint:noctx // loopback
	if err == nil {
		res.Body.Close()
	}
	var tooLarge *http.MaxBytesError
	if err := <-got; !errors.As(err, &tooLarge) {
		t.Errorf("got %v", err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestAHeaderThatNeverEndsIsCutOff(t *testing.T) {
	t.Parallel()
	url, stop := serve(t, ServerConfig{ReadHeaderTimeout: 20 * time.Millisecond, Handler: http.NotFoundHandler()})
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n")
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadAll(conn); err != nil {
		t.Errorf("the connection was not closed: %v", err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestAHeaderOverTheLimitIsRefused(t *testing.T) {
	t.Parallel()
	url, stop := serve(t, ServerConfig{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it came through") })})
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	req.Header.Set("X-Large", strings.Repeat("x", 64<<10))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("got %d", res.StatusCode)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// dial sends what a request begins with.
func dial(t *testing.T, url, text string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_, _ = io.WriteString(conn, text)
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn
}

func TestABodyThatNeverEndsIsCutOff(t *testing.T) {
	t.Parallel()
	got := make(chan error, 1)
	url, stop := serve(t, ServerConfig{BodyTimeout: 30 * time.Millisecond, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		got <- err
	})})
	dial(t, url, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nx")
	if err := <-got; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestTheTimeForABodyDoesNotEndTheRequest(t *testing.T) {
	t.Parallel()
	const limit = 30 * time.Millisecond
	url, stop := serve(t, ServerConfig{BodyTimeout: limit, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case <-r.Context().Done():
			t.Error("the request was canceled")
		case <-time.After(5 * limit):
		}
		_, _ = io.WriteString(w, "done")
	})})
	res, err := http.Post(url, "text/plain", strings.NewReader("x")) //nolint:noctx // loopback
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, _ := io.ReadAll(res.Body); string(b) != "done" {
		t.Errorf("got %q", b)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestAnAnswerThatNobodyReadsIsCutOff(t *testing.T) {
	t.Parallel()
	got := make(chan error, 1)
	url, stop := serve(t, ServerConfig{WriteTimeout: 50 * time.Millisecond, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		block := make([]byte, 1<<20)
		for {
			if _, err := w.Write(block); err != nil {
				got <- err
				return
			}
		}
	})})
	dial(t, url, "GET / HTTP/1.1\r\nHost: x\r\n\r\n") // and reads nothing
	if err := <-got; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func routes(h *Health) http.Handler {
	text := func(s string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, s) })
	}
	return h.Routes(text("metrics"), text("service"))
}

func report(t *testing.T, h http.Handler, path string) (int, Report) {
	t.Helper()
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
	var r Report
	if err := json.Unmarshal(rec.Body.Bytes(), &r); err != nil {
		t.Fatalf("%s answered %q", path, rec.Body)
	}
	return rec.Code, r
}

func TestReadyzNamesEachCheck(t *testing.T) {
	t.Parallel()
	h := NewHealth()
	var broken error
	h.Check("database", func(context.Context) error { return nil })
	h.Check("consumer", func(context.Context) error { return broken })
	handler := routes(h)
	if code, r := report(t, handler, "/readyz"); code != 200 || r.Status != "ok" || len(r.Checks) != 2 {
		t.Errorf("well: %d %+v", code, r)
	}
	broken = errors.New("not attached")
	code, r := report(t, handler, "/readyz")
	if code != 503 || r.Status != "unavailable" || r.Checks["consumer"] != (CheckReport{Error: "not attached"}) || !r.Checks["database"].OK {
		t.Errorf("broken: %d %+v", code, r)
	}
	if code, r := report(t, handler, "/livez"); code != 200 || r.Status != "ok" {
		t.Errorf("a process that is not ready lives: %d %+v", code, r)
	}
}

func TestAProcessThatStopsIsNotReady(t *testing.T) {
	t.Parallel()
	h := NewHealth()
	h.Stopping()
	if code, r := report(t, routes(h), "/readyz"); code != 503 || r.Status != "stopping" {
		t.Errorf("%d %+v", code, r)
	}
}

func TestACheckThatHangsDoesNotHoldReadyz(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := NewHealth()
		release := make(chan struct{})
		defer close(release)
		h.Check("database", func(context.Context) error { <-release; return nil })
		h.Check("bus", func(context.Context) error { return nil })
		r := h.Ready(t.Context())
		if r.Status != "unavailable" || r.Checks["database"].Error == "" || !r.Checks["bus"].OK {
			t.Errorf("%+v", r)
		}
	})
}

func TestProbesStandBesideTheService(t *testing.T) {
	t.Parallel()
	h := routes(NewHealth())
	for path, want := range map[string]string{"/metrics": "metrics", "/api/x": "service"} {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		if rec.Body.String() != want {
			t.Errorf("%s answered %q", path, rec.Body)
		}
	}
}
