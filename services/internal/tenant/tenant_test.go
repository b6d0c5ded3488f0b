package tenant_test

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"postbus.dev/deploy/testbed"
	"postbus.dev/migrations"
	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/postgres/postgrestest"
	"postbus.dev/services/internal/tenant"
)

// never believes nothing: every call asks the database.
var never = tenant.Config{Believe: -1}

// key makes a key and returns its id and value.
func (b bundle) key(spec tenant.KeySpec) (uuid.UUID, string) {
	b.Helper()
	if spec.UserID == uuid.Nil {
		spec.UserID = b.user.ID
	}
	if spec.Scopes == nil {
		spec.Scopes = []tenant.Scope{tenant.ScopePublish}
	}
	key, value, err := b.here.CreateKey(b.Context(), spec)
	if err != nil {
		b.Fatal(err)
	}
	return key.ID, value.Reveal()
}

func (b bundle) revoke(k *tenant.Keys, id uuid.UUID) tenant.Key {
	b.Helper()
	key, err := k.Revoke(b.Context(), b.user.ID, id)
	if err != nil {
		b.Error(err)
	}
	return key
}

func (b bundle) known(k *tenant.Keys, value string) tenant.Caller {
	b.Helper()
	c, err := k.Authenticate(b.Context(), value)
	if err != nil {
		b.Fatal(err)
	}
	return c
}

func (b bundle) unknown(k *tenant.Keys, value string) {
	b.Helper()
	c, err := k.Authenticate(b.Context(), value)
	if !errors.Is(err, tenant.ErrUnauthorized) {
		b.Errorf("not refused: %v", err)
	}
	if c.UserID != uuid.Nil || c.Scopes != nil {
		b.Errorf("a caller came with the refusal: %+v", c)
	}
	if err != nil && value != "" && strings.Contains(err.Error(), value) {
		b.Errorf("the error tells the key: %v", err)
	}
}

func TestAKeyTellsWhoCallsAndWhatTheyMayDo(t *testing.T) {
	t.Parallel()
	b := setup(t, tenant.Config{})
	id, value := b.key(tenant.KeySpec{Name: "ci", Scopes: []tenant.Scope{tenant.ScopePublish, tenant.ScopeOnBehalf}})
	for range 2 { // asked and believed
		c := b.known(b.here, value)
		if c.UserID != b.user.ID || c.KeyID != id || c.ExternalID != "upstream-7" {
			t.Errorf("caller %+v", c)
		}
		if !c.May(tenant.ScopePublish) || !c.May(tenant.ScopeOnBehalf) || c.May(tenant.ScopeAdmin) {
			t.Errorf("scopes %v", c.Scopes)
		}
	}
}

func TestAKeyIsRandomAndNotKeptInTheDatabase(t *testing.T) {
	t.Parallel()
	b := setup(t, never)
	_, value := b.key(tenant.KeySpec{Name: "n"})
	if !regexp.MustCompile(`^pb_[A-Za-z0-9_-]{43}$`).MatchString(value) {
		t.Errorf("a key of another form, %d characters", len(value))
	}
	if _, other := b.key(tenant.KeySpec{}); other == value {
		t.Error("two keys are the same")
	}
	var row string
	if err := b.pool.QueryRow(t.Context(), `SELECT string_agg(k::text, ' ') FROM api_keys k`).Scan(&row); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(row, value) || strings.Contains(row, value[3:]) {
		t.Error("the key stands in its row")
	}
}

func TestWhatIsNoKeyIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t, never)
	_, value := b.key(tenant.KeySpec{})
	for name, wrong := range map[string]string{
		"nothing":             "",
		"a word":              "secret",
		"an unknown key":      tenant.NewKey().Reveal(),
		"with its scheme":     "Bearer " + value,
		"with a space":        value + " ",
		"cut off":             value[:len(value)-1],
		"another prefix":      "xx_" + value[3:],
		"another case":        strings.ToUpper(value),
		"U+0000":              value[:len(value)-1] + "\x00",
		"no base64":           value[:len(value)-1] + "!",
		"a quote":             "pb_' OR true --",
		"hash instead of key": strings.Repeat("a", 64),
	} {
		t.Run(name, func(*testing.T) { b.unknown(b.here, wrong) })
	}
}

func TestAnExpiredKeyIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t, never)
	_, past := b.key(tenant.KeySpec{ExpiresAt: time.Now().Add(-time.Second)})
	b.unknown(b.here, past)
	_, future := b.key(tenant.KeySpec{ExpiresAt: time.Now().Add(time.Hour)})
	b.known(b.here, future)
}

// clock is a process's clock that the test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func TestAKeyIsNotBelievedPastItsExpiry(t *testing.T) {
	t.Parallel()
	c := &clock{now: time.Now()}
	b := setup(t, tenant.Config{Believe: 24 * time.Hour, Now: c.Now})
	_, value := b.key(tenant.KeySpec{ExpiresAt: time.Now().Add(time.Hour)})
	b.known(b.here, value)
	b.exec(`UPDATE api_keys SET expires_at = now()`) // as it will be then
	c.add(59 * time.Minute)
	b.known(b.here, value)
	c.add(2 * time.Minute)
	b.unknown(b.here, value)
}

func TestARevokedKeyStopsAtOnceHereAndWithinAMomentElsewhere(t *testing.T) {
	t.Parallel()
	c := &clock{now: time.Now()}
	b := setup(t, tenant.Config{Now: c.Now})
	id, value := b.key(tenant.KeySpec{})
	b.known(b.here, value)
	b.known(b.there, value)
	b.revoke(b.here, id)
	b.unknown(b.here, value)
	c.add(time.Second)
	b.known(b.there, value) // what the package comment admits
	c.add(time.Second)
	b.unknown(b.there, value)
}

// afterFirst calls f when the first query has been answered and its caller does
// not know yet.
type afterFirst struct {
	queries atomic.Int64
	f       func()
}

func (*afterFirst) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

func (a *afterFirst) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {
	if a.queries.Add(1) == 1 {
		a.f()
	}
}

func TestARevocationIsNotOvertakenByALookupThatBeganBefore(t *testing.T) {
	t.Parallel()
	b := setup(t, never)
	id, value := b.key(tenant.KeySpec{})
	var k *tenant.Keys
	c := b.pool.Config()
	c.ConnConfig.Tracer = &afterFirst{f: func() {
		b.revoke(k, id)
	}}
	pool, err := pgxpool.NewWithConfig(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if k, err = tenant.New(tenant.Config{Pool: pool, Believe: time.Hour}); err != nil {
		t.Fatal(err)
	}
	b.known(k, value) // revoked while its answer was on the way
	b.unknown(k, value)
}

func TestAPublisherRecognizesCallersAndMakesNone(t *testing.T) {
	t.Parallel()
	b := setup(t, never)
	id, value := b.key(tenant.KeySpec{})
	publisher, err := tenant.New(tenant.Config{Pool: postgrestest.Open(t, testbed.As(b.admin.Config().ConnString(), migrations.RolePublisher))})
	if err != nil {
		t.Fatal(err)
	}
	if c := b.known(publisher, value); c.KeyID != id {
		t.Errorf("got key %s, want %s", c.KeyID, id)
	}
	if n := b.count(`SELECT count(*) FROM api_keys WHERE last_used_at IS NOT NULL`); n != 1 {
		t.Errorf("%d keys were used", n)
	}
	var refused *pgconn.PgError
	if _, _, err := publisher.CreateKey(t.Context(), tenant.KeySpec{UserID: b.user.ID, Scopes: tenant.Scopes()}); !errors.As(err, &refused) || refused.Code != "42501" {
		t.Errorf("made a key: %v", err)
	}
}

func TestOnlyItsOwnerRevokesAKey(t *testing.T) {
	t.Parallel()
	b := setup(t, never)
	id, value := b.key(tenant.KeySpec{})
	other, err := b.here.CreateUser(t.Context(), "other")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.here.Revoke(t.Context(), other.ID, id); !errors.Is(err, tenant.ErrNoKey) {
		t.Errorf("revoked by another user: %v", err)
	}
	b.known(b.here, value)
	first := b.revoke(b.here, id)
	b.unknown(b.here, value)
	if again := b.revoke(b.here, id); again.RevokedAt.IsZero() || !again.RevokedAt.Equal(first.RevokedAt) {
		t.Errorf("revoked at %v, and again at %v", first.RevokedAt, again.RevokedAt)
	}
}

func TestABelievedKeyCostsNoQuery(t *testing.T) {
	t.Parallel()
	b := setup(t, tenant.Config{Believe: time.Hour})
	_, value := b.key(tenant.KeySpec{})
	b.known(b.here, value)
	before := b.pool.Stat().AcquireCount()
	for range 10 {
		b.known(b.here, value)
	}
	if n := b.pool.Stat().AcquireCount() - before; n != 0 {
		t.Errorf("%d queries", n)
	}
}

func TestFewKeysAreRememberedWhereFewMayBe(t *testing.T) {
	t.Parallel()
	b := setup(t, tenant.Config{Believe: time.Hour, MaxBelieved: 2})
	var values []string
	for range 5 {
		_, v := b.key(tenant.KeySpec{})
		values = append(values, v)
		b.known(b.here, v)
	}
	before := b.pool.Stat().AcquireCount()
	for _, v := range values {
		b.known(b.here, v)
	}
	if n := b.pool.Stat().AcquireCount() - before; n < 3 {
		t.Errorf("5 keys cost %d queries although 2 are remembered", n)
	}
}

func TestADatabaseThatIsAwayIsNotARefusal(t *testing.T) {
	t.Parallel()
	b := setup(t, never)
	_, value := b.key(tenant.KeySpec{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.here.Authenticate(ctx, value); err == nil || errors.Is(err, tenant.ErrUnauthorized) {
		t.Errorf("got %v", err)
	}
}

func TestUseOfAKeyIsNotedOnceAnHour(t *testing.T) {
	t.Parallel()
	b := setup(t, never)
	id, value := b.key(tenant.KeySpec{})
	if n := b.count(`SELECT count(*) FROM api_keys WHERE last_used_at IS NOT NULL`); n != 0 {
		t.Error("used before it was used")
	}
	b.known(b.here, value)
	for range 3 {
		b.known(b.there, value)
	}
	if n := b.count(`SELECT count(*) FROM api_keys WHERE last_used_at > now() - interval '1 minute' AND id = $1`, id); n != 1 {
		t.Error("its use was not noted")
	}
	b.exec(`UPDATE api_keys SET last_used_at = now() - interval '50 minutes'`)
	b.known(b.here, value)
	if n := b.count(`SELECT count(*) FROM api_keys WHERE last_used_at > now() - interval '1 minute'`); n != 0 {
		t.Error("noted again within the hour")
	}
	b.exec(`UPDATE api_keys SET last_used_at = now() - interval '61 minutes'`)
	b.known(b.here, value)
	if n := b.count(`SELECT count(*) FROM api_keys WHERE last_used_at > now() - interval '1 minute'`); n != 1 {
		t.Error("not noted after an hour")
	}
}

func TestAUserIsMadeOnce(t *testing.T) {
	t.Parallel()
	b := setup(t, never)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var ids []uuid.UUID
	for range 10 {
		wg.Go(func() {
			u, err := b.here.CreateUser(b.Context(), "new one")
			if err != nil {
				b.Error(err)
			}
			mu.Lock()
			ids = append(ids, u.ID)
			mu.Unlock()
		})
	}
	wg.Wait()
	slices.SortFunc(ids, func(a, c uuid.UUID) int { return slices.Compare(a[:], c[:]) })
	if len(slices.Compact(ids)) != 1 || ids[0] == uuid.Nil {
		t.Errorf("several users: %v", ids)
	}
	for _, bad := range []string{"", strings.Repeat("ü", 256)} {
		if _, err := b.here.CreateUser(t.Context(), bad); err == nil {
			t.Errorf("an external id of %d bytes was taken", len(bad))
		}
	}
	if _, err := b.here.CreateUser(t.Context(), strings.Repeat("ü", 255)); err != nil {
		t.Errorf("255 characters: %v", err)
	}
}

func TestAKeyNeedsAScopeThatExistsAndAUser(t *testing.T) {
	t.Parallel()
	b := setup(t, never)
	for name, spec := range map[string]tenant.KeySpec{
		"no scope":      {UserID: b.user.ID},
		"unknown scope": {UserID: b.user.ID, Scopes: []tenant.Scope{"publsh"}},
		"unknown user":  {UserID: uuid.New(), Scopes: tenant.Scopes()},
	} {
		if _, value, err := b.here.CreateKey(t.Context(), spec); err == nil || !value.Empty() {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheLocalKeyIsTheSameAfterARestart(t *testing.T) {
	t.Parallel()
	b := setup(t, never)
	value := tenant.NewKey() // what the local system keeps in a file
	var first tenant.User
	for start := range 2 {
		u, err := b.here.EnsureLocal(t.Context(), "demo", value)
		if err != nil {
			t.Fatal(err)
		}
		c := b.known(b.here, value.Reveal())
		if c.UserID != u.ID || c.ExternalID != "demo" || !c.May(tenant.ScopePublish) || !c.May(tenant.ScopeAdmin) {
			t.Errorf("caller %+v", c)
		}
		if start == 0 {
			first = u
		} else if u != first {
			t.Errorf("another user after the restart: %+v", u)
		}
		b.exec(`UPDATE api_keys SET revoked_at = now(), expires_at = now()`)
	}
	if n := b.count(`SELECT count(*) FROM api_keys`); n != 1 {
		t.Errorf("%d keys", n)
	}
	if _, err := b.here.EnsureLocal(t.Context(), "somebody else", value); !errors.Is(err, tenant.ErrTaken) {
		t.Errorf("given to another user: %v", err)
	}
	if n := b.count(`SELECT count(*) FROM users WHERE external_id = 'somebody else'`); n != 0 {
		t.Error("half of it was done")
	}
	for _, bad := range []string{"", "hunter2"} {
		if _, err := b.here.EnsureLocal(t.Context(), "demo", connectors.NewSecret(bad)); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("key %q: %v", bad, err)
		}
	}
}

func TestKeysNeedADatabase(t *testing.T) {
	t.Parallel()
	if _, err := tenant.New(tenant.Config{}); err == nil {
		t.Error("made without one")
	}
}
