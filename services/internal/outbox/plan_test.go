package outbox_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"postbus.dev/services/internal/outbox"
	"postbus.dev/services/internal/postgres"
)

// A condition of a policy is not to keep the relay's own from being those of the
// index: where a function is not leakproof, PostgreSQL would run it only on rows
// that the policy has let pass.
func TestRowSecurityLeavesThePlansAsTheyAre(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.operate(`INSERT INTO outbox (id, service, stream, subject, event)
SELECT gen_random_uuid(), CASE WHEN i % 2 = 0 THEN 'publisher' ELSE 'account' END, 'PUBLISH', 'publish.completed', '{}' FROM generate_series(1, 5000) i`)
	b.operate("ANALYZE outbox")
	free, bound := plans(b, b.admin), plans(b, b.dsn)
	for name := range outbox.Statements {
		if want, got := free[name], withoutPolicy(bound[name]); got != want {
			t.Errorf("%s: the plan is\n%s\nwithout row security it is\n%s", name, bound[name], want)
		}
		if name == "read" && strings.Count(bound[name], "Index Cond: ((service = 'publisher'::text) AND (ROW(xid, id) > ROW($3, $4)) AND (xid < pg_snapshot_xmin(") != 8 {
			t.Errorf("the relay does not read from its cursor on:\n%s", bound[name])
		}
	}
}

// plans returns how a session of a service runs each statement.
func plans(b *bed, dsn string) map[string]string {
	b.t.Helper()
	pool, err := postgres.Open(b.t.Context(), postgres.Config{DSN: dsn, MaxConns: 1})
	if err != nil {
		b.t.Fatal(err)
	}
	defer pool.Close()
	c, err := pool.Acquire(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	defer c.Release()
	if _, err := c.Exec(b.t.Context(), "SET enable_bitmapscan = off"); err != nil { // as the relay's
		b.t.Fatal(err)
	}
	out := map[string]string{}
	for name, sql := range outbox.Statements {
		d, err := c.Conn().Prepare(b.t.Context(), name, sql)
		if err != nil {
			b.t.Fatalf("%s: %v", name, err)
		}
		args := strings.Join(slices.Repeat([]string{"NULL"}, len(d.ParamOIDs)), ", ")
		rows, err := c.Query(b.t.Context(), fmt.Sprintf("EXPLAIN (COSTS OFF) EXECUTE %s (%s)", name, args), pgx.QueryExecModeSimpleProtocol)
		if err != nil {
			b.t.Fatalf("%s: %v", name, err)
		}
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			b.t.Fatalf("%s: %v", name, err)
		}
		out[name] = normal(lines)
	}
	return out
}

var arrow = regexp.MustCompile(`(?m)^ *(-> *)?`)

// normal drops the depth of each node.
func normal(lines []string) string { return arrow.ReplaceAllString(strings.Join(lines, "\n"), "") }

// withoutPolicy takes away what a policy adds to a plan at most: the service is
// the constant, and that it is the one asked for is looked at once.
func withoutPolicy(plan string) string {
	plan = strings.ReplaceAll(plan, "Result\nOne-Time Filter: ($1 = 'publisher'::text)\n", "")
	return strings.ReplaceAll(plan, "service = 'publisher'::text", "service = $1")
}
