package limit_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/limit"
)

func accountGate(id string) limit.Gate {
	return limit.Gate{Scope: connectors.ScopeAccount, Key: id, Reason: connectors.ReasonQuota, For: time.Hour}
}

func closeGates(t *testing.T, pool *pgxpool.Pool, gates ...limit.Gate) {
	t.Helper()
	if err := limit.NewGates(pool).Close(t.Context(), gates...); err != nil {
		t.Fatal(err)
	}
}

func active(t *testing.T, pool *pgxpool.Pool) []limit.Gate {
	t.Helper()
	return must[[]limit.Gate](t)(limit.NewGates(pool).Active(t.Context()))
}

// passes asks the condition as a statement that starts work would.
func passes(t *testing.T, pool *pgxpool.Pool, target limit.Target) bool {
	t.Helper()
	return query[bool](t, pool, `SELECT count(*) > 0 FROM (VALUES ($1::text, $2::text, $3::text)) AS p (provider, client, account) WHERE `+
		limit.Ungated("p.provider", "p.client", "p.account"), target.Provider, target.Client, target.Account)
}

func TestAClosedGateStopsWhatItCoversAndNothingElse(t *testing.T) {
	t.Parallel()
	pool := open(t, 1)[0]
	mine := limit.Target{Provider: "instagram", Client: limit.ClientKey("instagram", "app1"), Account: "a1"}
	for _, c := range []struct {
		name  string
		gate  limit.Gate
		stops bool
	}{
		{"everything", limit.Gate{Scope: connectors.ScopeAll}, true},
		{"my provider", limit.Gate{Scope: connectors.ScopeProvider, Key: "instagram"}, true},
		{"another provider", limit.Gate{Scope: connectors.ScopeProvider, Key: "tiktok"}, false},
		{"my client", limit.Gate{Scope: connectors.ScopeClient, Key: "instagram/app1"}, true},
		{"another client", limit.Gate{Scope: connectors.ScopeClient, Key: "instagram/app2"}, false},
		{"my account", limit.Gate{Scope: connectors.ScopeAccount, Key: "a1"}, true},
		{"another account", limit.Gate{Scope: connectors.ScopeAccount, Key: "a2"}, false},
		{"a provider named like my account", limit.Gate{Scope: connectors.ScopeProvider, Key: "a1"}, false},
		{"an account named like my provider", limit.Gate{Scope: connectors.ScopeAccount, Key: "instagram"}, false},
	} {
		c.gate.Reason, c.gate.For = connectors.ReasonPaused, time.Hour
		closeGates(t, pool, c.gate)
		if passes(t, pool, mine) == c.stops {
			t.Errorf("%s: passes in SQL: %v", c.name, !c.stops)
		}
		if got := active(t, pool); len(got) != 1 || got[0].Stops(mine) != c.stops {
			t.Errorf("%s: in the list: %+v", c.name, got)
		}
		must[int](t)(limit.NewGates(pool).Open(t.Context(), c.gate))
		if !passes(t, pool, mine) {
			t.Errorf("%s: opened, but still stops", c.name)
		}
	}
}

func TestAnEmptyFieldIsStoppedByNothing(t *testing.T) {
	t.Parallel()
	pool := open(t, 1)[0]
	closeGates(t, pool, accountGate("a1"), limit.Gate{Scope: connectors.ScopeClient, Key: "x/y", Reason: "r", For: time.Hour})
	if !passes(t, pool, limit.Target{Provider: "x"}) {
		t.Error("stopped")
	}
	var null *string
	if !query[bool](t, pool, `SELECT `+limit.Ungated("'x'", "$1::text", "$1::text"), null) {
		t.Error("null is stopped")
	}
	for _, g := range active(t, pool) {
		if g.Stops(limit.Target{Provider: "x"}) {
			t.Errorf("%+v stops it", g)
		}
	}
}

func TestAGateOpensWhenItsTimeHasCome(t *testing.T) {
	t.Parallel()
	pool := open(t, 1)[0]
	g := accountGate("a1")
	g.For, g.Until = 0, time.Now().Add(-time.Second)
	closeGates(t, pool, g)
	if !passes(t, pool, limit.Target{Account: "a1"}) || len(active(t, pool)) != 0 {
		t.Error("a gate whose time has passed is closed")
	}
	g.Until = time.Now().Add(time.Hour).Truncate(time.Microsecond)
	closeGates(t, pool, g)
	if passes(t, pool, limit.Target{Account: "a1"}) {
		t.Error("not closed again")
	}
	if got := active(t, pool)[0]; !got.Until.Equal(g.Until) || time.Since(got.ClosedAt) > time.Minute || got.Reason != g.Reason {
		t.Errorf("listed as %+v", got)
	}
}

func TestAWaitIsMeasuredByTheDatabaseClock(t *testing.T) {
	t.Parallel()
	pool := open(t, 1)[0]
	closeGates(t, pool, accountGate("a1"))
	left := query[float64](t, pool, `SELECT extract(epoch FROM until - created_at)::float8 FROM gates`)
	if left != 3600 {
		t.Errorf("closed for %v s", left)
	}
}

func TestAGateWithoutTimeStaysClosedUntilOpened(t *testing.T) {
	t.Parallel()
	pool := open(t, 1)[0]
	pause := limit.Gate{Scope: connectors.ScopeAll, Reason: connectors.ReasonPaused}
	closeGates(t, pool, pause)
	if got := active(t, pool); len(got) != 1 || !got[0].Until.IsZero() {
		t.Errorf("listed as %+v", got)
	}
	shorter := pause
	shorter.For = time.Minute
	closeGates(t, pool, shorter)
	if got := active(t, pool); !got[0].Until.IsZero() {
		t.Errorf("a wait cut off a person's pause: %+v", got)
	}
	if n := must[int](t)(limit.NewGates(pool).Open(t.Context(), pause)); n != 1 || len(active(t, pool)) != 0 {
		t.Errorf("%d opened, %d closed", n, len(active(t, pool)))
	}
}

func TestTheLongerWaitHolds(t *testing.T) {
	t.Parallel()
	pool := open(t, 1)[0]
	long, short := accountGate("a1"), accountGate("a1")
	short.For = time.Minute
	for _, order := range [][]limit.Gate{{long, short}, {short, long}} {
		for _, g := range order {
			closeGates(t, pool, g)
		}
		if left := time.Until(active(t, pool)[0].Until); left < 59*time.Minute {
			t.Errorf("closed for %v", left)
		}
		must[int](t)(limit.NewGates(pool).Open(t.Context(), long))
	}
	closeGates(t, pool, short, long, short) // in one statement
	if left := time.Until(active(t, pool)[0].Until); left < 59*time.Minute {
		t.Errorf("closed for %v", left)
	}
}

func TestTwoReasonsAreTwoGates(t *testing.T) {
	t.Parallel()
	pool := open(t, 1)[0]
	quota, paused := accountGate("a1"), accountGate("a1")
	paused.Reason = connectors.ReasonPaused
	closeGates(t, pool, quota, paused)
	must[int](t)(limit.NewGates(pool).Open(t.Context(), quota))
	if passes(t, pool, limit.Target{Account: "a1"}) {
		t.Error("opening one reason opened the other")
	}
	closeGates(t, pool, quota)
	both := limit.Gate{Scope: connectors.ScopeAccount, Key: "a1"}
	if n := must[int](t)(limit.NewGates(pool).Open(t.Context(), both)); n != 2 || !passes(t, pool, limit.Target{Account: "a1"}) {
		t.Errorf("%d opened", n)
	}
}

func TestTheWidestGatesAreListedFirst(t *testing.T) {
	t.Parallel()
	pool := open(t, 1)[0]
	closeGates(t, pool, accountGate("a1"),
		limit.Gate{Scope: connectors.ScopeClient, Key: "p/c", Reason: "r", For: time.Hour},
		limit.Gate{Scope: connectors.ScopeProvider, Key: "p", Reason: "r", For: time.Hour},
		limit.Gate{Scope: connectors.ScopeAll, Reason: "r", For: time.Hour})
	var scopes []string
	for _, g := range active(t, pool) {
		scopes = append(scopes, string(g.Scope))
	}
	if got := strings.Join(scopes, " "); got != "all provider client account" {
		t.Error(got)
	}
}

func TestAWrongGateIsRefusedAndClosesNothing(t *testing.T) {
	t.Parallel()
	pool := open(t, 1)[0]
	for _, bad := range []limit.Gate{
		{Scope: "galaxy", Key: "k", Reason: "r"}, {Scope: connectors.ScopeAll, Key: "k", Reason: "r"},
		{Scope: connectors.ScopeAccount, Reason: "r"}, {Scope: connectors.ScopeAccount, Key: "k"},
	} {
		if err := limit.NewGates(pool).Close(t.Context(), accountGate("a1"), bad); err == nil {
			t.Errorf("%+v closed", bad)
		}
		if err := limit.QueueClose(new(pgx.Batch), bad); err == nil {
			t.Errorf("%+v queued", bad)
		}
	}
	if got := active(t, pool); len(got) != 0 {
		t.Errorf("closed: %+v", got)
	}
}

func TestAQueuedGateClosesWithItsBatch(t *testing.T) {
	t.Parallel()
	pool := open(t, 1)[0]
	for _, fails := range []bool{true, false} {
		var b pgx.Batch
		if err := limit.QueueClose(&b, accountGate("a1")); err != nil {
			t.Fatal(err)
		}
		if fails {
			b.Queue(`SELECT 1/0`)
		}
		if err := pool.SendBatch(t.Context(), &b).Close(); (err != nil) != fails {
			t.Fatal(err)
		}
		if closed := len(active(t, pool)) == 1; closed == fails {
			t.Errorf("closed %v although the batch failed %v", closed, fails)
		}
	}
}

func TestProcessesThatCloseTheSameGatesDoNotDeadlock(t *testing.T) {
	t.Parallel()
	pools := open(t, 2)
	a, b := accountGate("a"), accountGate("b")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			gates := []limit.Gate{a, b}
			if i%2 == 1 {
				gates = []limit.Gate{b, a}
			}
			for range 25 {
				if err := limit.NewGates(pools[i%2]).Close(t.Context(), gates...); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestSweepDeletesOnlyGatesWhoseTimeHasPassed(t *testing.T) {
	t.Parallel()
	pool := open(t, 1)[0]
	past := accountGate("past")
	past.For, past.Until = 0, time.Now().Add(-time.Minute)
	closeGates(t, pool, past, accountGate("now"), limit.Gate{Scope: connectors.ScopeAll, Reason: "r"})
	if n := must[int](t)(limit.NewGates(pool).Sweep(t.Context())); n != 1 {
		t.Errorf("%d deleted", n)
	}
	if got := active(t, pool); len(got) != 2 {
		t.Errorf("left: %+v", got)
	}
}

// A claim asks for hundreds of accounts at once, and a provider's bad day
// closes a gate for each of its accounts: a plan that reads all gates a row
// takes seconds, and one was found that did.
func TestTheConditionReadsGatesByTheirKey(t *testing.T) {
	t.Parallel()
	pool := open(t, 1)[0]
	exec(t, pool, `CREATE TABLE claimed (provider text, account uuid)`)
	exec(t, pool, `INSERT INTO claimed SELECT 'instagram', gen_random_uuid() FROM generate_series(1, 500)`)
	exec(t, pool, `INSERT INTO gates SELECT 'account', gen_random_uuid()::text, 'quota', now() + interval '1 hour' FROM generate_series(1, 20000)`)
	conn := must[*pgxpool.Conn](t)(pool.Acquire(t.Context()))
	defer conn.Release()
	for _, before := range []string{
		`SELECT 'statistics are missing'`, `ANALYZE gates`,
		`SET enable_seqscan = on`, `SET enable_hashjoin = on`, `SET enable_mergejoin = on`,
	} {
		if _, err := conn.Exec(t.Context(), before); err != nil {
			t.Fatal(err)
		}
		rows, err := conn.Query(t.Context(), `EXPLAIN SELECT FROM claimed p WHERE `+limit.Ungated("p.provider", "''", "p.account::text"))
		if err != nil {
			t.Fatal(err)
		}
		plan := strings.Join(must[[]string](t)(pgx.CollectRows(rows, pgx.RowTo[string])), "\n")
		if !strings.Contains(plan, "Index Cond: ((scope = \"*VALUES*\".column1) AND (key = \"*VALUES*\".column2))") ||
			strings.Contains(plan, "Seq Scan on gates") {
			t.Errorf("after %s:\n%s", before, plan)
		}
	}
}
