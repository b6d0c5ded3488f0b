package nats_test

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	client "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"postbus.dev/deploy/testbed/nats"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, c nats.Config) *nats.Server {
	t.Helper()
	if c.Dir == "" {
		c.Dir = t.TempDir()
	}
	s, err := nats.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

func connect(t *testing.T, url string) jetstream.JetStream {
	t.Helper()
	nc, err := client.Connect(url, client.MaxReconnects(-1), client.ReconnectWait(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func TestAStreamOutlivesARestartOnTheSamePort(t *testing.T) {
	t.Parallel()
	for name, sync := range map[string]bool{"sync always": true, "sync by interval": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			s := start(t, nats.Config{SyncAlways: sync})
			url := s.URL()
			js := connect(t, url)
			if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, AllowAtomicPublish: true}); err != nil {
				t.Fatal(err)
			}
			if _, err := js.Publish(ctx, "s.1", []byte("kept")); err != nil {
				t.Fatal(err)
			}
			s.Stop()
			if err := s.Start(); err != nil {
				t.Fatal(err)
			}
			if s.URL() != url {
				t.Fatalf("URL is %s after a restart, was %s", s.URL(), url)
			}
			if got := message(ctx, t, js, "S", 1); got != "kept" {
				t.Fatalf("message is %q", got)
			}
		})
	}
}

// message reads through the client's own reconnect.
func message(ctx context.Context, t *testing.T, js jetstream.JetStream, stream string, seq uint64) string {
	t.Helper()
	for {
		data, err := get(ctx, js, stream, seq)
		if err == nil {
			return data
		}
		if ctx.Err() != nil {
			t.Fatal(errors.Join(ctx.Err(), err))
		}
	}
}

// get asks once. What was asked of a server that was just stopping is not
// answered, so that one question does not wait for long.
func get(ctx context.Context, js jetstream.JetStream, stream string, seq uint64) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return "", err
	}
	m, err := s.GetMsg(ctx, seq)
	if err != nil {
		return "", err
	}
	return string(m.Data), nil
}

func TestATakenPortIsOneClearLine(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = nats.Start(nats.Config{Dir: t.TempDir(), Addr: l.Addr().String()})
	if err == nil || !strings.Contains(err.Error(), l.Addr().String()+" is taken by another process") || strings.Contains(err.Error(), "\n") {
		t.Fatalf("got %v", err)
	}
}

func TestAStoreHasOneServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := start(t, nats.Config{Dir: dir})
	_, err := nats.Start(nats.Config{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "used by another process") {
		t.Fatalf("got %v", err)
	}
	first.Stop()
	start(t, nats.Config{Dir: dir})
}

func TestAStoreThatCannotBeWrittenIsAnError(t *testing.T) {
	t.Parallel()
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := nats.Start(nats.Config{Dir: file + "/store"}); err == nil {
		t.Fatal("no error")
	}
}
