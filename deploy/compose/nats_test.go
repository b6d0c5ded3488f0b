package compose

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"postbus.dev/events"
)

// natsOptions is the configuration that the container gets, as the server reads it.
func natsOptions(t *testing.T) *server.Options {
	t.Helper()
	o, err := server.ProcessConfigFile("../nats/nats.conf")
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestWhatTheBusAckedIsOnTheDisk(t *testing.T) {
	t.Parallel()
	o := natsOptions(t)
	if !o.JetStream || !o.SyncAlways || o.StoreDir != "/data" {
		t.Errorf("JetStream %v, syncs always %v, in %s", o.JetStream, o.SyncAlways, o.StoreDir)
	}
	if o.MaxPayload != 1<<20 { // the outbox takes events of half of that
		t.Errorf("a message may have %d bytes", o.MaxPayload)
	}
	var need int64
	for _, s := range events.Topology(events.TopologyOptions{}) {
		need += s.MaxBytes
	}
	if o.JetStreamMaxStore < need {
		t.Errorf("%d bytes are too few for streams of %d", o.JetStreamMaxStore, need)
	}
	if o.Host != "0.0.0.0" || o.Port != 4222 || o.HTTPPort != 8222 {
		t.Errorf("it listens on %s:%d and %d", o.Host, o.Port, o.HTTPPort)
	}
}

// serveNATS runs the server with its configuration, but for where it listens and
// stores.
func serveNATS(t *testing.T, dir string) *server.Server {
	t.Helper()
	o := natsOptions(t)
	o.Host, o.Port, o.HTTPHost, o.HTTPPort, o.StoreDir = "127.0.0.1", server.RANDOM_PORT, "127.0.0.1", server.RANDOM_PORT, dir
	o.NoSigs, o.NoLog = true, true
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the NATS server did not start")
	}
	return s
}

// natsHealth is what the container's health check asks.
func natsHealth(s *server.Server) error {
	resp, err := http.Get(fmt.Sprintf("http://%s/healthz", s.MonitorAddr()))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("healthz: %s", resp.Status)
	}
	return nil
}

// wantTopology looks for every stream and consumer that is declared.
func wantTopology(t *testing.T, url string) {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, want := range events.Topology(events.TopologyOptions{}) {
		s, err := js.Stream(ctx, want.Name)
		if err != nil {
			t.Errorf("stream %s: %v", want.Name, err)
			continue
		}
		if got := s.CachedInfo().Config; got.MaxBytes != want.MaxBytes || got.MaxAge != want.MaxAge || got.Storage != want.Storage {
			t.Errorf("stream %s is %+v", want.Name, got)
		}
		for _, c := range want.Consumers {
			if _, err := s.Consumer(ctx, c.Name); err != nil {
				t.Errorf("consumer %s: %v", c.Name, err)
			}
		}
	}
}
