package connect

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"postbus.dev/deploy/testbed"
	"postbus.dev/migrations"
	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/httpapi"
	"postbus.dev/services/internal/limit"
	"postbus.dev/services/internal/oauthaccount"
	"postbus.dev/services/internal/postgres/postgrestest"
	"postbus.dev/services/internal/secret"
	"postbus.dev/services/internal/secret/secrettest"
	"postbus.dev/services/internal/telemetry/telemetrytest"
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
	logs     *telemetrytest.Log
	spans    *tracetest.InMemoryExporter
	metrics  *metric.ManualReader
}

func setup(t *testing.T, change ...func(*Config)) *bundle {
	t.Helper()
	b := &bundle{T: t, provider: &provider{pkce: true}, logs: &telemetrytest.Log{}, spans: tracetest.NewInMemoryExporter(), metrics: metric.NewManualReader()}
	var err error
	dsn := testbed.Database(t)
	b.pool = postgrestest.Open(t, dsn)
	own := postgrestest.Open(t, testbed.As(dsn, migrations.RoleAccount)) // with the rights of the service
	b.sealer = secrettest.NewSealer(t)
	if b.accounts, err = oauthaccount.NewStore(oauthaccount.StoreConfig{Pool: own, Sealer: b.sealer, Service: "account"}); err != nil {
		t.Fatal(err)
	}
	b.alice, b.bob = b.user("alice"), b.user("bob")
	tenants, err := tenant.New(tenant.Config{Pool: own})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(nil) // its address has to be known before
	t.Cleanup(server.Close)
	b.url = "http://" + server.Listener.Addr().String()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSyncer(b.spans))
	cfg := Config{
		Pool: own, Sealer: b.sealer, Accounts: b.accounts, Users: tenants, PublicURL: b.url, ReturnTo: []string{"https://app.example"},
		Connectors: map[string]connectors.Connector{"example": b.provider, "second": &provider{}, "mute": struct{ connectors.Connector }{}},
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
	server.Config.Handler = api
	server.Start()
	return b
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
	postgrestest.Exec(b, b.pool, sql, args...)
}

func query[T any](b *bundle, sql string, args ...any) T {
	b.Helper()
	return postgrestest.Value[T](b, b.pool, sql, args...)
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
	return telemetrytest.Counted(b, b.metrics, name, attributes...)
}
