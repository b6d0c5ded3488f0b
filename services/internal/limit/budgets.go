package limit

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Ask is one wish to use a budget.
type Ask struct {
	Key    string        // what the budget is of, such as "http/<user id>"
	Limit  int64         // uses allowed in any Period
	Period time.Duration // at least 10 ms; always the same for a key
	N      int64         // uses asked for, all or none; at least 1
}

// Decision is the answer to an Ask.
type Decision struct {
	Allowed   bool
	Remaining int64         // uses left after it
	Reset     time.Duration // until Remaining grows next; 0 when nothing is used
}

// Budgets counts uses in the table budgets.
type Budgets struct{ pool *pgxpool.Pool }

// NewBudgets returns the budgets of a database.
func NewBudgets(pool *pgxpool.Pool) *Budgets { return &Budgets{pool: pool} }

// Take takes n uses of the budget key, or none when fewer are left: at most
// limit are taken in any period, by however many processes. It is one round
// trip, and a commit only when it is allowed.
func (bs *Budgets) Take(ctx context.Context, key string, limit int64, period time.Duration, n int64) (Decision, error) {
	ds, err := bs.TakeAll(ctx, []Ask{{Key: key, Limit: limit, Period: period, N: n}})
	if err != nil {
		return Decision{}, err
	}
	return ds[0], nil
}

// TakeAll is Take for several asks in one round trip, answered in their order.
// Asks of one key are served in their order too: see QueueTake.
func (bs *Budgets) TakeAll(ctx context.Context, asks []Ask) ([]Decision, error) {
	var b pgx.Batch
	t, err := QueueTake(&b, asks)
	if err != nil {
		return nil, err
	}
	if err := bs.pool.SendBatch(ctx, &b).Close(); err != nil {
		return nil, fmt.Errorf("take from budgets: %w", err)
	}
	return t.Decisions(), nil
}

// Sweep deletes what was used longer ago than age and returns how many rows it
// were; age must be at least twice the longest period in use. A key that is
// used cleans up after itself, so that this is for those that are not any more.
func (bs *Budgets) Sweep(ctx context.Context, age time.Duration) (int, error) {
	tag, err := bs.pool.Exec(ctx, `DELETE FROM budgets WHERE window_start < now() - $1::bigint * interval '1 microsecond'`, age.Microseconds())
	if err != nil {
		return 0, fmt.Errorf("delete past budget windows: %w", err)
	}
	return int(tag.RowsAffected()), nil
}

// Taking is a list of asks on its way through a transaction.
type Taking struct {
	keys                          []string
	limits, micros, uses, running []int64
	decisions                     []Decision
}

// QueueTake adds asks to a batch, so that they are decided and committed
// together with what else the batch does. The batch must run as one transaction
// at READ COMMITTED (pgx runs a batch outside a transaction so), hold at most
// one QueueTake or QueueLock, and queue it before anything that locks rows:
// budgets come first in the lock order, among themselves by their lock's number.
//
// Several asks of one key are served in their order: an ask is allowed when it
// fits together with all asks of its key before it. With N = 1 that is the
// first so many; a large ask that does not fit also stops the smaller ones
// behind it in this group, not in the next.
//
// Decisions has the answers once the batch's results are closed without error.
// They must not be read by hand before.
func QueueTake(b *pgx.Batch, asks []Ask) (*Taking, error) {
	t, err := NewTaking(asks)
	if err != nil {
		return nil, err
	}
	t.QueueLock(b)
	with, args := t.With(1)
	b.Queue("WITH "+with+" SELECT i, allowed, remaining, reset_us FROM budget_takes", args...).Query(t.Scan)
	return t, nil
}

// NewTaking checks asks, for a caller that puts the parts of QueueTake together
// by itself: QueueLock, then a statement that begins with With and decides by
// the relation budget_takes, such as an INSERT of what was allowed.
func NewTaking(asks []Ask) (*Taking, error) {
	n := len(asks)
	t := &Taking{
		keys: make([]string, n), limits: make([]int64, n), micros: make([]int64, n), uses: make([]int64, n),
		running: make([]int64, n), decisions: make([]Decision, n),
	}
	first := make(map[string]Ask, n)
	total := make(map[string]int64, n)
	for i, a := range asks {
		if err := a.valid(); err != nil {
			return nil, fmt.Errorf("take from budget %q: %w", a.Key, err)
		}
		if f, ok := first[a.Key]; !ok {
			first[a.Key] = a
		} else if f.Limit != a.Limit || f.Period != a.Period {
			return nil, fmt.Errorf("take from budget %q: two limits for one key", a.Key)
		}
		total[a.Key] += a.N
		t.keys[i], t.limits[i], t.uses[i], t.running[i] = a.Key, a.Limit, a.N, total[a.Key]
		t.micros[i] = windowMicros(a.Period)
	}
	return t, nil
}

func (a Ask) valid() error {
	switch {
	case a.Key == "":
		return errors.New("no key")
	case a.Limit < 0:
		return fmt.Errorf("limit %d", a.Limit)
	case a.Period < 10*time.Millisecond:
		return fmt.Errorf("period %v is under 10 ms", a.Period)
	case a.N < 1 || a.N > 1<<40:
		return fmt.Errorf("%d uses", a.N)
	}
	return nil
}

// windowMicros rounds up: ten windows are never shorter than the period.
func windowMicros(period time.Duration) int64 {
	const tenth = 10 * time.Microsecond
	return int64((period + tenth - 1) / tenth)
}

// QueueLock queues the statement that locks the budgets until the transaction
// ends. It must come before, and not in, the statement that counts.
func (t *Taking) QueueLock(b *pgx.Batch) {
	locks := make([]int64, 0, len(t.keys))
	for _, k := range t.keys {
		locks = append(locks, lockNumber(k))
	}
	slices.Sort(locks) // one order everywhere, so that two groups never wait for each other
	b.Queue(`SELECT pg_advisory_xact_lock(l) FROM unnest($1::bigint[]) AS u (l)`, slices.Compact(locks))
}

// lockNumber is the same in every process. Two keys with one number wait for
// each other and are counted apart.
func lockNumber(key string) int64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte("budget\x00" + key))
	return int64(h.Sum64())
}

// Scan reads the columns i, allowed, remaining and reset_us of budget_takes.
func (t *Taking) Scan(rows pgx.Rows) error {
	var i, micros int64
	var d Decision
	_, err := pgx.ForEachRow(rows, []any{&i, &d.Allowed, &d.Remaining, &micros}, func() error {
		d.Reset = time.Duration(micros) * time.Microsecond
		t.decisions[i-1] = d
		return nil
	})
	if err != nil {
		return fmt.Errorf("read budget decisions: %w", err)
	}
	return nil
}

// Decisions are the answers in the order of the asks. Before Scan has run
// nothing is allowed.
func (t *Taking) Decisions() []Decision { return t.decisions }
