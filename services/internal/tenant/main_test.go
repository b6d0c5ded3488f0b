package tenant_test

import (
	"os"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"postbus.dev/deploy/testbed"
	"postbus.dev/migrations"
	"postbus.dev/services/internal/postgres/postgrestest"
	"postbus.dev/services/internal/tenant"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

// bundle is one database with two processes: here and there.
type bundle struct {
	*testing.T
	admin, pool *pgxpool.Pool // of the superuser and of the account service
	here, there *tenant.Keys
	user        tenant.User
}

func setup(t *testing.T, c tenant.Config) bundle {
	t.Helper()
	dsn := testbed.Database(t)
	b := bundle{T: t}
	b.admin, b.pool = postgrestest.Open(t, dsn), postgrestest.Open(t, testbed.As(dsn, migrations.RoleAccount))
	c.Pool = b.pool
	var err error
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
	if _, err := b.admin.Exec(b.Context(), sql, args...); err != nil {
		b.Fatal(err)
	}
}

func (b bundle) count(sql string, args ...any) (n int) {
	b.Helper()
	if err := b.admin.QueryRow(b.Context(), sql, args...).Scan(&n); err != nil {
		b.Fatal(err)
	}
	return n
}
