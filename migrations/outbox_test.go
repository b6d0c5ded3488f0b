package migrations_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"postbus.dev/deploy/testbed"
)

const (
	appendEvent = `INSERT INTO outbox (id, service, stream, subject, event, created_at)
		VALUES (gen_random_uuid(), 'publisher', 'PUBLISH', 'publish.completed', '{}', $1::text::timestamptz)`
	// A cursor that has passed all there is, of this cluster.
	passCursor = `INSERT INTO outbox_cursors (service, stream, xid, id, system_identifier)
		SELECT 'publisher', 'PUBLISH', max(xid::text::bigint)::text::xid8, 'ffffffff-ffff-ffff-ffff-ffffffffffff', (SELECT system_identifier FROM pg_control_system()) FROM outbox`
	drop = `SELECT outbox_drop_partitions($1)`
)

// withDay makes a partition of a day in the past, n days ago, with one event.
func withDay(t *testing.T, dsn string, n int) {
	t.Helper()
	day := time.Now().UTC().AddDate(0, 0, -n)
	name, from, to := day.Format("outbox_20060102"), day.Format(time.DateOnly), day.AddDate(0, 0, 1).Format(time.DateOnly)
	execute(t, dsn, "CREATE TABLE "+name+" PARTITION OF outbox FOR VALUES FROM ('"+from+" 00:00+00') TO ('"+to+" 00:00+00')")
	execute(t, dsn, appendEvent, from+" 12:00+00")
}

func partitions(t *testing.T, dsn string) int {
	t.Helper()
	return value[int](t, dsn, "SELECT count(*) FROM pg_inherits WHERE inhparent = 'outbox'::regclass")
}

func TestPartitionsAreMadeForEveryDayUTC(t *testing.T) {
	t.Parallel()
	dsn := testbed.Database(t)
	if n := partitions(t, dsn); n != 8 {
		t.Fatalf("%d partitions after Apply, want those of today and 7 days ahead", n)
	}
	execute(t, dsn, "SET timezone = 'Pacific/Kiritimati'; SELECT outbox_make_partitions(30)") // a day ahead of UTC
	if n := partitions(t, dsn); n != 31 {
		t.Fatalf("%d partitions, want 31", n)
	}
	if made := value[int](t, dsn, "SELECT outbox_make_partitions(30)"); made != 0 {
		t.Errorf("made %d again", made)
	}
	for _, at := range []string{"0 seconds", "30 days"} {
		start := time.Now().UTC().Truncate(24 * time.Hour)
		if at != "0 seconds" {
			start = start.AddDate(0, 0, 30)
		}
		execute(t, dsn, appendEvent, start.Format(time.RFC3339))
		execute(t, dsn, appendEvent, start.Add(24*time.Hour-time.Millisecond).Format(time.RFC3339Nano))
	}
	if err := try(t, dsn, appendEvent, time.Now().UTC().AddDate(0, 0, 31).Format(time.DateOnly)+" 00:00+00"); err == nil {
		t.Error("a day without a partition took an event")
	}
}

func TestPartitionsAreIndexedLikeTheirTable(t *testing.T) {
	t.Parallel()
	dsn := testbed.Database(t)
	bare := `SELECT count(*) FROM pg_inherits p WHERE inhparent = 'outbox'::regclass AND (SELECT count(*) FROM pg_index i JOIN pg_inherits j ON j.inhrelid = i.indexrelid
		WHERE i.indrelid = p.inhrelid AND j.inhparent = 'outbox_cursor_order'::regclass) <> 1`
	if n := value[int](t, dsn, bare); n != 0 {
		t.Fatalf("%d partitions without the index of their table", n)
	}
}

func TestMakingPartitionsDoesNotWaitForOpenWriters(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	dsn := testbed.Database(t)
	writer, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close(ctx)
	tx, err := writer.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(ctx, appendEvent, "now"); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 3 { // relays of several services do it at the same time
		wg.Go(func() {
			if err := try(t, dsn, "SELECT outbox_make_partitions(9)"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := partitions(t, dsn); n != 10 {
		t.Errorf("%d partitions, want 10", n)
	}
	if err := tx.Commit(ctx); err != nil {
		t.Error(err)
	}
}

func TestOnlyWhatWasSentAndIsOldEnoughIsDropped(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		prepare []string
		want    int
	}{
		"all of it was sent":            {[]string{passCursor}, 2},
		"there is no cursor":            {nil, 0},
		"the cursor is of another kind": {[]string{passCursor, "UPDATE outbox_cursors SET stream = 'ACCOUNT'"}, 0},
		"the cursor is a row behind":    {[]string{passCursor, "UPDATE outbox_cursors SET id = '00000000-0000-0000-0000-000000000000', xid = (SELECT min(xid::text::bigint)::text::xid8 FROM outbox)"}, 0},
		"the oldest day alone was sent": {[]string{passCursor, "UPDATE outbox_cursors SET xid = (SELECT min(xid::text::bigint)::text::xid8 FROM outbox)"}, 1},
		"the cluster was restored":      {[]string{passCursor, "UPDATE outbox_cursors SET system_identifier = 1"}, 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := testbed.Database(t)
			for _, day := range []int{9, 8, 7, 1} { // 8 days ago ended 7 days ago
				withDay(t, dsn, day)
			}
			execute(t, dsn, appendEvent, "now")
			for _, sql := range c.prepare {
				execute(t, dsn, sql)
			}
			if got := value[int](t, dsn, drop, 7); got != c.want {
				t.Errorf("dropped %d, want %d", got, c.want)
			}
			if got := partitions(t, dsn); got != 12-c.want {
				t.Errorf("%d partitions are left, want %d", got, 12-c.want)
			}
			if got := value[int](t, dsn, "SELECT count(*) FROM outbox"); got != 5-c.want {
				t.Errorf("%d events are left, want %d", got, 5-c.want)
			}
		})
	}
}

func TestDroppingGivesUpWhereItWouldWait(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	dsn := testbed.Database(t)
	withDay(t, dsn, 9)
	execute(t, dsn, passCursor)
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "BEGIN; SELECT FROM outbox"); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if got := value[int](t, dsn, drop, 7); got != 0 || time.Since(start) > 5*time.Second {
		t.Fatalf("dropped %d after %s", got, time.Since(start))
	}
	if _, err := conn.Exec(ctx, "COMMIT"); err != nil {
		t.Fatal(err)
	}
	if got := value[int](t, dsn, drop, 7); got != 1 {
		t.Fatalf("dropped %d afterwards", got)
	}
}

func TestNonsenseIsRefused(t *testing.T) {
	t.Parallel()
	dsn := testbed.Database(t)
	for _, call := range []string{"outbox_make_partitions(-1)", "outbox_make_partitions(NULL)", "outbox_make_partitions(100000)", "outbox_drop_partitions(0)", "outbox_drop_partitions(NULL)"} {
		var pg *pgconn.PgError
		if err := try(t, dsn, "SELECT "+call); !errors.As(err, &pg) || pg.Code != "22023" {
			t.Errorf("%s: got %v", call, err)
		}
	}
}

// What is named without a schema in such a function must not be what its
// caller put in the way.
func TestTheFunctionsDoNotUseTheirCallersNames(t *testing.T) {
	t.Parallel()
	dsn := testbed.Database(t)
	withDay(t, dsn, 9)
	execute(t, dsn, passCursor)
	got := func() int {
		ctx := context.Background()
		conn, err := pgx.Connect(ctx, dsn)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(ctx)
		if _, err := conn.Exec(ctx, `CREATE SCHEMA evil;
			CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE sql AS 'SELECT ''infinity''::timestamptz';
			CREATE TEMP TABLE outbox_cursors (service text, stream text, xid xid8, id uuid, system_identifier bigint);
			SET search_path = evil, pg_catalog, public`); err != nil {
			t.Fatal(err)
		}
		var n int
		if err := conn.QueryRow(ctx, "SELECT public.outbox_drop_partitions(7)").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}()
	if got != 1 {
		t.Fatalf("dropped %d", got)
	}
}

func TestOnlyTheOwnerMayCallThem(t *testing.T) {
	t.Parallel()
	dsn := testbed.Database(t)
	n := value[int](t, dsn, `SELECT count(*) FROM pg_proc, aclexplode(coalesce(proacl, acldefault('f', proowner))) WHERE proname LIKE 'outbox\_%' AND grantee = 0`)
	if n != 0 {
		t.Fatalf("%d of the functions may be called by everybody", n)
	}
}
