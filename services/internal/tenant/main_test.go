package tenant_test

import (
	"os"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"postbus.dev/deploy/testbed"
	"postbus.dev/services/internal/postgres"
	"postbus.dev/services/internal/tenant"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

// bundle is one database with two processes: here and there.
type bundle struct {
	*testing.T
	pool        *pgxpool.Pool
	here, there *tenant.Keys
	user        tenant.User
}

func setup(t *testing.T, c tenant.Config) bundle {
	t.Helper()
	pool, err := postgres.Open(t.Context(), postgres.Config{DSN: testbed.Database(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	b := bundle{T: t, pool: pool}
	c.Pool = pool
	for _, k := range []**tenant.Keys{&b.here, &b.there} {
		if *k, err = tenant.New(c); err != nil {
			t.Fatal(err)
		}
	}
	if b.user, err = b.here.CreateUser(t.Context(), "upstream-7"); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b bundle) exec(sql string, args ...any) {
	b.Helper()
	if _, err := b.pool.Exec(b.Context(), sql, args...); err != nil {
		b.Fatal(err)
	}
}

func (b bundle) count(sql string, args ...any) (n int) {
	b.Helper()
	if err := b.pool.QueryRow(b.Context(), sql, args...).Scan(&n); err != nil {
		b.Fatal(err)
	}
	return n
}
