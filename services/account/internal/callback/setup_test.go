package callback

import (
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
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/sdk/metric"

	"postbus.dev/deploy/testbed"
	"postbus.dev/migrations"
	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/httpapi"
	"postbus.dev/services/internal/limit"
	"postbus.dev/services/internal/oauthaccount"
	"postbus.dev/services/internal/postgres/postgrestest"
	"postbus.dev/services/internal/secret/secrettest"
	"postbus.dev/services/internal/telemetry/telemetrytest"
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
	logs     *telemetrytest.Log
	metrics  *metric.ManualReader
}

func setup(t *testing.T, change ...func(*Config)) *bundle {
	t.Helper()
	b := &bundle{T: t, logs: &telemetrytest.Log{}, metrics: metric.NewManualReader(), user: uuid.Must(uuid.NewV7())}
	var err error
	dsn := testbed.Database(t)
	b.pool = postgrestest.Open(t, dsn)
	own := postgrestest.Open(t, testbed.As(dsn, migrations.RoleAccount)) // with the rights of the service
	if b.accounts, err = oauthaccount.NewStore(oauthaccount.StoreConfig{Pool: own, Sealer: secrettest.NewSealer(t), Service: "account"}); err != nil {
		t.Fatal(err)
	}
	b.exec(`INSERT INTO users (id, external_id) VALUES ($1, 'alice')`, b.user)
	server := httptest.NewUnstartedServer(nil) // its address has to be known before
	t.Cleanup(server.Close)
	b.url = "http://" + server.Listener.Addr().String()
	cfg := Config{
		Pool: own, Accounts: b.accounts, Service: "account", Wrote: func() { b.pokes.Add(1) }, PublicURL: b.url,
		Connectors: map[string]connectors.Connector{"example": &provider{}, "mute": struct{ connectors.Connector }{}},
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
	server.Config.Handler = api
	server.Start()
	return b
}

func (b *bundle) exec(sql string, args ...any) {
	b.Helper()
	postgrestest.Exec(b, b.pool, sql, args...)
}

func query[T any](b *bundle, sql string, args ...any) T {
	b.Helper()
	return postgrestest.Value[T](b, b.pool, sql, args...)
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

// counted returns how many calls had an outcome.
func (b *bundle) counted(o outcome) int64 {
	b.Helper()
	return telemetrytest.Counted(b, b.metrics, "postbus.callback.received", "outcome="+string(o))
}

func has(list []string, want ...string) bool { return slices.Equal(list, want) }
