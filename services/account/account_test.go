package account

import (
	"context"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"

	"postbus.dev/deploy/testbed"
	"postbus.dev/deploy/testbed/nats"
	"postbus.dev/events"
	"postbus.dev/migrations"
	"postbus.dev/services/account/internal/disconnect"
	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/bus"
	"postbus.dev/services/internal/oauthaccount"
	"postbus.dev/services/internal/postgres/postgrestest"
	"postbus.dev/services/internal/secret"
	"postbus.dev/services/internal/tenant"
)

// revoker is a provider that counts what it revokes.
type revoker struct {
	connectors.Publisher
	revoked *atomic.Int64
}

func (r revoker) Revoke(context.Context, connectors.Account, connectors.Secret) error {
	r.revoked.Add(1)
	return nil
}

// serve runs the service until the test ends and returns where it listens.
func serve(t *testing.T, cfg Config) (url string) {
	t.Helper()
	listening, ended := make(chan string, 1), make(chan error, 1)
	cfg.HTTPAddr, cfg.LogWriter = "127.0.0.1:0", io.Discard
	cfg.Listening = func(addr string) { listening <- "http://" + addr }
	ctx, cancel := context.WithCancel(context.Background())
	go func() { ended <- Run(ctx, cfg) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the service ended with %v", err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	select {
	case url = <-listening:
	case err := <-ended:
		ended <- err
		t.Fatalf("the service did not start: %v", err)
	}
	return url
}

func status(t *testing.T, url string) int {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not in time: " + what)
		}
	}
}

func TestTheServiceStartsWithEverythingAwayAndThenWorks(t *testing.T) {
	t.Parallel()
	cluster, server := testbed.Cluster(t), testbed.NATSServer(t, nats.Config{})
	dsn, keyset := cluster.Database(t), filepath.Join(t.TempDir(), "keyset.json")
	if err := (secret.Keyset{Path: keyset}).Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := cluster.Stop(); err != nil {
		t.Fatal(err)
	}
	server.Stop()
	provider := revoker{revoked: &atomic.Int64{}}
	url := serve(t, Config{
		DatabaseURL: testbed.As(dsn, migrations.RoleAccount), NATSURL: server.URL(), KeysetPath: keyset,
		Connectors: func(*connectors.Client) map[string]connectors.Connector {
			return map[string]connectors.Connector{"test": provider}
		},
	})
	if live, ready := status(t, url+"/livez"), status(t, url+"/readyz"); live != http.StatusOK || ready != http.StatusServiceUnavailable {
		t.Errorf("with everything away: /livez %d, /readyz %d", live, ready)
	}
	if err := cluster.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the service is ready", func() bool { return status(t, url+"/readyz") == http.StatusOK })

	b := newBed(t, dsn, server.URL(), keyset)
	id, version := b.disconnecting()
	b.drained(id, version)
	eventually(t, "the relay has sent the end", func() bool { return b.saw(events.TypeAccountDisconnected, id) })
	if n := provider.revoked.Load(); n != 1 {
		t.Errorf("revoked %d times", n)
	}
	for _, name := range []string{events.TypeAccountConnected, events.TypeAccountDisconnecting} {
		if !b.saw(name, id) {
			t.Errorf("%s did not come", name)
		}
	}
}

// bed is the database and the bus as others work with them.
type bed struct {
	*testing.T
	store *oauthaccount.Store
	user  uuid.UUID
	bus   *bus.Bus
	seen  chan []event.Event // holds the list
}

func newBed(t *testing.T, dsn, natsURL, keyset string) *bed {
	t.Helper()
	b := &bed{T: t, seen: make(chan []event.Event, 1)}
	b.seen <- nil
	b.store, b.user = openStore(t, dsn, keyset)
	var err error
	if b.bus, err = bus.Connect(t.Context(), bus.Config{URL: natsURL, Name: "test"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.bus.Close(context.Background()) })
	stop, err := b.bus.Subscribe("account.>", func(e event.Event) { b.seen <- append(<-b.seen, e) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	eventually(t, "the test is connected", b.bus.Connected)
	return b
}

func openStore(t *testing.T, dsn, keyset string) (*oauthaccount.Store, uuid.UUID) {
	t.Helper()
	pool := postgrestest.Open(t, dsn)
	sealer, err := secret.LoadSealer(secret.Keyset{Path: keyset})
	if err != nil {
		t.Fatal(err)
	}
	store, err := oauthaccount.NewStore(oauthaccount.StoreConfig{Pool: pool, Sealer: sealer, Service: service})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := tenant.New(tenant.Config{Pool: pool})
	if err != nil {
		t.Fatal(err)
	}
	user, err := keys.CreateUser(t.Context(), "user-1")
	if err != nil {
		t.Fatal(err)
	}
	return store, user.ID
}

// disconnecting is an account whose publishes are being stopped.
func (b *bed) disconnecting() (uuid.UUID, int64) {
	b.Helper()
	c, err := b.store.Connect(b.Context(), oauthaccount.New{
		UserID: b.user, Provider: "test", ProviderAccountID: "1", AccessToken: connectors.NewSecret("a token"),
	})
	if err != nil {
		b.Fatal(err)
	}
	as, err := b.store.Disconnect(b.Context(), oauthaccount.Select{ID: c.Account.ID}, events.DisconnectRequested, false)
	if err != nil {
		b.Fatal(err)
	}
	return as[0].ID, as[0].Version
}

// drained is what the publisher answers.
func (b *bed) drained(id uuid.UUID, version int64) {
	b.Helper()
	if _, _, err := b.bus.PublishOne(b.Context(), drainedEvent(b.T, id, version)); err != nil {
		b.Fatal(err)
	}
}

func drainedEvent(t *testing.T, id uuid.UUID, version int64) event.Event {
	t.Helper()
	e, err := events.New(events.Meta{Source: "/postbus/publisher", Subject: id.String(), Sequence: version},
		events.AccountDrained{AccountRef: events.AccountRef{AccountID: id.String(), Provider: "test"}})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func (b *bed) saw(name string, id uuid.UUID) bool {
	all := <-b.seen
	b.seen <- all
	return slices.ContainsFunc(all, func(e event.Event) bool { return e.Type() == name && e.Subject() == id.String() })
}

func TestADrainedEventThatCannotBeMeantIsRefused(t *testing.T) {
	t.Parallel()
	keyset := filepath.Join(t.TempDir(), "keyset.json")
	if err := (secret.Keyset{Path: keyset}).Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	b := &bed{T: t}
	b.store, b.user = openStore(t, testbed.Database(t), keyset)
	id, version := b.disconnecting()
	p := &program{accounts: b.store, job: &disconnect.Job{}}
	good := drainedEvent(t, id, version)
	for name, spoil := range map[string]func(*event.Event){
		"another type": func(e *event.Event) { e.SetType(events.TypeAccountConnected) },
		"no account": func(e *event.Event) {
			_ = e.SetData(event.ApplicationJSON, map[string]any{"provider": "test", "unconfirmed": 0})
		},
		"no sequence": func(e *event.Event) { e.SetExtension(events.ExtSequence, nil) },
	} {
		e := good.Clone()
		spoil(&e)
		if err := p.handle(t.Context(), e); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	due := func() int {
		t.Helper()
		ls, err := b.store.ClaimDisconnects(t.Context(), 1, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		return len(ls)
	}
	if n := due(); n != 0 {
		t.Errorf("%d are due", n)
	}
	if err := p.handle(t.Context(), good); err != nil {
		t.Error(err)
	}
	if n := due(); n != 1 {
		t.Errorf("%d are due after a good one", n)
	}
}

func TestSettingsAreReadWithAllTheirFaults(t *testing.T) {
	t.Parallel()
	env := map[string]string{
		"DATABASE_URL": "postgres://db", "POSTBUS_KEYSET": "/keys", "POSTBUS_PUBLIC_URL": "https://post.example",
		"POSTBUS_RETURN_TO": "https://app.example/done, https://other.example", "POSTBUS_HTTP_ADDR": ":80",
	}
	cfg, err := FromEnv(func(name string) string { return env[name] })
	if err != nil || cfg.PublicURL != "https://post.example" || cfg.HTTPAddr != ":80" || cfg.NATSURL == "" ||
		!slices.Equal(cfg.ReturnTo, []string{"https://app.example/done", "https://other.example"}) {
		t.Errorf("read %+v, %v", cfg, err)
	}
	env = map[string]string{"POSTBUS_PUBLIC_URL": "post.example", "POSTBUS_HTTP_ADDR": "80"}
	_, err = FromEnv(func(name string) string { return env[name] })
	for _, name := range []string{"DATABASE_URL", "POSTBUS_KEYSET", "POSTBUS_PUBLIC_URL", "POSTBUS_HTTP_ADDR"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not named: %v", name, err)
		}
		if !strings.Contains(Usage, name) {
			t.Errorf("--help does not tell of %s", name)
		}
	}
	if err := Run(t.Context(), Config{DatabaseURL: "postgres://db", NATSURL: "nats://127.0.0.1:1", KeysetPath: "/nowhere", LogWriter: io.Discard}); err == nil {
		t.Error("started without a keyset")
	}
}
