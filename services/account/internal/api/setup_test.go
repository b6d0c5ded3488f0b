package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"postbus.dev/deploy/testbed"
	"postbus.dev/events"
	"postbus.dev/migrations"
	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/httpapi"
	"postbus.dev/services/internal/httpapi/httpapitest"
	"postbus.dev/services/internal/limit"
	"postbus.dev/services/internal/oauthaccount"
	"postbus.dev/services/internal/postgres"
	"postbus.dev/services/internal/postgres/postgrestest"
	"postbus.dev/services/internal/secret/secrettest"
	"postbus.dev/services/internal/telemetry/telemetrytest"
	"postbus.dev/services/internal/tenant"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

// bundle is the API on a database, with the users alice and bob, and the
// providers "example", which can do everything, and "mute", which can do nothing.
type bundle struct {
	*testing.T
	api      *API
	http     *httpapi.API
	pool     *pgxpool.Pool
	accounts *oauthaccount.Store
	tenants  *tenant.Keys
	provider *provider
	logs     *telemetrytest.Log
	spans    *tracetest.InMemoryExporter

	promises   httpapitest.Promises
	alice, bob tenant.User
}

func setup(t *testing.T) *bundle {
	t.Helper()
	return setupWith(t, postgres.Config{})
}

func setupWith(t *testing.T, database postgres.Config) *bundle {
	t.Helper()
	b := &bundle{T: t, provider: &provider{}, logs: &telemetrytest.Log{}, spans: tracetest.NewInMemoryExporter()}
	var err error
	database.DSN = testbed.As(testbed.Database(t), migrations.RoleAccount) // as the service
	if b.pool, err = postgres.Open(t.Context(), database); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.pool.Close)
	b.accounts, err = oauthaccount.NewStore(oauthaccount.StoreConfig{Pool: b.pool, Sealer: secrettest.NewSealer(t), Service: "account"})
	if err != nil {
		t.Fatal(err)
	}
	if b.tenants, err = tenant.New(tenant.Config{Pool: b.pool}); err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.NewJSONHandler(b.logs, nil))
	b.api, err = New(Config{
		Accounts: b.accounts, Tenants: b.tenants, Logger: logger,
		Connectors: map[string]connectors.Connector{"example": b.provider, "mute": struct{ connectors.Connector }{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	b.http, err = httpapi.New(httpapi.Config{
		Title: "Test", Version: "1", Keys: b.tenants, Budgets: limit.NewAhead(limit.NewBudgets(b.pool)),
		Limits: httpapi.Limits{PerKey: 100_000, PerUser: 100_000}, Logger: logger,
		Tracer: sdktrace.NewTracerProvider(sdktrace.WithSyncer(b.spans)),
	})
	if err != nil {
		t.Fatal(err)
	}
	b.api.Register(b.http)
	doc, err := b.http.Document()
	if err != nil {
		t.Fatal(err)
	}
	b.promises = httpapitest.Read(t, doc)
	b.alice, b.bob = b.user("alice"), b.user("bob")
	return b
}

func (b *bundle) user(externalID string) tenant.User {
	b.Helper()
	u, err := b.tenants.CreateUser(b.Context(), externalID)
	if err != nil {
		b.Fatal(err)
	}
	return u
}

// probe names the keys that tests call with: state leaves them out.
const probe = "probe"

// key makes a key of a user with these scopes, or with all.
func (b *bundle) key(u tenant.User, scopes ...tenant.Scope) string {
	b.Helper()
	if scopes == nil {
		scopes = tenant.Scopes()
	}
	return b.keyWith(tenant.KeySpec{UserID: u.ID, Scopes: scopes})
}

func (b *bundle) keyWith(spec tenant.KeySpec) string {
	b.Helper()
	spec.Name = probe
	_, value, err := b.tenants.CreateKey(b.Context(), spec)
	if err != nil {
		b.Fatal(err)
	}
	return value.Reveal()
}

// account connects an account of a user at "example".
func (b *bundle) account(u tenant.User, providerAccountID string) oauthaccount.Account {
	b.Helper()
	c, err := b.accounts.Connect(b.Context(), oauthaccount.New{
		UserID: u.ID, Provider: "example", ProviderAccountID: providerAccountID, AccessToken: connectors.NewSecret("token-of-" + providerAccountID),
	})
	if err != nil {
		b.Fatal(err)
	}
	return c.Account
}

func (b *bundle) exec(sql string, args ...any) {
	b.Helper()
	postgrestest.Exec(b, b.pool, sql, args...)
}

func query[T any](b *bundle, sql string, args ...any) T {
	b.Helper()
	return postgrestest.Value[T](b, b.pool, sql, args...)
}

// told are the types of the events that were appended, in their order.
func (b *bundle) told() string {
	b.Helper()
	return query[string](b, `SELECT coalesce(string_agg(subject, ' ' ORDER BY xid, id), '') FROM outbox`)
}

// state is everything that a caller can change, as text: two equal ones mean that
// nothing was stored.
func (b *bundle) state() string {
	b.Helper()
	return query[string](b, `SELECT concat_ws(E'\n',
  (SELECT string_agg(u::text, E'\n' ORDER BY id) FROM users u),
  (SELECT string_agg((to_jsonb(k) - 'last_used_at')::text, E'\n' ORDER BY id) FROM api_keys k WHERE name <> 'probe'),
  (SELECT string_agg(a::text, E'\n' ORDER BY id) FROM oauth_accounts a),
  (SELECT count(*) FROM outbox))`)
}

type answer struct {
	status int
	header http.Header
	data   map[string]any
	err    struct {
		Code       string
		Message    string
		RetryAfter int64
		Details    struct {
			Missing    []string
			Violations []events.Violation
		}
	}
	raw string
}

// send asks with a key; "" is none. A body that is not "" is JSON.
func (b *bundle) send(key, method, path, body string) answer {
	b.Helper()
	r := request(b.Context(), method, path, body)
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	return b.do(r)
}

func request(ctx context.Context, method, path, body string) *http.Request {
	var reader io.Reader = http.NoBody
	if body != "" {
		reader = strings.NewReader(body)
	}
	r := httptest.NewRequestWithContext(ctx, method, path, reader)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	return r
}

func (b *bundle) do(r *http.Request) answer {
	b.Helper()
	rec := httptest.NewRecorder()
	b.http.ServeHTTP(rec, r)
	b.promises.Check(b, r, rec.Code, rec.Header())
	a := answer{status: rec.Code, header: rec.Header(), raw: rec.Body.String()}
	envelope := struct{ Data, Error any }{&a.data, &a.err}
	if err := json.Unmarshal(rec.Body.Bytes(), &envelope); err != nil {
		b.Errorf("%s %s: %d is no JSON: %s", r.Method, r.URL, rec.Code, a.raw)
	}
	return a
}

func (a answer) wants(t testing.TB, status int, code string) {
	t.Helper()
	if a.status != status || a.err.Code != code {
		t.Errorf("answered %d %s, want %d %s", a.status, a.raw, status, code)
	}
}

// withoutMeta is the body but for request id, time and trace.
func (a answer) withoutMeta() string {
	return regexp.MustCompile(`"meta":\{[^}]*\}`).ReplaceAllString(a.raw, "")
}

// faults are the violations as "field rule".
func (a answer) faults() string {
	var out []string
	for _, v := range a.err.Details.Violations {
		out = append(out, v.Field+" "+v.Rule)
	}
	return strings.Join(out, ", ")
}

// provider is one that tells of tokens and quotas what a test sets.
type provider struct {
	connectors.Publisher

	mu       sync.Mutex
	given    []connectors.Grant // to Import
	grant    func(g *connectors.Grant)
	fail     error
	quota    connectors.Quota
	quotaErr error
	asked    []connectors.Account // for their quota
	patience time.Duration        // of who asked
}

func (p *provider) set(change func(p *provider)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p)
}

func (p *provider) imports() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.given)
}

func (p *provider) Import(ctx context.Context, given connectors.Grant) (connectors.Grant, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.given = append(p.given, given)
	if _, bounded := ctx.Deadline(); !bounded {
		return connectors.Grant{}, errors.New("nobody bounds the time of this call")
	}
	if p.fail != nil {
		return connectors.Grant{}, p.fail
	}
	g := connectors.Grant{
		ProviderAccountID: "acct-1", Username: "ada", AccessToken: given.AccessToken, RefreshToken: given.RefreshToken,
		Scope: "read,publish", ExpiresIn: given.ExpiresIn, RefreshIn: given.ExpiresIn / 2, Metadata: []byte(`{"kind":"business"}`),
	}
	if p.grant != nil {
		p.grant(&g)
	}
	return g, nil
}

func (p *provider) ReadQuota(ctx context.Context, a connectors.Account) (connectors.Quota, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, a)
	until, _ := ctx.Deadline()
	p.patience = time.Until(until)
	return p.quota, p.quotaErr
}

var unknownID = uuid.MustParse("0197e0c3-7a53-7d1c-9d63-1f0a3c0f5a01") //nolint:gochecknoglobals // a constant
