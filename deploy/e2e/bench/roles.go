package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"postbus.dev/deploy/testbed/nats"
	"postbus.dev/services/connectors/sandbox"
	"postbus.dev/services/connectors/sandbox/stage"
)

// roleVariable makes the program be one of the parts instead: it starts itself
// again with it, so that each part's CPU is told apart.
const roleVariable = "POSTBUS_BENCH_ROLE"

// The parts.
const (
	partPublisher = "publisher"
	partSandbox   = "provider"
	partNATS      = "NATS"
	partCollector = "collector"
	partPostgres  = "PostgreSQL"
	partBench     = "benchmark"
)

// role is what a started process is told.
type role struct {
	Part    string  `json:"part"`
	Dir     string  `json:"dir"`     // of NATS' store; of the publisher's profiles
	Factor  float64 `json:"factor"`  // of the providers' times, and of the connectors'
	Sandbox string  `json:"sandbox"` // its URL, for the publisher
}

// Main plays the part that this process was started for, and does not return; a
// process that was not goes on. Call it first in main, or in TestMain.
func Main() {
	raw := os.Getenv(roleVariable)
	if raw == "" {
		return
	}
	// A Ctrl-C in the terminal reaches every process. The one that started this
	// one decides when it ends.
	signal.Ignore(os.Interrupt, syscall.SIGHUP)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { // the other end closes when that one dies, too
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	if err := play(ctx, raw); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func play(ctx context.Context, raw string) error {
	var r role
	if err := json.Unmarshal([]byte(raw), &r); err != nil {
		return fmt.Errorf("read role: %w", err)
	}
	switch r.Part {
	case partPublisher:
		return playPublisher(ctx, r)
	case partSandbox:
		return playSandbox(ctx, r)
	case partNATS:
		return playNATS(ctx, r)
	case partCollector:
		return playCollector(ctx)
	}
	return fmt.Errorf("no part %q", r.Part)
}

// listening tells the process that started this one where it is reached.
func listening(at string) { fmt.Println(at) }

func playSandbox(ctx context.Context, r role) error {
	s, err := sandbox.New(sandbox.Config{Factor: r.Factor, Profile: sandbox.Faithful, Accounts: []stage.Account{}, KeepCalls: 1, KeepPosts: 1_000_000})
	if err != nil {
		return err
	}
	server, err := s.Serve(sandbox.ServeConfig{})
	if err != nil {
		return err
	}
	listening(server.URL)
	<-ctx.Done()
	s.Close()
	return server.Close()
}

func playNATS(ctx context.Context, r role) error {
	s, err := nats.Start(nats.Config{Dir: r.Dir, SyncAlways: true})
	if err != nil {
		return err
	}
	listening(s.URL())
	<-ctx.Done()
	s.Stop()
	return nil
}

// playCollector takes traces over OTLP/HTTP and throws them away: what the
// publisher pays for sending them is measured, what a collector does is not.
func playCollector(ctx context.Context) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it does not wait
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/x-protobuf") // an empty answer is an empty message: all was taken
	})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	listening("http://" + ln.Addr().String())
	<-ctx.Done()
	err = server.Close()
	if e := <-served; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}
