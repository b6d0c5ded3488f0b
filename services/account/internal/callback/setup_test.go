package callback

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

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

// bundle is a Taker behind its API on a loopback server, and a user.
type bundle struct {
	*testing.T
	pool     *pgxpool.Pool
	accounts *oauthaccount.Store
	taker    *Taker
	url      string
	user     uuid.UUID
	pokes    atomic.Int32
	logs     *buffer
	metrics  *metric.ManualReader
}

func setup(t *testing.T, change ...func(*Config)) *bundle {
	t.Helper()
	b := &bundle{T: t, logs: &buffer{}, metrics: metric.NewManualReader(), user: uuid.Must(uuid.NewV7())}
	var err error
	dsn := testbed.Database(t)
	b.pool = open(t, dsn)
	own := open(t, testbed.As(dsn, migrations.RoleAccount)) // with the rights of the service
	if b.accounts, err = oauthaccount.NewStore(oauthaccount.StoreConfig{Pool: own, Sealer: newSealer(t), Service: "account"}); err != nil {
		t.Fatal(err)
	}
	b.exec(`INSERT INTO users (id, external_id) VALUES ($1, 'alice')`, b.user)
	web := &late{}
	server := httptest.NewServer(web)
	t.Cleanup(server.Close)
	b.url = server.URL
	cfg := Config{
		Pool: own, Accounts: b.accounts, Service: "account", Wrote: func() { b.pokes.Add(1) }, PublicURL: b.url,
		Connectors: map[string]connectors.Publisher{"example": &provider{}, "mute": struct{ connectors.Publisher }{}},
		Logger:     slog.New(slog.NewJSONHandler(b.logs, nil)), Meter: metric.NewMeterProvider(metric.WithReader(b.metrics)),
	}
	for _, f := range change {
		f(&cfg)
	}
	if b.taker, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	tenants, err := tenant.New(tenant.Config{Pool: own})
	if err != nil {
		t.Fatal(err)
	}
	api, err := httpapi.New(httpapi.Config{Title: "Test", Version: "1", Keys: tenants, Budgets: limit.NewAhead(limit.NewBudgets(own)), Logger: cfg.Logger})
	if err != nil {
		t.Fatal(err)
	}
	b.taker.Register(api)
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

// account connects an account that the provider's callbacks call "app-<id>".
func (b *bundle) account(providerName, id, callbackID string) uuid.UUID {
	b.Helper()
	c, err := b.accounts.Connect(b.Context(), oauthaccount.New{
		UserID: b.user, Provider: providerName, ProviderAccountID: id, Username: "name of " + id, AccessToken: connectors.NewSecret("access-" + id),
		Metadata: json.RawMessage(`{"callback_id":"` + callbackID + `"}`),
	})
	if err != nil {
		b.Fatal(err)
	}
	return c.Account.ID
}

func (b *bundle) status(id uuid.UUID) string {
	b.Helper()
	return query[string](b, `SELECT status || coalesce(' ' || disconnect_reason, '') || CASE WHEN erase THEN ' erase' ELSE '' END FROM oauth_accounts WHERE id = $1`, id)
}

// events are the types in the outbox, in order.
func (b *bundle) events(but ...string) []string {
	b.Helper()
	return query[[]string](b, `SELECT coalesce(array_agg(subject ORDER BY id), '{}') FROM outbox WHERE subject <> ALL ($1)`, append(but, "account.connected"))
}

// provider signs with a header, as most do. Its calls are scripted as JSON.
type provider struct{ connectors.Publisher }

const providerSecret = "the secret of our app"

var errUnreadable = errors.New("the body is no call")

func (*provider) ReadCallback(r connectors.CallbackRequest) (connectors.Callback, error) {
	if r.Query.Get("challenge") != "" {
		if r.Query.Get("verify") != providerSecret {
			return connectors.Callback{}, connectors.ErrForged
		}
		return connectors.Callback{Kind: connectors.CallbackWebhook, Challenge: r.Query.Get("challenge")}, nil
	}
	got, err := hex.DecodeString(r.Header.Get("Signature"))
	if err != nil || !hmac.Equal(got, sign(r.Body)) {
		return connectors.Callback{}, connectors.ErrForged
	}
	var c connectors.Callback
	if json.Unmarshal(r.Body, &c) != nil {
		return c, errUnreadable
	}
	if c.Kind == "none" {
		return c, connectors.ErrNoCallback
	}
	return c, nil
}

func sign(body []byte) []byte {
	mac := hmac.New(sha256.New, []byte(providerSecret))
	mac.Write(body)
	return mac.Sum(nil)
}

type answer struct {
	status int
	header http.Header
	body   string
}

// call is a call of the provider, signed.
func (b *bundle) call(kind string, c connectors.Callback) answer {
	b.Helper()
	body, err := json.Marshal(c)
	if err != nil {
		b.Fatal(err)
	}
	return b.send(http.MethodPost, "/api/callbacks/example/"+kind, string(body), "Content-Type", "application/json", "Signature", hex.EncodeToString(sign(body)))
}

// send sends what it is given; headers are name, value, ...
func (b *bundle) send(method, path, body string, headers ...string) answer {
	b.Helper()
	r, err := http.NewRequestWithContext(b.Context(), method, b.url+path, strings.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(text)}
}

func (a answer) wants(t testing.TB, status int, code httpapi.Code) {
	t.Helper()
	var body struct {
		Error struct {
			Code    httpapi.Code
			Message string
			Details any
		}
	}
	if err := json.Unmarshal([]byte(a.body), &body); err != nil || a.status != status || body.Error.Code != code || body.Error.Details != nil {
		t.Errorf("answered %d %s, want %d %s", a.status, a.body, status, code)
	}
}

// deletion reads what a deletion is answered with.
func (a answer) deletion(t testing.TB) deletion {
	t.Helper()
	var d deletion
	if err := json.Unmarshal([]byte(a.body), &d); err != nil || a.status != 200 || d.Code == "" || !strings.HasSuffix(d.URL, "/deletions/"+d.Code) {
		t.Errorf("answered %d %s", a.status, a.body)
	}
	return d
}

// taken returns how many calls had an outcome.
func (b *bundle) counted(o outcome) int64 {
	b.Helper()
	var all metricdata.ResourceMetrics
	if err := b.metrics.Collect(b.Context(), &all); err != nil {
		b.Fatal(err)
	}
	var n int64
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			sum, ok := m.Data.(metricdata.Sum[int64])
			if m.Name != "postbus.callback.received" || !ok {
				continue
			}
			for _, p := range sum.DataPoints {
				if v, has := p.Attributes.Value("outcome"); has && v.AsString() == string(o) {
					n += p.Value
				}
			}
		}
	}
	return n
}

func has(list []string, want ...string) bool { return slices.Equal(list, want) }
