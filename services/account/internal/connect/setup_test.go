package connect

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"postbus.dev/deploy/testbed"
	"postbus.dev/migrations"
	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/httpapi"
	"postbus.dev/services/internal/limit"
	"postbus.dev/services/internal/oauthaccount"
	"postbus.dev/services/internal/postgres"
	"postbus.dev/services/internal/secret"
	"postbus.dev/services/internal/tenant"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

const app = "https://app.example/back"

// bundle is a Flow behind its API on a loopback server, and the provider
// "example" that it connects accounts of.
type bundle struct {
	*testing.T
	pool     *pgxpool.Pool
	sealer   *secret.Sealer
	accounts *oauthaccount.Store
	flow     *Flow
	provider *provider
	url      string
	alice    uuid.UUID
	bob      uuid.UUID
	logs     *buffer
	spans    *tracetest.InMemoryExporter
	metrics  *metric.ManualReader
}

func setup(t *testing.T, change ...func(*Config)) *bundle {
	t.Helper()
	b := &bundle{T: t, provider: &provider{pkce: true}, logs: &buffer{}, spans: tracetest.NewInMemoryExporter(), metrics: metric.NewManualReader()}
	var err error
	dsn := testbed.Database(t)
	b.pool = open(t, dsn)
	own := open(t, testbed.As(dsn, migrations.RoleAccount)) // with the rights of the service
	b.sealer = newSealer(t)
	if b.accounts, err = oauthaccount.NewStore(oauthaccount.StoreConfig{Pool: own, Sealer: b.sealer, Service: "account"}); err != nil {
		t.Fatal(err)
	}
	b.alice, b.bob = b.user("alice"), b.user("bob")
	tenants, err := tenant.New(tenant.Config{Pool: own})
	if err != nil {
		t.Fatal(err)
	}
	web := &late{}
	server := httptest.NewServer(web)
	t.Cleanup(server.Close)
	b.url = server.URL
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSyncer(b.spans))
	cfg := Config{
		Pool: own, Sealer: b.sealer, Accounts: b.accounts, Users: tenants, PublicURL: b.url, ReturnTo: []string{"https://app.example"},
		Connectors: map[string]connectors.Publisher{"example": b.provider, "second": &provider{}, "mute": struct{ connectors.Publisher }{}},
		Logger:     slog.New(slog.NewJSONHandler(b.logs, nil)), Tracer: tracer, Meter: metric.NewMeterProvider(metric.WithReader(b.metrics)),
	}
	for _, f := range change {
		f(&cfg)
	}
	if b.flow, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	api, err := httpapi.New(httpapi.Config{Title: "Test", Version: "1", Keys: keys{b.alice, b.bob}, Budgets: limit.NewAhead(limit.NewBudgets(own)),
		Logger: cfg.Logger, Tracer: tracer})
	if err != nil {
		t.Fatal(err)
	}
	b.flow.Register(api)
	web.Handler = api
	return b
}

func open(t *testing.T, dsn string) *pgxpool.Pool {
	t.Helper()
	pool, err := postgres.Open(t.Context(), postgres.Config{DSN: dsn, MaxConns: 4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// late is a server's handler that is made when its address is known.
type late struct{ http.Handler }

func newSealer(t *testing.T) *secret.Sealer {
	t.Helper()
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		t.Fatal(err)
	}
	s, err := secret.NewSealer(handle)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *buffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *buffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// keys knows pb_alice, pb_bob, pb_agency, which is Alice's and may act for
// others, and pb_publish, which may not touch accounts.
type keys struct{ alice, bob uuid.UUID }

func (k keys) Authenticate(_ context.Context, key string) (tenant.Caller, error) {
	c := tenant.Caller{UserID: k.alice, ExternalID: "alice", Scopes: []tenant.Scope{tenant.ScopeAccounts}}
	switch key {
	case "pb_alice":
	case "pb_bob":
		c.UserID, c.ExternalID = k.bob, "bob"
	case "pb_agency":
		c.Scopes = append(c.Scopes, tenant.ScopeOnBehalf)
	case "pb_publish":
		c.Scopes = []tenant.Scope{tenant.ScopePublish}
	default:
		return tenant.Caller{}, tenant.ErrUnauthorized
	}
	return c, nil
}

func (b *bundle) user(externalID string) uuid.UUID {
	b.Helper()
	id := uuid.Must(uuid.NewV7())
	b.exec(`INSERT INTO users (id, external_id) VALUES ($1, $2)`, id, externalID)
	return id
}

func (b *bundle) exec(sql string, args ...any) {
	b.Helper()
	if _, err := b.pool.Exec(b.Context(), sql, args...); err != nil {
		b.Fatal(err)
	}
}

func query[T any](b *bundle, sql string, args ...any) T {
	b.Helper()
	var v T
	if err := b.pool.QueryRow(b.Context(), sql, args...).Scan(&v); err != nil {
		b.Fatalf("%s: %v", sql, err)
	}
	return v
}

// all returns every account, the first connected first.
func (b *bundle) all() []oauthaccount.Account {
	b.Helper()
	accounts, err := b.accounts.Find(b.Context(), "example", []string{"acct-1", "acct-2"})
	if err != nil {
		b.Fatal(err)
	}
	slices.SortFunc(accounts, func(x, y oauthaccount.Account) int { return strings.Compare(x.ID.String(), y.ID.String()) })
	return accounts
}

func (b *bundle) wantAccounts(n int) {
	b.Helper()
	if got := len(b.all()); got != n {
		b.Errorf("%d accounts are connected, want %d", got, n)
	}
}

// counted returns a counter's value for the given attributes: "name=value" each.
func (b *bundle) counted(name string, attributes ...string) int64 {
	b.Helper()
	var all metricdata.ResourceMetrics
	if err := b.metrics.Collect(b.Context(), &all); err != nil {
		b.Fatal(err)
	}
	var n int64
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			sum, ok := m.Data.(metricdata.Sum[int64])
			if m.Name != name || !ok {
				continue
			}
			for _, p := range sum.DataPoints {
				var has []string
				for _, kv := range p.Attributes.ToSlice() {
					has = append(has, fmt.Sprintf("%s=%s", kv.Key, kv.Value.String()))
				}
				if !slices.ContainsFunc(attributes, func(want string) bool { return !slices.Contains(has, want) }) {
					n += p.Value
				}
			}
		}
	}
	return n
}
