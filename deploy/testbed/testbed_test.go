package testbed_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"postbus.dev/deploy/testbed"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

// exec1 runs one statement on a session of its own.
func exec1(t *testing.T, dsn, sql string, args ...any) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// value reads one value on a session of its own.
func value[T any](t *testing.T, dsn, sql string) (v T) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if err := conn.QueryRow(ctx, sql).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

const appendEvent = `INSERT INTO outbox (id, service, stream, subject, event)
VALUES (gen_random_uuid(), 'publisher', 'PUBLISH', 'publish.completed', '{}')`

func TestDatabasesHaveTheSchemaAndNothingInCommon(t *testing.T) {
	t.Parallel()
	for i := range 10 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			dsn := testbed.Database(t)
			exec1(t, dsn, appendEvent)
			if n := value[int](t, dsn, "SELECT count(*) FROM outbox"); n != 1 {
				t.Fatalf("%d rows in a fresh database after one insert", n)
			}
		})
	}
}

func TestADatabaseIsDroppedWithItsTestEvenIfSessionsAreOpen(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	var name string
	other := testbed.Database(t)
	t.Run("user", func(t *testing.T) {
		dsn := testbed.Database(t)
		name = value[string](t, dsn, "SELECT current_database()::text")
		conn, err := pgx.Connect(ctx, dsn)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn // left open, as a test that forgets it would
	})
	if value[bool](t, other, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = '"+name+"')") {
		t.Fatalf("%s is still there", name)
	}
}

func TestAPrivateClusterKeepsItsDataThroughAKill(t *testing.T) {
	t.Parallel()
	p := testbed.Cluster(t, "max_connections=20")
	dsn := p.Database(t)
	exec1(t, dsn, appendEvent)
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := value[int](t, dsn, "SELECT count(*) FROM outbox"); n != 1 {
		t.Fatalf("%d rows are left of 1", n)
	}
	if got := value[string](t, dsn, "SHOW max_connections"); got != "20" {
		t.Fatalf("max_connections is %s", got)
	}
}

func TestATransactionElsewhereDoesNotHoldAPrivateClusterBack(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, testbed.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "BEGIN; "+appendEvent); err != nil {
		t.Fatal(err)
	}
	dsn := testbed.Cluster(t).Database(t)
	exec1(t, dsn, appendEvent)
	// The cluster's own housekeeping may hold it back for a moment.
	const settled = "SELECT count(*) FROM outbox WHERE xid < pg_snapshot_xmin(pg_current_snapshot())"
	for deadline := time.Now().Add(20 * time.Second); value[int](t, dsn, settled) != 1; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the row is not settled")
		}
	}
}
