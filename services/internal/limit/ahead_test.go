package limit_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postbus.dev/services/internal/limit"
)

func asksOf(most int64, keys ...string) []limit.Ask {
	asks := make([]limit.Ask, len(keys))
	for i, k := range keys {
		asks[i] = limit.Ask{Key: k, Limit: most, Period: tenDays, N: 1}
	}
	return asks
}

func TestUsesAreTakenAheadAndCostNothingUntilTheyAreSpent(t *testing.T) {
	t.Parallel()
	pool := open(t, 1)[0]
	a := limit.NewAhead(limit.NewBudgets(pool))
	for i := range int64(11) {
		d := must[[]limit.Decision](t)(a.Use(t.Context(), asksOf(100, "k")))[0]
		if !d.Allowed || d.Remaining != 99-i || d.Reset < tenDays {
			t.Errorf("use %d: %+v", i, d)
		}
		want := int64(10)
		if i == 10 {
			want = 19 // a tenth of 90 more
		}
		if n := used(t, pool, "k"); n != want {
			t.Errorf("after use %d: %d counted, want %d", i, n, want)
		}
	}
}

func TestProcessesTogetherUseAWholeBudgetAndNoMore(t *testing.T) {
	t.Parallel()
	pools := open(t, 2)
	fleet := []*limit.Ahead{limit.NewAhead(limit.NewBudgets(pools[0])), limit.NewAhead(limit.NewBudgets(pools[1]))}
	var allowed atomic.Int64
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			for {
				ds, err := fleet[i%2].Use(t.Context(), asksOf(77, "k"))
				if err != nil {
					t.Error(err)
					return
				}
				if !ds[0].Allowed {
					return
				}
				allowed.Add(1)
			}
		})
	}
	wg.Wait()
	if n := allowed.Load(); n != 77 {
		t.Errorf("%d uses of 77", n)
	}
}

func TestOneBudgetThatIsSpentRefusesAllOfThem(t *testing.T) {
	t.Parallel()
	pool := open(t, 1)[0]
	a := limit.NewAhead(limit.NewBudgets(pool))
	useDaysAgo(t, pool, "user", 2, 100)
	for range 3 {
		ds := must[[]limit.Decision](t)(a.Use(t.Context(), asksOf(100, "key", "user")))
		if ds[1].Allowed || ds[1].Remaining != 0 || ds[1].Reset <= 0 || ds[0].Remaining != 100 {
			t.Errorf("%+v", ds)
		}
	}
}

func TestARefusalIsRememberedUntilThereIsMore(t *testing.T) {
	t.Parallel()
	pool := open(t, 1)[0]
	a := limit.NewAhead(limit.NewBudgets(pool))
	useDaysAgo(t, pool, "k", 0, 100)
	for range 2 {
		if d := must[[]limit.Decision](t)(a.Use(t.Context(), asksOf(100, "k")))[0]; d.Allowed {
			t.Errorf("%+v", d)
		}
		exec(t, pool, "DELETE FROM budgets") // who asked the database again would be allowed
	}
}

func TestWhatIsNotUsedInItsWindowIsForfeited(t *testing.T) {
	t.Parallel()
	pool := open(t, 1)[0]
	a := limit.NewAhead(limit.NewBudgets(pool))
	const period = 2 * time.Second // windows of 200 ms
	ask := []limit.Ask{{Key: "k", Limit: 100, Period: period, N: 1}}
	must[[]limit.Decision](t)(a.Use(t.Context(), ask))
	time.Sleep(period / 10)
	must[[]limit.Decision](t)(a.Use(t.Context(), ask))
	if n := used(t, pool, "k"); n < 19 { // more where the machine was slow and further windows ended
		t.Errorf("%d counted, want 10 and then 9: the window of the first ones is over", n)
	}
}

func TestABudgetOfNothingRefuses(t *testing.T) {
	t.Parallel()
	a := limit.NewAhead(limit.NewBudgets(open(t, 1)[0]))
	if d := must[[]limit.Decision](t)(a.Use(t.Context(), asksOf(0, "k")))[0]; d.Allowed {
		t.Errorf("%+v", d)
	}
}

func TestADatabaseThatIsAwayFailsWhoeverWaits(t *testing.T) {
	t.Parallel()
	pool := open(t, 1)[0]
	pool.Close()
	a := limit.NewAhead(limit.NewBudgets(pool))
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			if ds, err := a.Use(context.Background(), asksOf(10, "k")); err == nil {
				t.Errorf("decided %+v", ds)
			}
		})
	}
	wg.Wait()
}
