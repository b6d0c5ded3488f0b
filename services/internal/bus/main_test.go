package bus

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	natsbed "postbus.dev/deploy/testbed/nats"
	"postbus.dev/events"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// startServer runs a NATS server that a test can stop and start again.
func startServer(t testing.TB) *natsbed.Server {
	t.Helper()
	s, err := natsbed.Start(natsbed.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// quick makes pauses short enough for tests.
func quick(url string) Config {
	return Config{
		URL: url, Name: "test",
		RetryMin: 10 * time.Millisecond, RetryMax: 50 * time.Millisecond,
		ProbeMin: 10 * time.Millisecond, ProbeMax: 50 * time.Millisecond,
		PullExpires: time.Second, PublishTimeout: 2 * time.Second,
	}
}

// connect returns a bus whose topology is in place.
func connect(t testing.TB, c Config) *Bus {
	t.Helper()
	c.Logger = testLog(t)
	b, err := Connect(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(context.Background()); err != nil {
			t.Errorf("close bus: %v", err)
		}
	})
	eventually(t, "connection", b.Connected)
	if err := b.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b
}

// testLog shows the log of a test that fails.
func testLog(t testing.TB) *slog.Logger {
	w := &testWriter{t: t}
	t.Cleanup(w.close)
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

type testWriter struct {
	mu sync.Mutex
	t  testing.TB
}

func (w *testWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.t != nil {
		w.t.Log(string(p[:len(p)-1]))
	}
	return len(p), nil
}

func (w *testWriter) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.t = nil
}

// run runs handlers until the returned function is called, or the test ends.
func run(t testing.TB, b *Bus, hs ...Handler) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx, hs...) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func publisher(f func(context.Context, event.Event) error) Handler {
	return Handler{Consumer: events.ConsumerPublisher, Concurrency: 64, Handle: f}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not in time: %s", what)
}

// request is a publish.requested event.
func request(id string) event.Event {
	e, err := events.New(events.Meta{ID: id, Source: "/test"}, events.PublishRequested{
		MediaType: "IMAGE", MediaURL: "https://example.com/image.jpg", AccountID: "018f0000-0000-7000-8000-000000000001",
	})
	if err != nil {
		panic(err)
	}
	return e
}

func requests(prefix string, n int) []event.Event {
	all := make([]event.Event, n)
	for i := range all {
		all[i] = request(fmt.Sprintf("%s-%d", prefix, i))
	}
	return all
}

// seen counts events by id.
type seen struct {
	mu  sync.Mutex
	ids map[string]int
}

func newSeen() *seen { return &seen{ids: map[string]int{}} }

func (s *seen) add(id string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids[id]++
	return s.ids[id]
}

func (s *seen) of(id string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ids[id]
}

func (s *seen) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.ids)
}

func streamMsgs(t testing.TB, b *Bus, stream string) uint64 {
	t.Helper()
	s, err := b.js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

func consumerInfo(t testing.TB, b *Bus) *jetstream.ConsumerInfo {
	t.Helper()
	c, err := b.js.Consumer(t.Context(), events.StreamPublish, events.ConsumerPublisher)
	if err != nil {
		t.Fatal(err)
	}
	return c.CachedInfo()
}

// drained is whether nothing is left to deliver or to ack.
func drained(t testing.TB, b *Bus) bool {
	info := consumerInfo(t, b)
	return info.NumPending == 0 && info.NumAckPending == 0
}
