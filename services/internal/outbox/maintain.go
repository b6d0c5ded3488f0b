package outbox

import (
	"context"
	"fmt"
	"time"
)

const (
	partitionsAhead = 7 // days
	partitionsKept  = 7 // days, for replay
	partitionsEvery = time.Hour
	lagAlarm        = 30 * time.Second

	// At most so many rows are counted. The cursor comes from subqueries, for
	// then it is a condition of the index.
	lagSQL = `SELECT count(*), coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8 FROM (
  SELECT created_at FROM outbox
  WHERE service = $1 AND stream = $2 AND (xid, id) > (
    (SELECT xid FROM outbox_cursors WHERE service = $1 AND stream = $2),
    (SELECT id FROM outbox_cursors WHERE service = $1 AND stream = $2))
  ORDER BY xid, id LIMIT 10000) AS unsent`
)

// maintain measures the lag and looks after the partitions, on connections of
// the pool: neither may keep the relay's session waiting.
func (r *Relay) maintain(ctx context.Context, _ *session) error {
	var partitioned time.Time
	for {
		if time.Since(partitioned) > partitionsEvery {
			if err := r.partition(ctx); err == nil {
				partitioned = time.Now()
			} else if ctx.Err() == nil { // there are seven days for the next try
				r.log.WarnContext(ctx, "maintain outbox partitions", "error", err)
			}
		}
		for _, s := range r.streams {
			if err := s.measure(ctx); err != nil && ctx.Err() == nil {
				r.log.WarnContext(ctx, "measure outbox lag", "stream", s.name, "error", err)
			}
		}
		if !pause(ctx, r.config.Upkeep) {
			return ctx.Err()
		}
	}
}

func (r *Relay) partition(ctx context.Context) error {
	if _, err := r.config.Pool.Exec(ctx, `SELECT outbox_make_partitions($1)`, partitionsAhead); err != nil {
		return fmt.Errorf("make partitions: %w", err)
	}
	if _, err := r.config.Pool.Exec(ctx, `SELECT outbox_drop_partitions($1)`, partitionsKept); err != nil {
		return fmt.Errorf("drop partitions: %w", err)
	}
	return nil
}

func (s *stream) measure(ctx context.Context) error {
	var rows int64
	var age float64
	err := s.relay.config.Pool.QueryRow(ctx, lagSQL, s.relay.config.Service, s.name).Scan(&rows, &age)
	if err != nil {
		return err
	}
	s.lagRows.Store(rows)
	s.lagAge.Store(int64(age * 1000))
	if oldest := time.Duration(age * float64(time.Second)); oldest > lagAlarm {
		s.relay.log.ErrorContext(ctx, "outbox lags: a stream refuses, or a writing transaction stays open",
			"stream", s.name, "rows", rows, "oldest", oldest.Round(time.Second).String())
	}
	return nil
}
