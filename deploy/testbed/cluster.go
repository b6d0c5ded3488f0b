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
	"time"

	"github.com/jackc/pgx/v5"

	"postbus.dev/deploy/testbed/postgres"
	"postbus.dev/migrations"
)

const (
	template  = "postbus_template"
	setupWait = 15 * time.Minute // where PostgreSQL must be fetched first
)

// PostgreSQL is a cluster for tests. Its Stop, Kill and Start leave data and
// DSNs as they are.
type PostgreSQL struct {
	*postgres.Server
	dir       string
	databases atomic.Int64

	mu    sync.Mutex
	admin *pgx.Conn // for what databases themselves need; a session is dear
}

// Database returns the URL of a fresh database with the newest schema in this
// cluster, dropped when the test ends.
func (p *PostgreSQL) Database(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("test_%d", p.databases.Add(1))
	// Copied as files, it takes a third of what the default (by the log) does.
	if err := p.exec(t.Context(), fmt.Sprintf("CREATE DATABASE %s TEMPLATE %s STRATEGY FILE_COPY", name, template)); err != nil {
		t.Fatalf("create test database: %v", err)
	}
	t.Cleanup(func() {
		// A test may have stopped the cluster for good.
		if err := p.exec(context.Background(), fmt.Sprintf("DROP DATABASE %s WITH (FORCE)", name)); err != nil && p.Running() {
			t.Errorf("drop test database: %v", err)
		}
	})
	return p.DSN(name)
}

// newCluster starts a cluster whose template database has the newest schema.
func (b *sharedBench) newCluster(ctx context.Context, settings []string) (_ *PostgreSQL, err error) {
	// Fetching PostgreSQL for all tests must not end with the first of them.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), setupWait)
	defer cancel()
	search := postgres.Search{DataDir: dataDir(), Progress: progress}
	b.seeded.Do(func() { b.seedDir, b.seedErr = b.seed(ctx, search) })
	if b.seedErr != nil {
		return nil, fmt.Errorf("make the data that clusters are copied from: %w", b.seedErr)
	}
	p := &PostgreSQL{}
	if p.dir, err = b.dir(); err != nil {
		return nil, err
	}
	c := p.config(search, settings)
	c.Seed = b.seedDir
	if p.Server, err = postgres.Start(ctx, c); err != nil {
		return nil, errors.Join(err, os.RemoveAll(p.dir))
	}
	return p, nil
}

func (p *PostgreSQL) config(search postgres.Search, settings []string) postgres.Config {
	return postgres.Config{
		Dir:       p.dir,
		SocketDir: filepath.Join(p.dir, "s"),
		Settings:  append([]string{"max_connections=300", "max_wal_size=128MB", "min_wal_size=32MB"}, settings...), // it may all be in memory
		Search:    search,
	}
}

// progress goes past the testing package, which keeps the output of tests
// back until they end.
func progress(line string) { fmt.Fprintln(os.Stderr, "testbed:", line) }

// dataDir is the local system's directory of the checkout that the tests are
// in, where PostgreSQL may have been put already.
func dataDir() string {
	if dir := os.Getenv("POSTBUS_DATA_DIR"); filepath.IsAbs(dir) {
		return dir
	}
	dir, err := os.Getwd()
	for err == nil && dir != filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return filepath.Join(dir, ".postbus")
		}
		dir = filepath.Dir(dir)
	}
	return ""
}

func (p *PostgreSQL) makeTemplate(ctx context.Context) error {
	if err := p.exec(ctx, "CREATE DATABASE "+template); err != nil {
		return fmt.Errorf("make template database: %w", err)
	}
	if _, err := migrations.Apply(ctx, p.DSN(template), nil); err != nil {
		return err
	}
	// Sessions in a template keep others from copying it.
	if err := p.exec(ctx, "ALTER DATABASE "+template+" WITH ALLOW_CONNECTIONS false"); err != nil {
		return fmt.Errorf("close template database: %w", err)
	}
	return nil
}

// exec runs one statement outside of tests' databases.
func (p *PostgreSQL) exec(ctx context.Context, sql string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	p.mu.Lock()
	defer p.mu.Unlock()
	fresh := p.admin == nil || p.admin.IsClosed()
	for {
		if fresh {
			var err error
			if p.admin, err = pgx.Connect(ctx, p.DSN("postgres")); err != nil {
				return err
			}
		}
		_, err := p.admin.Exec(ctx, sql)
		if fresh || !p.admin.IsClosed() {
			return err
		}
		fresh = true // the test has stopped or killed the server since
	}
}

// disconnect ends the session of exec, as the death of a client would: the server
// may be gone already, and its directory is removed in any case.
func (p *PostgreSQL) disconnect() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.admin != nil {
		_ = p.admin.PgConn().Conn().Close()
		p.admin = nil
	}
}

func (p *PostgreSQL) close() error {
	p.disconnect()
	return errors.Join(p.Close(), os.RemoveAll(p.dir))
}
