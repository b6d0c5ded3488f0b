package process

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	natsgo "github.com/nats-io/nats.go"

	"postbus.dev/deploy/testbed"
	"postbus.dev/deploy/testbed/nats"
	"postbus.dev/services/internal/secret"
	"postbus.dev/services/internal/telemetry/telemetrytest"
)

// nowhere is a database that cannot be reached, and a port that nobody has.
var nowhere = BaseConfig{ //nolint:gochecknoglobals // a constant
	Service: "svc", DatabaseURL: "postgres://u:p@127.0.0.1:1/db?sslmode=disable", NATSURL: "nats://127.0.0.1:1", LogWriter: io.Discard,
}

func newBase(t *testing.T, cfg BaseConfig) *Base {
	t.Helper()
	b, err := NewBase(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(context.Background()); err != nil {
			t.Errorf("close: %v", err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return b
}

// probe serves b beside a service of its own until the test ends.
func probe(t *testing.T, b *Base, drain func()) (url string, stop func()) {
	t.Helper()
	service := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "served") })
	s, err := b.Listen(t.Context(), "127.0.0.1:0", service, drain)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(stop)
	return "http://" + s.Addr(), stop
}

func fetch(t *testing.T, url string) (int, []byte) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, body
}

func TestAServiceStartsWithDatabaseAndBusAwayAndSaysSo(t *testing.T) {
	t.Parallel()
	drained := make(chan struct{})
	url, stop := probe(t, newBase(t, nowhere), func() { close(drained) })
	if code, _ := fetch(t, url+"/livez"); code != http.StatusOK {
		t.Errorf("/livez: %d", code)
	}
	if code, body := fetch(t, url+"/anything"); code != http.StatusOK || string(body) != "served" {
		t.Errorf("the service: %d %s", code, body)
	}
	code, body := fetch(t, url+"/readyz")
	var r Report
	if err := json.Unmarshal(body, &r); err != nil || code != http.StatusServiceUnavailable {
		t.Fatalf("/readyz: %d %s %v", code, body, err)
	}
	for name, want := range map[string]string{"database": "does not answer", "bus": "not attached"} {
		if c := r.Checks[name]; c.OK || !strings.Contains(c.Error, want) {
			t.Errorf("%s: %+v", name, c)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	stop()
	select {
	case <-drained:
	case <-time.After(5 * time.Second):
		t.Error("requests that wait were not told of the shutdown")
	}
}

func TestADatabaseWithoutTheSchemaIsNotReady(t *testing.T) {
	t.Parallel()
	cluster := testbed.Cluster(t)
	cfg := nowhere
	cfg.DatabaseURL = cluster.DSN("postgres") // the schema is in another one
	if err := newBase(t, cfg).schemaFits(t.Context()); err == nil || !strings.Contains(err.Error(), "not applied") {
		t.Errorf("got %v", err)
	}
	cfg.MigrateURL = cfg.DatabaseURL
	if err := newBase(t, cfg).schemaFits(t.Context()); err != nil {
		t.Errorf("migrated: %v", err)
	}
}

func TestMigratingWaitsForTheDatabase(t *testing.T) {
	t.Parallel()
	cluster := testbed.Cluster(t)
	if err := cluster.Stop(); err != nil {
		t.Fatal(err)
	}
	cfg, log := nowhere, &telemetrytest.Log{}
	cfg.DatabaseURL, cfg.LogWriter = cluster.DSN("postgres"), log
	cfg.MigrateURL = cfg.DatabaseURL
	made := make(chan error, 1)
	go func() {
		b, err := NewBase(context.WithoutCancel(t.Context()), cfg)
		if err == nil {
			err = errors.Join(b.schemaFits(context.WithoutCancel(t.Context())), b.Close(context.Background()))
		}
		made <- err
	}()
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(log.String(), "migrations wait for the database"); {
		if time.Now().After(deadline) {
			t.Fatal("it does not say that it waits")
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := cluster.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-made; err != nil {
		t.Error(err)
	}
}

func TestWaitingToMigrateEndsWithTheProcess(t *testing.T) {
	t.Parallel()
	cfg := nowhere
	cfg.MigrateURL = cfg.DatabaseURL
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := NewBase(ctx, cfg); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestPartsAreClosedInReverseOrder(t *testing.T) {
	t.Parallel()
	b, err := NewBase(t.Context(), nowhere)
	if err != nil {
		t.Fatal(err)
	}
	var closed []int
	for i := range 3 {
		b.OnClose(func() { closed = append(closed, i) })
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // the usual reason to close
	if err := b.Close(ctx); err != nil || !slices.Equal(closed, []int{2, 1, 0}) {
		t.Errorf("closed %v, %v", closed, err)
	}
}

func TestASettingThatIsWrongEndsTheStart(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*BaseConfig){
		"no database": func(c *BaseConfig) { c.DatabaseURL = "" },
		"no bus":      func(c *BaseConfig) { c.NATSURL = "" },
		"no service":  func(c *BaseConfig) { c.Service = "" },
		"no schema":   func(c *BaseConfig) { c.MigrateURL = "what is this" },
	} {
		cfg := nowhere
		spoil(&cfg)
		if _, err := NewBase(t.Context(), cfg); err == nil {
			t.Errorf("%s: started", name)
		}
	}
}

func TestAnEventIsNotToBlameForADatabaseThatIsAway(t *testing.T) {
	t.Parallel()
	away := newBase(t, nowhere).Pool.Ping(t.Context())
	own := errors.New("the event's own")
	for _, err := range []error{nil, own, away} {
		got := Stores(func(context.Context, event.Event) error { return err })(t.Context(), event.New())
		if !errors.Is(got, err) {
			t.Errorf("%v became %v", err, got)
		}
		if unavailable := got != nil && strings.HasPrefix(got.Error(), "unavailable: "); unavailable != (err == away) { //nolint:errorlint // this very one
			t.Errorf("%v became %v", err, got)
		}
	}
}

func TestWhoAsksOnNATSIsToldWhatReadyzSays(t *testing.T) {
	t.Parallel()
	server, err := nats.Start(nats.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	cfg := nowhere
	cfg.NATSURL = server.URL()
	newBase(t, cfg)
	asker, err := natsgo.Connect(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer asker.Close()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		m, err := asker.Request("postbus.svc.ready", nil, 5*time.Second)
		if errors.Is(err, natsgo.ErrNoResponders) && time.Now().Before(deadline) {
			continue // it connects behind NewBase
		}
		var r Report
		if err != nil || json.Unmarshal(m.Data, &r) != nil || r.Status != "unavailable" || r.Checks["database"].OK {
			t.Fatalf("told %+v, %v", r, err)
		}
		return
	}
}

func TestAProcessThatCannotReadItsKeysetIsNotReady(t *testing.T) {
	t.Parallel()
	b := newBase(t, nowhere)
	file := secret.Keyset{Path: filepath.Join(t.TempDir(), "keyset.json")}
	if _, err := b.Sealer(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("started without one: %v", err)
	}
	if err := file.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Sealer(file); err != nil {
		t.Fatal(err)
	}
	if c := b.health.Ready(t.Context()).Checks["keyset"]; !c.OK {
		t.Errorf("%+v", c)
	}
	if err := os.Remove(file.Path); err != nil {
		t.Fatal(err)
	}
	if c := b.health.Ready(t.Context()).Checks["keyset"]; c.OK || !strings.Contains(c.Error, "POSTBUS_KEYSET") || strings.Contains(c.Error, file.Path) {
		t.Errorf("%+v", c)
	}
}
