package limit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// usage follows "a", which names budgets (key, max, micros of a window), and
// the clock "c". It finds the current window and what counts against max:
// twelve rows of the primary key at most.
const usage = `
  CROSS JOIN LATERAL (SELECT a.micros * interval '1 microsecond' AS width) w
  CROSS JOIN LATERAL (SELECT date_bin(w.width, c.now, timestamptz 'epoch') AS start) s
  CROSS JOIN LATERAL (
    SELECT a.max - coalesce(sum(b.used), 0)::bigint AS spare, min(b.window_start) AS oldest
    FROM budgets b WHERE b.key = a.key AND b.window_start >= s.start - 10 * w.width) u`

// takeCTE decides asks under the lock of their keys. budget_writes adds what
// was allowed to the current window, budget_sweep deletes windows of the key
// that count no more. The clock is read once, after the locks were had.
const takeCTE = `budget_clock AS MATERIALIZED (SELECT clock_timestamp() AS now),
budget_asks AS MATERIALIZED (
  SELECT a.i, a.key, a.uses, a.running, w.width, c.now, s.start, u.spare, u.oldest
  FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[]) WITH ORDINALITY AS a (key, max, micros, uses, running, i)
  CROSS JOIN budget_clock c` + usage + `),
budget_granted AS MATERIALIZED (
  SELECT *, running <= spare AS allowed,
    coalesce(max(running) FILTER (WHERE running <= spare) OVER (PARTITION BY key ORDER BY i), 0) AS granted
  FROM budget_asks),
budget_takes AS MATERIALIZED (
  SELECT i, allowed, greatest(spare - granted, 0) AS remaining,
    coalesce(extract(epoch FROM least(oldest, CASE WHEN granted > 0 THEN start END) + 11 * width - now) * 1000000, 0)::bigint AS reset_us
  FROM budget_granted),
budget_writes AS (
  INSERT INTO budgets AS b (key, window_start, used)
  SELECT key, start, sum(uses) FROM budget_granted WHERE allowed GROUP BY 1, 2
  ON CONFLICT (key, window_start) DO UPDATE SET used = b.used + excluded.used),
budget_sweep AS (
  DELETE FROM budgets b USING budget_granted g
  WHERE g.allowed AND b.key = g.key AND b.window_start < g.start - 10 * g.width)`

// With returns the common table expressions, to stand after WITH, that decide
// the asks and count what is allowed, and their five arguments, the first of
// which is to be $first. They offer the relation
//
//	budget_takes (i bigint, allowed boolean, remaining bigint, reset_us bigint)
//
// with one row an ask, i counting from 1. Everything is written whether or not
// the statement reads it. QueueLock must have been queued before.
func (t *Taking) With(first int) (sql string, args []any) {
	sql = takeCTE
	for n := 5; n >= 1 && first != 1; n-- {
		sql = strings.ReplaceAll(sql, "$"+strconv.Itoa(n)+":", "$"+strconv.Itoa(n+first-1)+":")
	}
	return sql, []any{t.keys, t.limits, t.micros, t.uses, t.running}
}

// Share is a part of a budget that one process may use up by itself.
type Share struct {
	N    int64 // uses; 0 when nothing is left
	Left int64 // what the budget had beside them then, for everybody
	// Until is when unused ones are forfeited: they were counted in a window
	// that ends then. On this process's monotonic clock.
	Until time.Time
	// Reset is how long until there is more to take.
	Reset time.Duration
}

const tenthsSQL = `
WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now),
asks AS MATERIALIZED (
  SELECT a.i, a.key, CASE WHEN u.spare > 0 THEN greatest(u.spare / 10, 1) ELSE 0 END AS part, u.spare, c.now, w.width, s.start, u.oldest
  FROM unnest($1::text[], $2::bigint[], $3::bigint[]) WITH ORDINALITY AS a (key, max, micros, i)
  CROSS JOIN clock c` + usage + `),
taken AS (
  INSERT INTO budgets AS b (key, window_start, used) SELECT key, start, part FROM asks WHERE part > 0
  ON CONFLICT (key, window_start) DO UPDATE SET used = b.used + excluded.used),
swept AS (
  DELETE FROM budgets b USING asks a WHERE a.part > 0 AND b.key = a.key AND b.window_start < a.start - 10 * a.width)
SELECT i, part, greatest(spare - part, 0), (extract(epoch FROM start + width - now) * 1000000)::bigint,
  coalesce(extract(epoch FROM least(oldest, CASE WHEN part > 0 THEN start END) + 11 * width - now) * 1000000, 0)::bigint
FROM asks`

// TakeTenths takes a tenth of what is left of each budget, at least 1, for this
// process to use without asking again until Share.Until. It serves budgets that
// are used too often to count each use, such as the calls of a client id; Ahead
// hands the uses out. The asks have a key each; their N does not matter.
func (bs *Budgets) TakeTenths(ctx context.Context, asks []Ask) ([]Share, error) {
	t, err := NewTaking(asks)
	if err != nil {
		return nil, err
	}
	if n := len(slices.Compact(slices.Sorted(slices.Values(t.keys)))); n != len(asks) {
		return nil, errors.New("take tenths of budgets: two asks for one key")
	}
	// Taken before the database reads its clock, so that Until is never past
	// the end of the window.
	began := time.Now()
	shares := make([]Share, len(asks))
	var b pgx.Batch
	t.QueueLock(&b)
	b.Queue(tenthsSQL, t.keys, t.limits, t.micros).Query(func(rows pgx.Rows) error {
		var i, ends, reset int64
		var s Share
		_, err := pgx.ForEachRow(rows, []any{&i, &s.N, &s.Left, &ends, &reset}, func() error {
			s.Until, s.Reset = began.Add(time.Duration(ends)*time.Microsecond), time.Duration(reset)*time.Microsecond
			shares[i-1] = s
			return nil
		})
		return err
	})
	if err := bs.pool.SendBatch(ctx, &b).Close(); err != nil {
		return nil, fmt.Errorf("take tenths of budgets: %w", err)
	}
	return shares, nil
}
