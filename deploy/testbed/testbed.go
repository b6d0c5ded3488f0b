// Package testbed gives tests real servers: PostgreSQL databases with the
// schema in place, and NATS servers with JetStream. It needs no configuration,
// fetches PostgreSQL where the machine has none, and works as root and as an
// ordinary user.
//
// A package that uses it has
//
//	func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }
//
// The tests of one package share one PostgreSQL cluster, which the first of
// them starts (a copy of one that is kept as a cache, for a day) and Main stops, and have a database each (about
// 20 ms). All files are in memory (/dev/shm) where there is plenty of room, and
// in TMPDIR where that is set. Transactions of one database hold back what another one may call
// settled (pg_snapshot_xmin is the cluster's), so that a test about that takes
// a Cluster of its own. Nothing is left behind, whatever ends the tests.
package testbed

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"postbus.dev/deploy/testbed/internal/scratch"
	"postbus.dev/deploy/testbed/nats"
	"postbus.dev/deploy/testbed/postgres"
)

// bench is what the tests of one binary share. TestMain has no way to hand
// anything to tests, so that it is the package's one variable.
var bench sharedBench

type sharedBench struct {
	mu      sync.Mutex
	scratch *scratch.Dir
	number  int
	started sync.Once
	cluster *PostgreSQL
	err     error // of starting the cluster
	seeded  sync.Once
	seedDir string
	seedErr error
}

// Main runs the tests, stops what they shared, fails the run if goroutines are
// left, and returns the exit code for os.Exit. Goroutines that a library keeps
// for good are named in ignore, by the caller, with the reason.
func Main(m *testing.M, ignore ...goleak.Option) int {
	code := m.Run()
	if err := bench.close(); err != nil {
		fmt.Fprintln(os.Stderr, "testbed: clean up:", err)
		code = max(code, 1)
	}
	if code != 0 {
		return code // a failed test leaves goroutines; the failure is what matters
	}
	if err := goleak.Find(ignore...); err != nil {
		fmt.Fprintln(os.Stderr, "testbed: goroutines are left:", err)
		return 1
	}
	return 0
}

// Database returns the URL of a fresh database with the newest schema, owned
// by the superuser and dropped when the test ends.
func Database(t testing.TB) string {
	t.Helper()
	bench.started.Do(func() { bench.cluster, bench.err = bench.newCluster(t.Context(), nil) })
	if bench.err != nil {
		t.Fatalf("start PostgreSQL for tests: %v", bench.err)
	}
	return bench.cluster.Database(t)
}

// As returns the URL of the same database for another role, such as
// migrations.RolePublisher, which logs in without a password.
func As(dsn, role string) string { return postgres.As(dsn, role) }

// Cluster returns a PostgreSQL cluster that this test alone uses, for what
// concerns a whole cluster: snapshots, crashes, restarts. Settings are
// "name=value" each.
func Cluster(t testing.TB, settings ...string) *PostgreSQL {
	t.Helper()
	p, err := bench.newCluster(t.Context(), settings)
	if err != nil {
		t.Fatalf("start PostgreSQL for a test: %v", err)
	}
	t.Cleanup(func() {
		if err := p.close(); err != nil {
			t.Errorf("stop PostgreSQL of a test: %v", err)
		}
	})
	return p
}

// NATS returns the URL of a fresh server with JetStream and without streams,
// which is stopped when the test ends.
func NATS(t testing.TB) string {
	t.Helper()
	return NATSServer(t, nats.Config{}).URL()
}

// NATSServer is NATS for tests that stop and start the server or need a
// setting. Config.Dir may be left empty.
func NATSServer(t testing.TB, c nats.Config) *nats.Server {
	t.Helper()
	if c.Dir == "" {
		c.Dir = Dir(t)
	}
	s, err := nats.Start(c)
	if err != nil {
		t.Fatalf("start NATS for a test: %v", err)
	}
	t.Cleanup(s.Stop)
	return s
}

// Dir returns an empty directory for a test. Other than that of t.TempDir, it
// has a short path (sockets), and a panic or a kill does not leave it behind.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := bench.dir()
	if err != nil {
		t.Fatalf("make directory for a test: %v", err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove directory of a test: %v", err)
		}
	})
	return dir
}

// dir makes a directory below the one of this process.
func (b *sharedBench) dir() (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.scratch == nil {
		s, err := scratch.NewInMemory()
		if err != nil {
			return "", err
		}
		b.scratch = s
	}
	b.number++
	dir := fmt.Sprintf("%s/%d", b.scratch.Path, b.number)
	return dir, os.Mkdir(dir, 0o755)
}

func (b *sharedBench) close() (err error) {
	if b.cluster != nil {
		err = b.cluster.close()
	}
	if b.scratch != nil {
		err = errors.Join(err, b.scratch.Close())
	}
	return err
}
