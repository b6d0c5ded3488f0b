package limit_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"pgregory.net/rapid"

	"postbus.dev/services/internal/limit"
)

// tenDays has windows of a day, so that no window ends while a test runs.
const tenDays = 240 * time.Hour

func used(t *testing.T, pool *pgxpool.Pool, key string) int64 {
	t.Helper()
	return query[int64](t, pool, `SELECT coalesce(sum(used), 0)::bigint FROM budgets WHERE key = $1`, key)
}

// useDaysAgo writes a window that began so many windows before the current one.
func useDaysAgo(t *testing.T, pool *pgxpool.Pool, key string, days int, n int64) {
	t.Helper()
	exec(t, pool, `INSERT INTO budgets VALUES ($1, date_bin('1 day', now(), 'epoch'::timestamptz) - $2 * interval '1 day', $3)`, key, days, n)
}

func TestABudgetAllowsItsLimitAndNoMore(t *testing.T) {
	t.Parallel()
	b := limit.NewBudgets(open(t, 1)[0])
	for i := range int64(5) {
		d := must[limit.Decision](t)(b.Take(t.Context(), "k", 3, tenDays, 1))
		if d.Allowed != (i < 3) || d.Remaining != max(0, 2-i) {
			t.Errorf("take %d: %+v", i, d)
		}
		if d.Reset <= tenDays || d.Reset > 11*24*time.Hour {
			t.Errorf("take %d resets in %v", i, d.Reset)
		}
	}
	if d := must[limit.Decision](t)(b.Take(t.Context(), "other", 3, tenDays, 1)); !d.Allowed {
		t.Error("another key shares the budget")
	}
}

func TestManyUsesAreTakenAllOrNone(t *testing.T) {
	t.Parallel()
	pool := open(t, 1)[0]
	b := limit.NewBudgets(pool)
	for _, step := range []struct {
		n         int64
		allowed   bool
		remaining int64
	}{{7, true, 3}, {4, false, 3}, {3, true, 0}, {1, false, 0}, {11, false, 0}} {
		d := must[limit.Decision](t)(b.Take(t.Context(), "k", 10, tenDays, step.n))
		if d.Allowed != step.allowed || d.Remaining != step.remaining {
			t.Errorf("take %d: %+v", step.n, d)
		}
	}
	if n := used(t, pool, "k"); n != 10 {
		t.Errorf("%d counted", n)
	}
}

func TestTheLastFullPeriodCounts(t *testing.T) {
	t.Parallel()
	pool := open(t, 1)[0]
	b := limit.NewBudgets(pool)
	useDaysAgo(t, pool, "k", 10, 4) // its end may be less than a period ago
	useDaysAgo(t, pool, "k", 11, 100)
	useDaysAgo(t, pool, "k", 3, 5)
	d := must[limit.Decision](t)(b.Take(t.Context(), "k", 10, tenDays, 1))
	if !d.Allowed || d.Remaining != 0 {
		t.Errorf("with 9 used: %+v", d)
	}
	if d.Reset <= 0 || d.Reset > 24*time.Hour {
		t.Errorf("the oldest window leaves with this one, not in %v", d.Reset)
	}
	if d := must[limit.Decision](t)(b.Take(t.Context(), "k", 10, tenDays, 1)); d.Allowed {
		t.Errorf("with 10 used: %+v", d)
	}
	if n := used(t, pool, "k"); n != 10 {
		t.Errorf("the window that counts no more is still there: %d", n)
	}
}

func TestUsesInTheFutureCountWhenTheClockStepsBack(t *testing.T) {
	t.Parallel()
	pool := open(t, 1)[0]
	useDaysAgo(t, pool, "k", -2, 5)
	if d := must[limit.Decision](t)(limit.NewBudgets(pool).Take(t.Context(), "k", 5, tenDays, 1)); d.Allowed {
		t.Errorf("got %+v", d)
	}
}

func TestALoweredLimitAllowsNothingUntilEnoughHasLeft(t *testing.T) {
	t.Parallel()
	pool := open(t, 1)[0]
	b := limit.NewBudgets(pool)
	must[limit.Decision](t)(b.Take(t.Context(), "k", 10, tenDays, 9))
	d := must[limit.Decision](t)(b.Take(t.Context(), "k", 5, tenDays, 1))
	if d.Allowed || d.Remaining != 0 {
		t.Errorf("got %+v", d)
	}
	if d := must[limit.Decision](t)(b.Take(t.Context(), "never", 0, tenDays, 1)); d.Allowed || d.Reset != 0 {
		t.Errorf("limit 0: %+v", d)
	}
}

func TestAWrongAskIsRefused(t *testing.T) {
	t.Parallel()
	good := limit.Ask{Key: "k", Limit: 1, Period: time.Minute, N: 1}
	for name, spoil := range map[string]func(*limit.Ask){
		"no key":             func(a *limit.Ask) { a.Key = "" },
		"negative limit":     func(a *limit.Ask) { a.Limit = -1 },
		"no period":          func(a *limit.Ask) { a.Period = 0 },
		"nothing asked":      func(a *limit.Ask) { a.N = 0 },
		"another limit":      func(a *limit.Ask) { a.Limit = 2 },
		"another period":     func(a *limit.Ask) { a.Period = time.Hour },
		"uses given back":    func(a *limit.Ask) { a.N = -1 },
		"uses that overflow": func(a *limit.Ask) { a.N = 1 << 62 },
	} {
		bad := good
		spoil(&bad)
		if _, err := limit.NewTaking([]limit.Ask{good, bad}); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

type take struct{ began, ended time.Time }

// A take is known to have happened between its call and its return. Where more
// than the limit lie wholly within one period, the limit was passed.
func TestNoPeriodHoldsMoreThanTheLimitHoweverManyTake(t *testing.T) {
	t.Parallel()
	const most, period, takers = 30, 1500 * time.Millisecond, 50
	pools := open(t, 2)
	for _, pool := range pools {
		warm(t, pool, 8)
	}
	// The burst at the start happens late in a window. Were it counted for ten
	// windows it would be forgotten, and the next burst come, within a period.
	now := query[time.Time](t, pools[0], `SELECT clock_timestamp()`)
	time.Sleep(now.Truncate(period / 10).Add(period/10 + period/20).Sub(now))

	takes := takeFor(t, pools, takers, 5*period/2, limit.Ask{Key: "k", Limit: most, Period: period, N: 1})
	for _, first := range takes {
		n := 0
		for _, other := range takes {
			if !other.began.Before(first.began) && !other.ended.After(first.began.Add(period)) {
				n++
			}
		}
		if n > most {
			t.Fatalf("%d uses within %v of %v, %d allowed", n, period, first.began, most)
		}
	}
	// At once, and twice more after eleven tenths of a period each; the last
	// may come late on a busy machine.
	if len(takes) < 2*most || len(takes) > 3*most {
		t.Errorf("%d uses in two and a half periods of %d", len(takes), most)
	}
}

// takeFor lets takers ask again and again, and returns what they were given.
func takeFor(t *testing.T, pools []*pgxpool.Pool, takers int, long time.Duration, a limit.Ask) []take {
	t.Helper()
	var mu sync.Mutex
	var takes []take
	var wg sync.WaitGroup
	end := time.Now().Add(long)
	for i := range takers {
		wg.Go(func() {
			b := limit.NewBudgets(pools[i%len(pools)])
			for time.Now().Before(end) {
				began := time.Now()
				d, err := b.Take(t.Context(), a.Key, a.Limit, a.Period, a.N)
				if err != nil {
					t.Error(err)
					return
				}
				if !d.Allowed {
					time.Sleep(a.Period / 100)
					continue
				}
				mu.Lock()
				takes = append(takes, take{began, time.Now()})
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return takes
}

// warm opens n connections.
func warm(t *testing.T, pool *pgxpool.Pool, n int) {
	t.Helper()
	conns := make([]*pgxpool.Conn, n)
	for i := range conns {
		conns[i] = must[*pgxpool.Conn](t)(pool.Acquire(t.Context()))
	}
	for _, conn := range conns {
		conn.Release()
	}
}

func TestConcurrentTakesOfAnUntouchedKeyCountEachOther(t *testing.T) {
	t.Parallel()
	pools := open(t, 2)
	for round := range 5 {
		key := fmt.Sprint("k", round)
		var wg sync.WaitGroup
		var mu sync.Mutex
		allowed := 0
		for i := range 50 {
			wg.Go(func() {
				d, err := limit.NewBudgets(pools[i%2]).Take(t.Context(), key, 20, tenDays, 1)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
				} else if d.Allowed {
					allowed++
				}
			})
		}
		wg.Wait()
		if allowed != 20 || used(t, pools[0], key) != 20 {
			t.Errorf("%d allowed, %d counted", allowed, used(t, pools[0], key))
		}
	}
}

func TestARefusedTakeWritesNothing(t *testing.T) {
	t.Parallel()
	pool := open(t, 1)[0]
	useDaysAgo(t, pool, "k", 1, 5)
	useDaysAgo(t, pool, "k", 20, 5)
	tx := must[pgx.Tx](t)(pool.Begin(t.Context()))
	defer tx.Rollback(t.Context()) //nolint:errcheck // it only read
	var b pgx.Batch
	taking := must[*limit.Taking](t)(limit.QueueTake(&b, []limit.Ask{{Key: "k", Limit: 5, Period: tenDays, N: 1}}))
	if err := tx.SendBatch(t.Context(), &b).Close(); err != nil {
		t.Fatal(err)
	}
	var wrote bool
	if err := tx.QueryRow(t.Context(), `SELECT pg_current_xact_id_if_assigned() IS NOT NULL`).Scan(&wrote); err != nil {
		t.Fatal(err)
	}
	if wrote || taking.Decisions()[0].Allowed {
		t.Errorf("wrote %v, %+v", wrote, taking.Decisions()[0])
	}
}

func TestSweepDeletesWhatIsOlderThanItsAge(t *testing.T) {
	t.Parallel()
	pool := open(t, 1)[0]
	useDaysAgo(t, pool, "idle", 30, 5)
	useDaysAgo(t, pool, "idle", 5, 5)
	if n := must[int](t)(limit.NewBudgets(pool).Sweep(t.Context(), 2*tenDays)); n != 1 {
		t.Errorf("%d rows deleted", n)
	}
	if n := used(t, pool, "idle"); n != 5 {
		t.Errorf("%d counted", n)
	}
}

func tenth(t *testing.T, b *limit.Budgets, key string, most int64) limit.Share {
	t.Helper()
	return must[[]limit.Share](t)(b.TakeTenths(t.Context(), []limit.Ask{{Key: key, Limit: most, Period: tenDays, N: 1}}))[0]
}

func TestATenthOfWhatIsLeftIsTaken(t *testing.T) {
	t.Parallel()
	pool := open(t, 1)[0]
	b := limit.NewBudgets(pool)
	left := int64(100)
	for left > 0 {
		s := tenth(t, b, "c", 100)
		if s.N != max(1, left/10) {
			t.Fatalf("%d of %d taken", s.N, left)
		}
		if for_ := time.Until(s.Until); for_ <= 0 || for_ > 24*time.Hour {
			t.Errorf("good for %v", for_)
		}
		left -= s.N
		if s.Left != left {
			t.Errorf("%d are left beside it, want %d", s.Left, left)
		}
	}
	s := tenth(t, b, "c", 100)
	if s.N != 0 || s.Reset < tenDays || s.Reset > 11*24*time.Hour {
		t.Errorf("from nothing: %+v", s)
	}
	if n := used(t, pool, "c"); n != 100 {
		t.Errorf("%d counted", n)
	}
}

func TestTenthsOfSeveralBudgetsAreTakenTogether(t *testing.T) {
	t.Parallel()
	pool := open(t, 1)[0]
	b := limit.NewBudgets(pool)
	asks := []limit.Ask{{Key: "b", Limit: 30, Period: tenDays, N: 1}, {Key: "a", Limit: 200, Period: tenDays, N: 1}}
	shares := must[[]limit.Share](t)(b.TakeTenths(t.Context(), asks))
	if shares[0].N != 3 || shares[1].N != 20 || used(t, pool, "b") != 3 || used(t, pool, "a") != 20 {
		t.Errorf("taken: %+v", shares)
	}
	if _, err := b.TakeTenths(t.Context(), append(asks, asks[0])); err == nil {
		t.Error("a key was asked for twice")
	}
}

func TestSharesOfAFleetNeverPassTheLimit(t *testing.T) {
	t.Parallel()
	pools := open(t, 2)
	var wg sync.WaitGroup
	var sum atomic.Int64
	for i := range 20 {
		wg.Go(func() {
			for range 10 {
				shares, err := limit.NewBudgets(pools[i%2]).TakeTenths(t.Context(), []limit.Ask{{Key: "c", Limit: 77, Period: tenDays, N: 1}})
				if err != nil {
					t.Error(err)
					return
				}
				sum.Add(shares[0].N)
			}
		})
	}
	wg.Wait()
	if n := sum.Load(); n != 77 {
		t.Errorf("%d given out of 77", n)
	}
}

// The arithmetic of windows against a list of every use.
func TestDecisionsAreThoseOfAListOfUses(t *testing.T) {
	t.Parallel()
	pool := open(t, 1)[0]
	b := limit.NewBudgets(pool)
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		key := fmt.Sprint("r", run)
		most := rapid.Int64Range(0, 30).Draw(rt, "limit")
		left := most
		for _, age := range rapid.SliceOfNDistinct(rapid.IntRange(-1, 14), 0, 6, rapid.ID).Draw(rt, "ages") {
			n := rapid.Int64Range(1, 9).Draw(rt, "n")
			useDaysAgo(t, pool, key, age, n)
			if age <= 10 {
				left -= n
			}
		}
		asks := make([]limit.Ask, rapid.IntRange(1, 6).Draw(rt, "asks"))
		for i := range asks {
			asks[i] = limit.Ask{Key: key, Limit: most, Period: tenDays, N: rapid.Int64Range(1, 8).Draw(rt, "uses")}
		}
		var together int64
		for i, d := range must[[]limit.Decision](t)(b.TakeAll(t.Context(), asks)) {
			together += asks[i].N
			if d.Allowed != (together <= left) {
				rt.Fatalf("ask %d: %+v with %d of %d left for %d", i, d, left, most, together)
			}
		}
	})
}
