package oauthaccount_test

import (
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"postbus.dev/deploy/testbed"
	"postbus.dev/events"
	"postbus.dev/migrations"
	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/oauthaccount"
	"postbus.dev/services/internal/postgres/postgrestest"
	"postbus.dev/services/internal/secret"
	"postbus.dev/services/internal/secret/secrettest"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

// bundle is a database, its accounts and one user.
type bundle struct {
	*testing.T
	admin, pool, publisher *pgxpool.Pool // of the superuser and of two services
	sealer                 *secret.Sealer
	store                  *oauthaccount.Store // the account service's
	reader                 *oauthaccount.Store // the publisher's
	user                   uuid.UUID
	pokes                  *atomic.Int64 // how often the relay was poked
}

func setup(t *testing.T) bundle {
	t.Helper()
	return on(t, testbed.Database(t))
}

func on(t *testing.T, dsn string) bundle {
	t.Helper()
	b := bundle{T: t, sealer: secrettest.NewSealer(t), pokes: &atomic.Int64{}}
	b.admin, b.pool, b.publisher = postgrestest.Open(t, dsn), postgrestest.Open(t, testbed.As(dsn, migrations.RoleAccount)), postgrestest.Open(t, testbed.As(dsn, migrations.RolePublisher))
	var err error
	if b.store, err = oauthaccount.NewStore(oauthaccount.StoreConfig{
		Pool: b.pool, Sealer: b.sealer, Service: "account", Wrote: func() { b.pokes.Add(1) },
	}); err != nil {
		t.Fatal(err)
	}
	if b.reader, err = oauthaccount.NewStore(oauthaccount.StoreConfig{Pool: b.publisher, Sealer: b.sealer}); err != nil {
		t.Fatal(err)
	}
	b.user = b.newUser("user-1")
	return b
}

func (b bundle) newUser(externalID string) uuid.UUID {
	b.Helper()
	id := uuid.Must(uuid.NewV7())
	b.exec(`INSERT INTO users (id, external_id) VALUES ($1, $2)`, id, externalID)
	return id
}

// account is a connected account with the token "token-of-<its provider id>".
func (b bundle) account(user uuid.UUID, provider, providerAccountID string) uuid.UUID {
	b.Helper()
	return b.connect(oauthaccount.New{
		UserID: user, Provider: provider, ProviderAccountID: providerAccountID, AccessToken: connectors.NewSecret("token-of-" + providerAccountID),
	}).Account.ID
}

func (b bundle) connect(n oauthaccount.New) oauthaccount.Connected {
	b.Helper()
	c, err := b.store.Connect(b.Context(), n)
	if err != nil {
		b.Fatal(err)
	}
	return c
}

func (b bundle) disconnect(id uuid.UUID, reason string, erase bool) oauthaccount.Account {
	b.Helper()
	as, err := b.store.Disconnect(b.Context(), oauthaccount.Select{ID: id}, reason, erase)
	if err != nil || len(as) != 1 {
		b.Fatalf("disconnected %d accounts, %v", len(as), err)
	}
	return as[0]
}

// due makes the disconnecting of every account due now.
func (b bundle) due() {
	b.Helper()
	b.exec(`UPDATE oauth_accounts SET disconnect_next_at = now() WHERE status = 'disconnecting'`)
}

func (b bundle) claim() []oauthaccount.Leaving {
	b.Helper()
	ls, err := b.store.ClaimDisconnects(b.Context(), 100, time.Minute)
	if err != nil {
		b.Fatal(err)
	}
	return ls
}

// finish claims the one account that is due and finishes it.
func (b bundle) finish(revoked bool) {
	b.Helper()
	ls := b.claim()
	if len(ls) != 1 {
		b.Fatalf("%d accounts are due", len(ls))
	}
	if err := b.store.FinishDisconnect(b.Context(), ls[0], revoked); err != nil {
		b.Fatal(err)
	}
}

// disconnected takes a connected account through the whole of it.
func (b bundle) disconnected(id uuid.UUID) {
	b.Helper()
	b.disconnect(id, events.DisconnectRequested, false)
	b.due()
	b.finish(true)
}

// told is what the outbox holds of an account, or of all, in the order in which
// it was appended.
func (b bundle) told(id uuid.UUID) (all []event.Event) {
	b.Helper()
	rows, err := b.admin.Query(b.Context(), `SELECT event FROM outbox ORDER BY xid, id`)
	if err != nil {
		b.Fatal(err)
	}
	bodies, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil {
		b.Fatal(err)
	}
	for _, body := range bodies {
		e, err := events.UnmarshalJSON(body)
		if err != nil {
			b.Fatal(err)
		}
		if id == uuid.Nil || e.Subject() == id.String() {
			all = append(all, e)
		}
	}
	return all
}

// types are the events of an account in the order of their sequence, "type
// sequence" each.
func (b bundle) types(id uuid.UUID) (out []string) {
	b.Helper()
	for _, e := range b.told(id) {
		out = append(out, fmt.Sprintf("%s %d", e.Type(), sequence(b.T, e)))
	}
	return out
}

func sequence(t *testing.T, e event.Event) int64 {
	t.Helper()
	s, _ := e.Extensions()[events.ExtSequence].(string)
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatalf("sequence of %s: %v", e.Type(), err)
	}
	return n
}

func (b bundle) decode(e event.Event, into events.Data) {
	b.Helper()
	if err := events.DecodeData(e, into); err != nil {
		b.Fatal(err)
	}
}

// failing makes the database refuse new outbox rows until the function that it
// returns is called.
func (b bundle) failing() (mend func()) {
	b.Helper()
	b.exec(`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused for the test'; END $$`)
	b.exec(`CREATE TRIGGER refuse BEFORE INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION refuse()`)
	return func() { b.exec(`DROP TRIGGER refuse ON outbox`) }
}

func (b bundle) get(id uuid.UUID) oauthaccount.Account {
	b.Helper()
	m, err := b.reader.Get(b.Context(), [][16]byte{id})
	if err != nil {
		b.Fatal(err)
	}
	a, ok := m[id]
	if !ok {
		b.Fatalf("no account %s", id)
	}
	return a
}

func (b bundle) resolve(targets ...oauthaccount.Target) []oauthaccount.Resolution {
	b.Helper()
	rs, err := b.reader.Resolve(b.Context(), targets)
	if err != nil {
		b.Fatal(err)
	}
	return rs
}

func (b bundle) exec(sql string, args ...any) {
	b.Helper()
	if _, err := b.admin.Exec(b.Context(), sql, args...); err != nil {
		b.Fatal(err)
	}
}

func query[T any](b bundle, sql string, args ...any) (v T) {
	b.Helper()
	if err := b.admin.QueryRow(b.Context(), sql, args...).Scan(&v); err != nil {
		b.Fatal(err)
	}
	return v
}
