package postgres

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"postbus.dev/deploy/testbed/internal/scratch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, c Config) *Server {
	t.Helper()
	s, err := Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// query runs statements on a session of its own and returns the last value.
func query(t *testing.T, s *Server, sqls ...string) (value string) {
	t.Helper()
	ctx := t.Context()
	conn, err := pgx.Connect(ctx, s.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	for _, sql := range sqls {
		if strings.HasPrefix(sql, "SELECT") {
			err = conn.QueryRow(ctx, sql).Scan(&value)
		} else {
			_, err = conn.Exec(ctx, sql)
		}
		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	return value
}

// openDir is a directory that every user may enter, other than t.TempDir.
func openDir(t *testing.T) string {
	t.Helper()
	d, err := scratch.NewInMemory()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return filepath.Join(d.Path, "pg")
}

func TestDataSurvivesStopAndKill(t *testing.T) {
	t.Parallel()
	dirs := map[string]string{
		"where all may enter":      openDir(t),
		"where only its owner may": filepath.Join(closedDir(t), "my check-out's \"home\"", strings.Repeat("long", 30), strings.Repeat("er", 60), ".postbus"),
	}
	for name, dir := range dirs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, Config{Dir: dir, Durable: true})
			query(t, s, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (1)")
			if err := s.Stop(); err != nil {
				t.Fatal(err)
			}
			if err := s.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			query(t, s, "INSERT INTO kept VALUES (2)")
			if err := s.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := s.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := query(t, s, "SELECT count(*)::text FROM kept"); got != "2" {
				t.Fatalf("%s rows are left of 2", got)
			}
			if got := query(t, s, "SELECT current_setting('fsync') || current_setting('synchronous_commit')"); got != "onon" {
				t.Fatalf("a durable server has fsync and synchronous_commit %s", got)
			}
		})
	}
}

// closedDir is a directory that nobody else may enter.
func closedDir(t *testing.T) string {
	t.Helper()
	dir := openDir(t)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestAServerForTestsHasNoPortAndTheCallersSettings(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Dir: openDir(t), Settings: []string{"max_connections=17"}})
	for setting, want := range map[string]string{
		"listen_addresses": "", "max_connections": "17",
		"fsync": "off", "synchronous_commit": "on", // a commit outlives the server, not the machine
	} {
		if got := query(t, s, "SELECT current_setting('"+setting+"')"); got != want {
			t.Errorf("%s is %q, want %q", setting, got, want)
		}
	}
	killLeavesNothing(t, s)
}

// killLeavesNothing kills the server and looks for what is left of it.
func killLeavesNothing(t *testing.T, s *Server) {
	t.Helper()
	pid := s.proc.cmd.Process.Pid
	all := children(pid)
	if len(all) == 0 {
		t.Skip("children are seen on Linux only")
	}
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, p := range append(all, pid) {
		if serves(p, s.dataDir()) {
			t.Errorf("process %d is alive", p)
		}
	}
	id, ok := s.segment()
	if !ok || !segmentExists(t, id) {
		t.Fatalf("segment %d is not there after a kill", id)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if segmentExists(t, id) {
		t.Fatalf("segment %d is left", id)
	}
}

// wantLine starts a server in vain and wants one line with the text.
func wantLine(t *testing.T, c Config, text string) {
	t.Helper()
	s, err := Start(t.Context(), c)
	if err == nil {
		t.Fatal("it started", s.Close())
	}
	if !strings.Contains(err.Error(), text) || strings.Contains(err.Error(), "\n") {
		t.Fatalf("want one line with %q, got %v", text, err)
	}
}

// What a server meets in a directory that was used before, one after the other.
func TestAUsedDirectory(t *testing.T) {
	t.Parallel()
	dir := openDir(t)
	s := start(t, Config{Dir: dir})
	bin, o := s.Binaries(), s.owner
	query(t, s, "CREATE TABLE kept (n int)")
	t.Run("has one server", func(t *testing.T) {
		wantLine(t, Config{Dir: dir}, "another process uses it: stop that first")
	})
	t.Run("is freed of a server that lost its owner", func(t *testing.T) {
		orphan := forget(t, s)
		var said []string
		again := start(t, Config{Dir: dir, Search: Search{Progress: func(l string) { said = append(said, l) }}})
		select {
		case <-orphan.done:
		case <-time.After(10 * time.Second):
			t.Fatal("the orphan still runs")
		}
		if len(said) != 1 || !strings.Contains(said[0], "an earlier run left") {
			t.Errorf("it said %q", said)
		}
		query(t, again, "INSERT INTO kept VALUES (1)")
	})
	for name, pid := range map[string]int{"of a dead process": deadPID(t), "of another program": os.Getpid()} {
		t.Run("may hold the process file "+name, func(t *testing.T) {
			writeProcessFile(t, dir, pid, o)
			start(t, Config{Dir: dir})
		})
	}
	t.Run("says why a server cannot start", func(t *testing.T) {
		wantLine(t, Config{Dir: dir, Settings: []string{"shared_buffers=nonsense"}}, `invalid value for parameter "shared_buffers"`)
	})
	version := filepath.Join(dir, "data", "PG_VERSION")
	t.Run("may be of another version", func(t *testing.T) {
		if err := os.WriteFile(version, []byte("14\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		wantLine(t, Config{Dir: dir, Binaries: bin}, "was made by PostgreSQL 14, and "+bin.Dir+" is version "+bin.Version+": install PostgreSQL 14, or move the directory away")
	})
	t.Run("may hold foreign files", func(t *testing.T) {
		if err := os.Remove(version); err != nil {
			t.Fatal(err)
		}
		wantLine(t, Config{Dir: dir}, "holds files that are not PostgreSQL's: move them away")
	})
}

// forget makes the owner lose its server and give the directory up, as its
// death would, but for the signal.
func forget(t *testing.T, s *Server) *process {
	t.Helper()
	p := s.proc
	s.proc = nil
	if err := s.lock.Close(); err != nil {
		t.Fatal(err)
	}
	s.lock = nil
	return p
}

func deadPID(t *testing.T) int {
	t.Helper()
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	return dead.Process.Pid
}

func writeProcessFile(t *testing.T, dir string, pid int, o owner) {
	t.Helper()
	file := filepath.Join(dir, "data", "postmaster.pid")
	if err := os.WriteFile(file, fmt.Appendf(nil, "%d\n%s/data\n1\n5432\n/tmp\n\n0 0\n", pid, dir), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(file, o.uid, o.gid); err != nil {
		t.Fatal(err)
	}
}

func TestAnInterruptedInitializationIsBegunAgain(t *testing.T) {
	t.Parallel()
	dir := openDir(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s, err := Start(ctx, Config{Dir: dir}); err == nil {
		t.Fatal("it started", s.Close())
	}
	half := filepath.Join(dir, "data.new") // what a kill leaves
	if err := os.MkdirAll(half, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(half, "PG_VERSION"), []byte("15\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, Config{Dir: dir})
	if _, err := os.Stat(half); err == nil {
		t.Fatal("the half is still there")
	}
}

func segmentExists(t *testing.T, id int) bool {
	t.Helper()
	b, err := os.ReadFile("/proc/sysvipc/shm") // key, id, ...
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[1] == strconv.Itoa(id) {
			return true
		}
	}
	return false
}
