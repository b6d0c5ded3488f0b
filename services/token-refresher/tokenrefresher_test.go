package tokenrefresher

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"

	"postbus.dev/deploy/testbed"
	"postbus.dev/deploy/testbed/nats"
	"postbus.dev/events"
	"postbus.dev/migrations"
	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/bus"
	"postbus.dev/services/internal/oauthaccount"
	"postbus.dev/services/internal/postgres/postgrestest"
	"postbus.dev/services/internal/secret"
	"postbus.dev/services/internal/tenant"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

// renewer is a provider that gives another token to whoever asks. A call that came
// waits for go on.
type renewer struct{ called, goOn chan struct{} }

func newRenewer() renewer { return renewer{make(chan struct{}, 1), make(chan struct{}, 1)} }

func (renewer) Provider() string { return "test" }
func (renewer) RefreshRule() connectors.RefreshRule {
	return connectors.RefreshRule{Call: time.Minute}
}

func (r renewer) Refresh(ctx context.Context, a connectors.Account, _ connectors.Secret) (connectors.Grant, error) {
	r.called <- struct{}{}
	select {
	case <-r.goOn:
	case <-ctx.Done():
		return connectors.Grant{}, &connectors.Error{Kind: connectors.KindRetry, Err: ctx.Err()}
	}
	return connectors.Grant{AccessToken: connectors.NewSecret(a.AccessToken.Reveal() + "+"), ExpiresIn: time.Hour, RefreshIn: time.Minute}, nil
}

// bed is the service and what it stands on.
type bed struct {
	*testing.T
	cluster  *testbed.PostgreSQL
	server   *nats.Server
	dsn      string
	sealer   *secret.Sealer
	provider renewer
	url      string
	stop     context.CancelFunc
	ended    chan error
}

func newBed(t *testing.T, away bool) *bed {
	t.Helper()
	b := &bed{T: t, cluster: testbed.Cluster(t), server: testbed.NATSServer(t, nats.Config{}), provider: newRenewer(), ended: make(chan error, 1)}
	b.dsn = b.cluster.Database(t)
	keyset := secret.Keyset{Path: filepath.Join(t.TempDir(), "keyset.json")}
	if err := keyset.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	var err error
	if b.sealer, err = secret.LoadSealer(keyset); err != nil {
		t.Fatal(err)
	}
	if away {
		b.server.Stop()
		if err := b.cluster.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	b.serve(keyset.Path)
	return b
}

// serve runs the service.
func (b *bed) serve(keyset string) {
	b.Helper()
	listening := make(chan string, 1)
	var ctx context.Context
	ctx, b.stop = context.WithCancel(context.Background())
	go func() {
		b.ended <- Run(ctx, Config{
			DatabaseURL: testbed.As(b.dsn, migrations.RoleRefresher), NATSURL: b.server.URL(), KeysetPath: keyset,
			HTTPAddr: "127.0.0.1:0", LogWriter: io.Discard, Listening: func(addr string) { listening <- "http://" + addr },
			Connectors: func(*connectors.Client) map[string]connectors.Connector {
				return map[string]connectors.Connector{"test": b.provider}
			},
		})
	}()
	b.Cleanup(func() {
		b.stop()
		if err := <-b.ended; err != nil {
			b.Errorf("the service ended with %v", err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	select {
	case b.url = <-listening:
	case err := <-b.ended:
		b.ended <- nil
		b.Fatalf("the service did not start: %v", err)
	}
}

func (b *bed) status(path string) int {
	b.Helper()
	res, err := http.Get(b.url + path)
	if err != nil {
		b.Fatal(err)
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode
}

func (b *bed) eventually(what string, f func() bool) {
	b.Helper()
	for deadline := time.Now().Add(30 * time.Second); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatal("not in time: " + what)
		}
	}
}

// connect is the account service's part.
func (b *bed) connect() uuid.UUID {
	b.Helper()
	pool := postgrestest.Open(b.T, b.dsn)
	store, err := oauthaccount.NewStore(oauthaccount.StoreConfig{Pool: pool, Sealer: b.sealer, Service: "account"})
	if err != nil {
		b.Fatal(err)
	}
	keys, err := tenant.New(tenant.Config{Pool: pool})
	if err != nil {
		b.Fatal(err)
	}
	user, err := keys.CreateUser(b.Context(), "user-1")
	if err != nil {
		b.Fatal(err)
	}
	c, err := store.Connect(b.Context(), oauthaccount.New{
		UserID: user.ID, Provider: "test", ProviderAccountID: "1", AccessToken: connectors.NewSecret("token"),
	})
	if err != nil {
		b.Fatal(err)
	}
	return c.Account.ID
}

// ask asks for a refresh, and returns where token.refreshed shows.
func (b *bed) ask(account uuid.UUID) <-chan event.Event {
	b.Helper()
	out := make(chan event.Event, 8)
	sender, err := bus.Connect(b.Context(), bus.Config{URL: b.server.URL(), Name: "test"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = sender.Close(context.Background()) })
	stop, err := sender.Subscribe(events.TypeTokenRefreshed, func(e event.Event) { out <- e })
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(stop)
	b.eventually("the test is connected", sender.Connected)
	if _, _, err := sender.PublishOne(b.Context(), asked(b.T, account)); err != nil {
		b.Fatal(err)
	}
	return out
}

func asked(t *testing.T, account uuid.UUID) event.Event {
	t.Helper()
	e, err := events.New(events.Meta{Source: "/test", Subject: account.String()},
		events.TokenRefreshRequested{AccountID: account.String(), Provider: "test", TokenVersion: 1, Reason: "a test asks"})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// version is that of the tokens which the account has.
func (b *bed) version(account uuid.UUID) (n int64) {
	b.Helper()
	if err := postgrestest.Open(b.T, b.dsn).QueryRow(b.Context(), `SELECT token_version FROM oauth_accounts WHERE id = $1`, account).Scan(&n); err != nil {
		b.Fatal(err)
	}
	return n
}

func TestTheServiceStartsWithEverythingAwayAndThenRefreshesWhatIsAskedFor(t *testing.T) {
	t.Parallel()
	b := newBed(t, true)
	if live, ready := b.status("/livez"), b.status("/readyz"); live != http.StatusOK || ready != http.StatusServiceUnavailable {
		t.Errorf("with everything away: /livez %d, /readyz %d", live, ready)
	}
	if err := b.cluster.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.server.Start(); err != nil {
		t.Fatal(err)
	}
	b.eventually("the service is ready", func() bool { return b.status("/readyz") == http.StatusOK })
	account := b.connect()
	b.provider.goOn <- struct{}{}
	select {
	case e := <-b.ask(account):
		if e.Subject() != account.String() || b.version(account) != 2 {
			t.Errorf("refreshed %s, the account has version %d", e.Subject(), b.version(account))
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it was not refreshed")
	}
	if b.status("/metrics") != http.StatusOK || b.status("/") != http.StatusNotFound {
		t.Error("it serves something else than probes and metrics")
	}
}

func TestAStopWaitsUntilNewTokensAreStored(t *testing.T) {
	t.Parallel()
	b := newBed(t, false)
	account := b.connect()
	b.ask(account)
	<-b.provider.called
	if err := b.cluster.Stop(); err != nil {
		t.Fatal(err)
	}
	b.stop()
	b.provider.goOn <- struct{}{} // new tokens, and nobody to store them
	select {
	case err := <-b.ended:
		b.ended <- nil
		t.Fatalf("it ended with tokens that are not stored (%v)", err)
	case <-time.After(500 * time.Millisecond):
	}
	if err := b.cluster.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	err := <-b.ended
	b.ended <- err
	if n := b.version(account); n != 2 {
		t.Errorf("it ended, and the account has version %d", n)
	}
}

func TestWhatIsNotUnderstoodIsRefusedForGood(t *testing.T) {
	t.Parallel()
	for want, spoil := range map[string]func(*event.Event){
		"no handler":   func(e *event.Event) { e.SetType(events.TypeTokenRefreshed) },
		"invalid data": func(e *event.Event) { e.DataEncoded = []byte(`{"accountId":"17"}`) },
	} {
		e := asked(t, uuid.New())
		spoil(&e)
		if err := (&program{}).handle(t.Context(), e); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestSettingsThatAreMissingAreAllNamed(t *testing.T) {
	t.Parallel()
	_, err := FromEnv(func(string) string { return "" })
	for _, name := range []string{"DATABASE_URL", "POSTBUS_KEYSET"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not named: %v", name, err)
		}
	}
}
