package connect

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
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
	pool, err := postgres.Open(t.Context(), postgres.Config{DSN: dsn})
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

// provider is a small OAuth provider with PKCE. A person's consent is consent.
type provider struct {
	connectors.Publisher
	pkce bool

	mu        sync.Mutex
	codes     map[string]*code
	exchanges int
	revoked   []connectors.Account
	fail      error                     // what Exchange answers
	authFail  error                     // what AuthorizeURL answers
	during    func(context.Context)     // while a code is being exchanged
	grant     func(g *connectors.Grant) // changes what is granted
	last      connectors.Exchange
}

type code struct {
	account, challenge, redirect string
	spent                        bool
}

func (p *provider) PKCE() bool { return p.pkce }

func (p *provider) AuthorizeURL(_ context.Context, r connectors.AuthorizeRequest) (string, error) {
	q := url.Values{"state": {r.State}, "redirect_uri": {r.RedirectURI}, "challenge": {r.Challenge}}
	return "https://provider.example/authorize?" + q.Encode(), p.authFail
}

// consent is a person with an account who allows it at the page of an address;
// it returns where the provider sends the browser.
func (p *provider) consent(address, account string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	q := u.Query()
	value := "code-" + uuid.NewString()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.codes == nil {
		p.codes = map[string]*code{}
	}
	p.codes[value] = &code{account: account, challenge: q.Get("challenge"), redirect: q.Get("redirect_uri")}
	return q.Get("redirect_uri") + "?" + url.Values{"code": {value}, "state": {q.Get("state")}}.Encode()
}

var errSpent = &connectors.Error{Kind: connectors.KindReject, Code: connectors.CodeReauthRequired, Message: "code is not valid"}

func (p *provider) Exchange(ctx context.Context, x connectors.Exchange) (connectors.Grant, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.exchanges++
	p.last = x
	if p.during != nil {
		p.during(ctx)
	}
	c := p.codes[x.Code.Reveal()]
	if c == nil || c.spent || c.redirect != x.RedirectURI || (p.pkce && challenge(x.Verifier) != c.challenge) || (!p.pkce && !x.Verifier.Empty()) {
		return connectors.Grant{}, errSpent
	}
	c.spent = true
	if p.fail != nil {
		return connectors.Grant{}, p.fail
	}
	g := connectors.Grant{
		ProviderAccountID: c.account, Username: "name of " + c.account, AccessToken: connectors.NewSecret("access-" + c.account),
		RefreshToken: connectors.NewSecret("refresh-" + c.account), Scope: "basic publish", ExpiresIn: 3600e9, RefreshIn: 1800e9,
		Metadata: json.RawMessage(`{"callback_id":"app-` + c.account + `"}`),
	}
	if p.grant != nil {
		p.grant(&g)
	}
	return g, nil
}

func (p *provider) Revoke(_ context.Context, a connectors.Account, _ connectors.Secret) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.revoked = append(p.revoked, a)
	return errors.New("revoking is down")
}

func (p *provider) spent() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.exchanges
}

func (p *provider) revocations() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.revoked)
}

// browser keeps cookies and follows nothing by itself.
type browser struct {
	*bundle
	client *http.Client
}

func (b *bundle) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		b.Fatal(err)
	}
	client := &http.Client{Jar: jar, Transport: &http.Transport{}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	b.Cleanup(client.CloseIdleConnections)
	return &browser{bundle: b, client: client}
}

type seen struct {
	status   int
	header   http.Header
	body     string
	location string
}

// open opens an address as a browser does; headers are name, value, ...
func (br *browser) open(address string, headers ...string) seen {
	br.Helper()
	return br.send(http.MethodGet, address, "", headers...)
}

func (br *browser) send(method, address, body string, headers ...string) seen {
	br.Helper()
	r, err := http.NewRequestWithContext(br.Context(), method, address, strings.NewReader(body))
	if err != nil {
		br.Fatal(err)
	}
	if body == "" {
		r.Body = http.NoBody
	}
	r.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := br.client.Do(r)
	if err != nil {
		br.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		br.Fatal(err)
	}
	s := seen{status: resp.StatusCode, header: resp.Header, body: string(text), location: resp.Header.Get("Location")}
	if method == http.MethodGet && !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		br.guarded(s)
	}
	return s
}

// guarded checks what every page and redirect has.
func (br *browser) guarded(s seen) {
	br.Helper()
	for name, want := range map[string]string{
		"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
	} {
		if s.header.Get(name) != want {
			br.Errorf("%d has the header %s: %q", s.status, name, s.header.Get(name))
		}
	}
	if csp := s.header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") {
		br.Errorf("%d has the policy %q", s.status, csp)
	}
}

// page checks that a person reads a page with a status and a text.
func (s seen) page(t testing.TB, status int, text string) {
	t.Helper()
	if s.status != status || !strings.Contains(s.body, text) || !strings.HasPrefix(s.header.Get("Content-Type"), "text/html") || !strings.Contains(s.body, `<html lang="en">`) {
		t.Errorf("shown %d %s:\n%s\nwant a page with %d and %q", s.status, s.header.Get("Content-Type"), s.body, status, text)
	}
}

// failure checks what a program reads.
func (s seen) failure(t testing.TB, status int, code httpapi.Code) {
	t.Helper()
	var body struct{ Error struct{ Code httpapi.Code } }
	if err := json.Unmarshal([]byte(s.body), &body); err != nil || s.status != status || body.Error.Code != code {
		t.Errorf("answered %d %s, want %d %s", s.status, s.body, status, code)
	}
}

// call asks the API for something with a key.
func (b *bundle) call(method, path, key, body string) seen {
	b.Helper()
	headers := []string{"Accept", "*/*", "Content-Type", "application/json"}
	if key != "" {
		headers = append(headers, "Authorization", "Bearer "+key)
	}
	return b.browser().send(method, b.url+path, body, headers...)
}

// link makes a connect link for the user of the key.
func (b *bundle) link(key, body string) string {
	b.Helper()
	s := b.call(http.MethodPost, "/api/connect/example/links", key, body)
	var made struct{ Data Link }
	if err := json.Unmarshal([]byte(s.body), &made); err != nil || s.status != http.StatusCreated {
		b.Fatalf("made no link: %d %s", s.status, s.body)
	}
	return made.Data.URL
}

// start opens a link and returns the provider's page that it leads to.
func (br *browser) start(link string) string {
	br.Helper()
	s := br.open(link)
	if s.status != http.StatusSeeOther || !strings.HasPrefix(s.location, "https://provider.example/authorize?") {
		br.Fatalf("the link led to %d %s %s", s.status, s.location, s.body)
	}
	return s.location
}

// connect goes the whole way with a new link of the key's user, and returns its
// end.
func (br *browser) connect(key, account string) seen {
	br.Helper()
	return br.open(br.provider.consent(br.start(br.link(key, `{}`)), account))
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
