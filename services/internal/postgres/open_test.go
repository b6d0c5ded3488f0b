package postgres_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"postbus.dev/deploy/testbed"
	"postbus.dev/services/internal/postgres"
)

func TestEverySessionHasItsLimits(t *testing.T) {
	t.Parallel()
	pool := open(t, postgres.Config{DSN: testbed.Database(t), Name: "someone", StatementTimeout: 7 * time.Second})
	for setting, want := range map[string]string{
		"application_name": "someone", "timezone": "UTC",
		"statement_timeout": "7s", "lock_timeout": "10s", "idle_in_transaction_session_timeout": "10s",
	} {
		var got string
		if err := pool.QueryRow(t.Context(), "SELECT current_setting($1)", setting).Scan(&got); err != nil {
			t.Fatal(err)
		}
		if !strings.EqualFold(got, want) {
			t.Errorf("%s is %q, want %q", setting, got, want)
		}
	}
}

// The statement is planned while the table is small, as in a new installation,
// and then meets 20,000 rows without having been planned again.
func TestAPlanMadeOnASmallTableUsesTheIndexWhenItHasGrown(t *testing.T) {
	t.Parallel()
	pool := open(t, postgres.Config{DSN: testbed.Database(t), MaxConns: 1})
	exec(t, pool, "CREATE TABLE things (id uuid PRIMARY KEY, n int) WITH (autovacuum_enabled = false)")
	const update = "UPDATE things t SET n = n + 1 FROM unnest($1::uuid[]) AS u (id) WHERE t.id = u.id"
	ids := make([][16]byte, 50)
	for i := range ids {
		ids[i] = uuid.New()
	}
	exec(t, pool, "INSERT INTO things SELECT gen_random_uuid(), 0 FROM generate_series(1, 100)")
	exec(t, pool, "ANALYZE things")
	for range 10 {
		exec(t, pool, update, ids)
	}
	exec(t, pool, "INSERT INTO things SELECT gen_random_uuid(), 0 FROM generate_series(1, 20000)")
	before := scans(t, pool)
	for range 10 {
		exec(t, pool, update, ids)
	}
	if n := scans(t, pool) - before; n != 0 {
		t.Fatalf("the table was read whole %d times", n)
	}
}

// Planning a statement that moves publishes took three times as long as running
// it for one.
func TestAStatementIsPlannedOnceAConnection(t *testing.T) {
	t.Parallel()
	pool := open(t, postgres.Config{DSN: testbed.Database(t), MaxConns: 1})
	const lookup = "SELECT count(*) FROM users WHERE id = ANY ($1::uuid[])"
	for range 10 {
		exec(t, pool, lookup, [][16]byte{uuid.New(), uuid.New()})
	}
	var kept, again int
	err := pool.QueryRow(t.Context(), "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement = $1", lookup).Scan(&kept, &again)
	if err != nil {
		t.Fatal(err)
	}
	if again != 0 || kept != 10 {
		t.Errorf("planned anew %d times, used %d times as it was", again, kept)
	}
}

func TestAnUnreadableConnectionStringIsNotPrinted(t *testing.T) {
	t.Parallel()
	for _, dsn := range []string{"postgres://u:hunter2@host:port:x/db?y", "password=hunter2 host", "hunter2"} {
		_, err := postgres.Open(t.Context(), postgres.Config{DSN: dsn})
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("error %v", err)
		}
	}
}

func TestStatementsAreTracedOnlyWhenAskedForAndWithinATrace(t *testing.T) {
	t.Parallel()
	spans := tracetest.NewInMemoryExporter()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	dsn := testbed.Database(t)
	ctx, span := tracer.Tracer("test").Start(t.Context(), "caller")
	defer span.End()
	count := func(c postgres.Config) int {
		if _, err := open(t, c).Exec(ctx, "SELECT 1"); err != nil {
			t.Fatal(err)
		}
		return len(spans.GetSpans())
	}
	if n := count(postgres.Config{DSN: dsn}); n != 0 {
		t.Fatalf("%d spans without a tracer", n)
	}
	if count(postgres.Config{DSN: dsn, Tracer: tracer}) == 0 {
		t.Fatal("no span with a tracer")
	}
}

func TestUUIDsTravelAsTheyAre(t *testing.T) {
	t.Parallel()
	pool := open(t, postgres.Config{DSN: testbed.Database(t)})
	id := uuid.New()
	var one uuid.UUID
	var raw [16]byte
	var list []uuid.UUID
	var null *uuid.UUID
	var nothing uuid.NullUUID
	err := pool.QueryRow(t.Context(), "SELECT $1::uuid, $1::uuid, $2::uuid[], $3::uuid, NULL::uuid", id, []uuid.UUID{id, uuid.Nil}, (*uuid.UUID)(nil)).
		Scan(&one, &raw, &list, &null, &nothing)
	if err != nil {
		t.Fatal(err)
	}
	if one != id || raw != id || len(list) != 2 || list[0] != id || list[1] != uuid.Nil || null != nil || nothing.Valid {
		t.Fatalf("got %v %v %v %v %v", one, raw, list, null, nothing)
	}
	if err := pool.QueryRow(t.Context(), "SELECT NULL::uuid").Scan(&one); err == nil {
		t.Fatal("NULL became a uuid")
	}
}

// scans is how often the table of the test was read whole so far.
func scans(t *testing.T, pool *pgxpool.Pool) int64 {
	t.Helper()
	var n int64
	exec(t, pool, "SELECT pg_stat_force_next_flush()")
	if err := pool.QueryRow(t.Context(), "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'things'").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
