package oauthaccount_test

import (
	"os"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"

	"postbus.dev/deploy/testbed"
	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/oauthaccount"
	"postbus.dev/services/internal/postgres"
	"postbus.dev/services/internal/secret"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

// bundle is a database, its accounts and one user.
type bundle struct {
	*testing.T
	pool   *pgxpool.Pool
	sealer *secret.Sealer
	store  *oauthaccount.Store
	user   uuid.UUID
}

func setup(t *testing.T) bundle {
	t.Helper()
	pool, err := postgres.Open(t.Context(), postgres.Config{DSN: testbed.Database(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	b := bundle{T: t, pool: pool, sealer: newSealer(t)}
	if b.store, err = oauthaccount.NewStore(oauthaccount.StoreConfig{Pool: pool, Sealer: b.sealer, Service: "account"}); err != nil {
		t.Fatal(err)
	}
	b.user = b.newUser("user-1")
	return b
}

func newSealer(t *testing.T) *secret.Sealer {
	t.Helper()
	keys, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		t.Fatal(err)
	}
	s, err := secret.NewSealer(keys)
	if err != nil {
		t.Fatal(err)
	}
	return s
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
	id, err := b.store.Insert(b.Context(), oauthaccount.New{
		UserID: user, Provider: provider, ProviderAccountID: providerAccountID, AccessToken: connectors.NewSecret("token-of-" + providerAccountID),
	})
	if err != nil {
		b.Fatal(err)
	}
	return id
}

func (b bundle) get(id uuid.UUID) oauthaccount.Account {
	b.Helper()
	m, err := b.store.Get(b.Context(), [][16]byte{id})
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
	rs, err := b.store.Resolve(b.Context(), targets)
	if err != nil {
		b.Fatal(err)
	}
	return rs
}

func (b bundle) exec(sql string, args ...any) {
	b.Helper()
	if _, err := b.pool.Exec(b.Context(), sql, args...); err != nil {
		b.Fatal(err)
	}
}

func query[T any](b bundle, sql string, args ...any) (v T) {
	b.Helper()
	if err := b.pool.QueryRow(b.Context(), sql, args...).Scan(&v); err != nil {
		b.Fatal(err)
	}
	return v
}
