package postgres_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"postbus.dev/deploy/testbed"
	"postbus.dev/services/internal/postgres"
)

type meaning struct{ data, unavailable, ambiguous, contention bool }

func meaningOf(err error) meaning {
	return meaning{postgres.IsDataError(err), postgres.IsUnavailable(err), postgres.IsAmbiguous(err), postgres.IsContention(err)}
}

func check(t *testing.T, err error, want meaning) {
	t.Helper()
	if got := meaningOf(err); err == nil || got != want {
		t.Fatalf("%v\nmeans %+v, want %+v", err, got, want)
	}
}

func TestRefusedValuesAreDataErrors(t *testing.T) {
	t.Parallel()
	pool := open(t, postgres.Config{DSN: testbed.Database(t)})
	exec(t, pool, "CREATE TABLE things (name text PRIMARY KEY, n int CHECK (n > 0))")
	exec(t, pool, "INSERT INTO things VALUES ('a', 1)")
	for name, args := range map[string][]any{
		"U+0000":                  {"a\x00b", 1},
		"invalid UTF-8":           {"a\xff", 1},
		"a row that is there":     {"a", 1},
		"a violated check":        {"b", 0},
		"too large for its index": {strings.Repeat("abcdefghij", 10_000) + randomText(10_000), 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := pool.Exec(t.Context(), "INSERT INTO things VALUES ($1, $2)", args...)
			check(t, err, meaning{data: true})
		})
	}
}

func randomText(n int) string { // which compression cannot help
	b := make([]byte, n)
	for i, x := 0, uint32(1); i < n; i++ {
		x = x*1664525 + 1013904223
		b[i] = 'a' + byte(x>>24)%26
	}
	return string(b)
}

func TestAMissingPartitionIsNotTheRowsFault(t *testing.T) {
	t.Parallel()
	pool := open(t, postgres.Config{DSN: testbed.Database(t)})
	exec(t, pool, "CREATE TABLE days (day date) PARTITION BY RANGE (day)")
	_, err := pool.Exec(t.Context(), "INSERT INTO days VALUES (now())")
	check(t, err, meaning{unavailable: true})
}

func TestADatabaseThatCannotBeReachedIsUnavailableAndNothingWasWritten(t *testing.T) {
	t.Parallel()
	pool := open(t, postgres.Config{DSN: "postgres://nobody@127.0.0.1:1/none"})
	_, err := pool.Exec(t.Context(), "SELECT 1")
	check(t, err, meaning{unavailable: true})
}

func TestTooManyConnectionsIsUnavailable(t *testing.T) {
	t.Parallel()
	pool := open(t, postgres.Config{DSN: testbed.Database(t)})
	_, err := pool.Exec(t.Context(), "DO $$ BEGIN RAISE EXCEPTION 'too many' USING ERRCODE = '53300'; END $$")
	check(t, err, meaning{unavailable: true})
}

func TestAStatementThatRunsOutOfTimeIsUnavailableAndRolledBack(t *testing.T) {
	t.Parallel()
	pool := open(t, postgres.Config{DSN: testbed.Database(t), StatementTimeout: 10 * time.Millisecond})
	_, err := pool.Exec(t.Context(), "SELECT pg_sleep(10)")
	check(t, err, meaning{unavailable: true})
}

func TestASessionThatIsEndedLeavesItsWriteInDoubt(t *testing.T) {
	t.Parallel()
	pool := open(t, postgres.Config{DSN: testbed.Database(t)})
	_, err := pool.Exec(t.Context(), "SELECT pg_terminate_backend(pg_backend_pid())")
	check(t, err, meaning{unavailable: true, ambiguous: true})
}

func TestACanceledWaitLeavesItsWriteInDoubtOnlyIfItHadBegun(t *testing.T) {
	t.Parallel()
	pool := open(t, postgres.Config{DSN: testbed.Database(t)})
	exec(t, pool, "SELECT 1")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := pool.Exec(ctx, "SELECT pg_sleep(10)")
	check(t, err, meaning{unavailable: true, ambiguous: true})

	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	done, end := context.WithCancel(t.Context())
	end()
	_, err = conn.Exec(done, "SELECT 1")
	check(t, err, meaning{})
}

func TestACommitWithoutAnswerIsAmbiguous(t *testing.T) {
	t.Parallel()
	config, err := pgx.ParseConfig(testbed.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	var cut atomic.Bool
	dial := config.DialFunc
	config.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		return deafConn{c, &cut}, err
	}
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cut.Store(true)
	check(t, tx.Commit(t.Context()), meaning{unavailable: true, ambiguous: true})
}

// deafConn loses what the server answers from the moment that cut is set.
type deafConn struct {
	net.Conn
	cut *atomic.Bool
}

func (c deafConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.cut.Load() {
		_ = c.Close()
		return 0, net.ErrClosed
	}
	return n, err
}

func TestADeadlockIsContention(t *testing.T) {
	t.Parallel()
	check(t, &pgconn.PgError{Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: "40P01"}, meaning{contention: true})
}

func TestWhatTheDatabaseDidNotSayMeansNothing(t *testing.T) {
	t.Parallel()
	for _, err := range []error{pgx.ErrNoRows, pgx.ErrTxClosed, pgx.ErrTxCommitRollback, errors.New("other")} {
		check(t, err, meaning{})
	}
}
