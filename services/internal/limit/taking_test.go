package limit_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"postbus.dev/services/internal/limit"
)

func TestAGroupServesTheAsksOfAKeyInTheirOrder(t *testing.T) {
	t.Parallel()
	pool := open(t, 1)[0]
	useDaysAgo(t, pool, "a", 2, 17)
	ask := func(key string, n int64) limit.Ask {
		return limit.Ask{Key: key, Limit: 20, Period: tenDays, N: n}
	}
	asks := []limit.Ask{ask("a", 1), ask("b", 1), ask("a", 1), ask("a", 1), ask("a", 1), ask("b", 19), ask("c", 21), ask("c", 1)}
	ds := must[[]limit.Decision](t)(limit.NewBudgets(pool).TakeAll(t.Context(), asks))
	want := []limit.Decision{
		{Allowed: true, Remaining: 2}, {Allowed: true, Remaining: 19}, {Allowed: true, Remaining: 1}, {Allowed: true, Remaining: 0},
		{Allowed: false, Remaining: 0}, {Allowed: true, Remaining: 0}, {Allowed: false, Remaining: 20}, {Allowed: false, Remaining: 20},
	}
	for i, d := range ds {
		if d.Allowed != want[i].Allowed || d.Remaining != want[i].Remaining {
			t.Errorf("ask %d: %+v, want %+v", i, d, want[i])
		}
	}
	for key, n := range map[string]int64{"a": 20, "b": 20, "c": 0} {
		if got := used(t, pool, key); got != n {
			t.Errorf("%s: %d counted, want %d", key, got, n)
		}
	}
	if ds := must[[]limit.Decision](t)(limit.NewBudgets(pool).TakeAll(t.Context(), nil)); len(ds) != 0 {
		t.Errorf("no asks: %+v", ds)
	}
}

func TestGroupsOfTheSameKeysDoNotDeadlock(t *testing.T) {
	t.Parallel()
	pools := open(t, 2)
	var asks, reversed []limit.Ask
	for i := range 40 {
		asks = append(asks, limit.Ask{Key: fmt.Sprint("k", i), Limit: 1000, Period: tenDays, N: 1})
	}
	for i := range asks {
		reversed = append(reversed, asks[len(asks)-1-i])
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 20 {
				group := asks
				if i%2 == 1 {
					group = reversed
				}
				if _, err := limit.NewBudgets(pools[i%2]).TakeAll(t.Context(), group); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := used(t, pools[0], "k7"); n != 160 {
		t.Errorf("%d counted, want 160", n)
	}
}

func TestATakeIsUndoneWithTheTransactionItIsPartOf(t *testing.T) {
	t.Parallel()
	pool := open(t, 1)[0]
	var b pgx.Batch
	must[*limit.Taking](t)(limit.QueueTake(&b, []limit.Ask{{Key: "k", Limit: 5, Period: tenDays, N: 1}}))
	b.Queue(`SELECT 1/0`)
	if err := pool.SendBatch(t.Context(), &b).Close(); err == nil {
		t.Fatal("the batch did not fail")
	}
	if n := used(t, pool, "k"); n != 0 {
		t.Errorf("%d counted", n)
	}
}

func TestAStatementWritesOnlyWhatItsBudgetAllows(t *testing.T) {
	t.Parallel()
	pool := open(t, 1)[0]
	exec(t, pool, `CREATE TABLE work (name text, n bigint)`)
	useDaysAgo(t, pool, "a", 1, 3)
	ask := func(key string) limit.Ask { return limit.Ask{Key: key, Limit: 5, Period: tenDays, N: 1} }
	taking := must[*limit.Taking](t)(limit.NewTaking([]limit.Ask{ask("a"), ask("a"), ask("b"), ask("a")}))

	var b pgx.Batch
	taking.QueueLock(&b)
	with, args := taking.With(3)
	b.Queue(`WITH `+with+`, done AS (
		INSERT INTO work SELECT w.name, w.n + $2 FROM unnest($1::text[]) WITH ORDINALITY AS w (name, n)
		JOIN budget_takes t ON t.i = w.n WHERE t.allowed)
		SELECT i, allowed, remaining, reset_us FROM budget_takes`,
		append([]any{[]string{"a1", "a2", "b1", "a3"}, int64(100)}, args...)...).Query(taking.Scan)
	if err := pool.SendBatch(t.Context(), &b).Close(); err != nil {
		t.Fatal(err)
	}
	if got := query[string](t, pool, `SELECT string_agg(name || n, ' ' ORDER BY n) FROM work`); got != "a1101 a2102 b1103" {
		t.Errorf("written: %s", got)
	}
	for i, allowed := range []bool{true, true, true, false} {
		if taking.Decisions()[i].Allowed != allowed {
			t.Errorf("decision %d: %+v", i, taking.Decisions()[i])
		}
	}
}
