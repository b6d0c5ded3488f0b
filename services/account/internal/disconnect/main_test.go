package disconnect_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"postbus.dev/deploy/testbed"
	"postbus.dev/events"
	"postbus.dev/migrations"
	"postbus.dev/services/account/internal/disconnect"
	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/oauthaccount"
	"postbus.dev/services/internal/postgres/postgrestest"
	"postbus.dev/services/internal/secret"
	"postbus.dev/services/internal/secret/secrettest"
	"postbus.dev/services/internal/telemetry/telemetrytest"
	"postbus.dev/services/internal/tenant"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

const canary = "a-token-that-nobody-may-see"

// bundle is a database with one user, and a provider. What the job does it does
// as the account service's own role; the test looks on as the owner.
type bundle struct {
	*testing.T
	dsn      string
	owner    *pgxpool.Pool
	sealer   *secret.Sealer
	store    *oauthaccount.Store
	keys     *tenant.Keys
	user     tenant.User
	provider *provider
	log      *telemetrytest.Log
}

func setup(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{T: t, dsn: testbed.Database(t), provider: &provider{}, log: &telemetrytest.Log{}}
	b.owner = postgrestest.Open(t, b.dsn)
	b.sealer = secrettest.NewSealer(t)
	b.store, b.keys = b.stores()
	b.user = b.newUser("user-1")
	t.Cleanup(func() {
		if strings.Contains(b.log.String(), canary) {
			t.Error("a token is in the log")
		}
	})
	return b
}

// stores are those of a process of its own.
func (b *bundle) stores() (*oauthaccount.Store, *tenant.Keys) {
	b.Helper()
	pool := postgrestest.Open(b, testbed.As(b.dsn, migrations.RoleAccount))
	store, err := oauthaccount.NewStore(oauthaccount.StoreConfig{Pool: pool, Sealer: b.sealer, Service: "account"})
	if err != nil {
		b.Fatal(err)
	}
	keys, err := tenant.New(tenant.Config{Pool: pool})
	if err != nil {
		b.Fatal(err)
	}
	return store, keys
}

func (b *bundle) newUser(externalID string) tenant.User {
	b.Helper()
	u, err := b.keys.CreateUser(b.Context(), externalID)
	if err != nil {
		b.Fatal(err)
	}
	return u
}

// connect connects an account whose token is the canary and its id.
func (b *bundle) connect(user uuid.UUID, id string) uuid.UUID {
	b.Helper()
	c, err := b.store.Connect(b.Context(), oauthaccount.New{
		UserID: user, Provider: "test", ProviderAccountID: id, AccessToken: connectors.NewSecret(canary + id), RefreshToken: connectors.NewSecret(canary + "refresh" + id),
	})
	if err != nil {
		b.Fatal(err)
	}
	return c.Account.ID
}

// leave begins to disconnect, and has the publisher say at once that nothing is
// left.
func (b *bundle) leave(id uuid.UUID, reason string, erase bool) {
	b.Helper()
	as, err := b.store.Disconnect(b.Context(), oauthaccount.Select{ID: id}, reason, erase)
	if err != nil || len(as) != 1 {
		b.Fatalf("disconnect %d accounts: %v", len(as), err)
	}
	if err := b.store.Drained(b.Context(), id, as[0].Version); err != nil {
		b.Fatal(err)
	}
}

// drainAll has the publisher answer for every account that waits for it.
func (b *bundle) drainAll() {
	b.Helper()
	b.exec(`UPDATE oauth_accounts SET drained_at = now(), disconnect_next_at = now() WHERE status = 'disconnecting' AND drained_at IS NULL`)
}

// job returns a job that is in a hurry.
func (b *bundle) job(change func(*disconnect.Config)) *disconnect.Job {
	b.Helper()
	cfg := disconnect.Config{
		Connectors: map[string]connectors.Connector{"test": b.provider},
		Poll:       50 * time.Millisecond, Backoff: time.Millisecond, Settle: time.Millisecond,
		Logger: slog.New(slog.NewJSONHandler(b.log, nil)),
	}
	cfg.Accounts, cfg.Users = b.stores()
	if change != nil {
		change(&cfg)
	}
	j, err := disconnect.New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	return j
}

// start runs j until the test ends or stop is called.
func (b *bundle) start(j *disconnect.Job) (stop func()) {
	b.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- j.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			b.Errorf("the job ended with %v", err)
		}
	})
	b.Cleanup(stop)
	return stop
}

func (b *bundle) exec(sql string, args ...any) {
	b.Helper()
	postgrestest.Exec(b, b.owner, sql, args...)
}

func query[T any](b *bundle, sql string, args ...any) T {
	b.Helper()
	return postgrestest.Value[T](b, b.owner, sql, args...)
}

func (b *bundle) status(id uuid.UUID) string {
	b.Helper()
	return query[string](b, `SELECT coalesce((SELECT status FROM oauth_accounts WHERE id = $1), 'erased')`, id)
}

func (b *bundle) awaitStatus(id uuid.UUID, want string) {
	b.Helper()
	b.eventually(fmt.Sprintf("%s is %s", id, want), func() bool { return b.status(id) == want })
}

func (b *bundle) eventually(what string, f func() bool) {
	b.Helper()
	for deadline := time.Now().Add(30 * time.Second); !f(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("not in time: %s\n%s", what, b.log)
		}
	}
}

// ends are the account.disconnected events of an account. Whatever was told of it
// is numbered without a gap.
func (b *bundle) ends(id uuid.UUID) (all []events.AccountDisconnected) {
	b.Helper()
	rows, err := b.owner.Query(b.Context(), `SELECT event FROM outbox ORDER BY xid, id`)
	if err != nil {
		b.Fatal(err)
	}
	bodies, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil {
		b.Fatal(err)
	}
	n := int64(0)
	for _, body := range bodies {
		if bytes.Contains(body, []byte(canary)) {
			b.Error("a token is in an event")
		}
		e, err := events.UnmarshalJSON(body)
		if err != nil {
			b.Fatal(err)
		}
		if e.Subject() != id.String() {
			continue
		}
		n++
		if got, _ := events.Sequence(e); got != n {
			b.Errorf("%s of %s has sequence %d, and is number %d", e.Type(), id, got, n)
		}
		if e.Type() == events.TypeAccountDisconnected {
			var d events.AccountDisconnected
			if err := events.DecodeData(e, &d); err != nil {
				b.Fatal(err)
			}
			all = append(all, d)
		}
	}
	return all
}

// ended fails unless the account was told to be disconnected once, so.
func (b *bundle) ended(id uuid.UUID, reason string, revoked bool) {
	b.Helper()
	all := b.ends(id)
	if len(all) != 1 || all[0].Reason != reason || all[0].Revoked != revoked {
		b.Errorf("told %+v, want reason %s and revoked %v", all, reason, revoked)
	}
}

// provider is a connector that can do nothing but revoke.
type provider struct {
	connectors.Publisher

	mu     sync.Mutex
	calls  []call
	answer func(ctx context.Context, call call, nth int) error // nil: revoked
}

type call struct{ account, access, refresh string }

func (p *provider) Revoke(ctx context.Context, a connectors.Account, refresh connectors.Secret) error {
	c := call{a.ProviderAccountID, a.AccessToken.Reveal(), refresh.Reveal()}
	p.mu.Lock()
	p.calls = append(p.calls, c)
	nth := 0
	for _, before := range p.calls {
		if before.account == c.account {
			nth++
		}
	}
	answer := p.answer
	p.mu.Unlock()
	if answer == nil {
		return nil
	}
	return answer(ctx, c, nth)
}

// of is how often an account was revoked.
func (p *provider) of(account string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.calls {
		if c.account == account {
			n++
		}
	}
	return n
}

func failure(kind connectors.Kind) error {
	return &connectors.Error{Kind: kind, Message: "not today", Err: errors.New("status 503")}
}
