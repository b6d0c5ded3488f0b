// Package testbed gives tests real servers: PostgreSQL databases with the
// schema in place, and embedded NATS servers. It needs no configuration.
//
// A package that uses it ends its TestMain with os.Exit(testbed.Main(m)).
package testbed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"postbus.dev/deploy/testbed/nats"
	"postbus.dev/deploy/testbed/postgres"
	"postbus.dev/migrations"
)

const template = "postbus_template"

// The one thing that this package shares between tests: the cluster of this
// test binary, made by the first test that asks for a database.
var shared cluster

type cluster struct {
	once   sync.Once
	err    error
	dir    string
	server *postgres.Server
	number atomic.Int64
}

// Main runs the tests, stops what they shared, fails if goroutines are left,
// and returns the exit code for os.Exit.
func Main(m *testing.M, ignore ...goleak.Option) int {
	code := m.Run()
	if err := shared.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "testbed:", err)
		code = max(code, 1)
	}
	if code == 0 {
		if err := goleak.Find(ignore...); err != nil {
			fmt.Fprintln(os.Stderr, "testbed: goroutines left:", err)
			code = 1
		}
	}
	return code
}

// Database returns the URL of a fresh database with the newest schema, which
// is dropped when the test ends.
func Database(t testing.TB) string {
	t.Helper()
	shared.once.Do(shared.start)
	if shared.err != nil {
		t.Fatalf("start PostgreSQL for tests: %v", shared.err)
	}
	name := fmt.Sprintf("test_%d", shared.number.Add(1))
	if err := shared.exec(fmt.Sprintf("CREATE DATABASE %s TEMPLATE %s", name, template)); err != nil {
		t.Fatalf("create test database: %v", err)
	}
	t.Cleanup(func() {
		if err := shared.exec(fmt.Sprintf("DROP DATABASE %s WITH (FORCE)", name)); err != nil {
			t.Errorf("drop test database: %v", err)
		}
	})
	return shared.server.DSN(name)
}

// NATS returns the URL of a fresh server with JetStream, which is stopped when
// the test ends. It has no streams yet.
func NATS(t testing.TB) string {
	t.Helper()
	s, err := nats.Start(nats.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatalf("start NATS for a test: %v", err)
	}
	t.Cleanup(s.Stop)
	return s.URL()
}

func (c *cluster) start() {
	c.err = func() error {
		bin, err := postgres.Find(postgres.Search{})
		if err != nil {
			return err
		}
		if c.dir, err = os.MkdirTemp("", "postbus-"); err != nil {
			return err
		}
		if err := os.Chmod(c.dir, 0o755); err != nil { // the server may run as another user
			return err
		}
		ctx := context.Background()
		c.server, err = postgres.Start(ctx, postgres.Config{
			Dir: filepath.Join(c.dir, "pg"), Binaries: bin, Settings: []string{"max_connections=300"},
		})
		if err != nil {
			return err
		}
		if err := c.exec("CREATE DATABASE " + template); err != nil {
			return err
		}
		if _, err := migrations.Apply(ctx, c.server.DSN(template), nil); err != nil {
			return err
		}
		return c.exec("ALTER DATABASE " + template + " WITH ALLOW_CONNECTIONS false")
	}()
}

func (c *cluster) exec(sql string) error {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, c.server.DSN("postgres"))
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql)
	return errors.Join(err, conn.Close(ctx))
}

func (c *cluster) stop() error {
	var err error
	if c.server != nil {
		err = c.server.Stop()
	}
	if c.dir != "" {
		err = errors.Join(err, os.RemoveAll(c.dir))
	}
	return err
}
