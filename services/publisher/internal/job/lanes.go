package job

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// Lane is an account's lease as this process holds it.
type Lane struct {
	Account uuid.UUID
	Fence   int64
	// Until is when the lease ends, on this process's monotonic clock and a
	// little early: it counts from before the statement that took it.
	Until time.Time
	// Work is what may run now or soon, at most LoadLimit of each state.
	Work []Publish
	// There may be more than Work: of what is ready, and of the rest.
	MoreReady, More bool
	// AccountVersion is the newest version of the account that an event told of.
	AccountVersion int64
	// Now is the database clock when Work was read, At this process's clock after
	// it: a time t of a row is At + (t - Now) here, never too early.
	Now, At time.Time
}

// LoadLimit is how many publishes of one account are read at a time of each
// state, and how many are prepared ahead of their turn: more would get stale and
// use up what the provider allows, and be published no sooner.
const LoadLimit = 64

// in is a point in time, ahead by as many microseconds as the parameter says. It
// is a subquery because an index cannot be searched for clock_timestamp() itself:
// it would be asked for row by row, and all of them be read.
func in(param string) string {
	return `(SELECT clock_timestamp() + ` + param + ` * interval '1 microsecond')`
}

// earliest is the next_at that comes first of the publishes of lane l for which
// the condition holds, on s.state and p. Their index keeps the states apart, so
// that thousands of one state do not stand before the first of another.
func earliest(condition string) string {
	return `(SELECT min(n.next_at) FROM unnest('{accepted,ready,armed,unknown,confirming,unconfirmed}'::text[]) AS s(state) CROSS JOIN LATERAL (
    SELECT p.next_at FROM publishes p WHERE p.account_id = l.account_id AND p.state = s.state AND p.next_at IS NOT NULL AND ` + condition + `
    ORDER BY p.next_at LIMIT 1) n)`
}

// sqlClaim takes lanes that are due and free or left behind.
var sqlClaim = `
WITH due AS (
  SELECT account_id FROM account_lanes
  WHERE next_at <= ` + in("$3") + ` AND (owner IS NULL OR until <= clock_timestamp())
  ORDER BY next_at LIMIT $4 FOR UPDATE SKIP LOCKED
)
UPDATE account_lanes l SET owner = $1, fence = l.fence + 1,
  until = clock_timestamp() + $2 * interval '1 microsecond', next_at = clock_timestamp() + $2 * interval '1 microsecond'
FROM due WHERE l.account_id = due.account_id
RETURNING l.account_id, l.fence`

// sqlLowered finds the lanes of this process to which somebody brought work.
const sqlLowered = `
WITH told AS (
  SELECT account_id FROM account_lanes
  WHERE next_at <= clock_timestamp() + $2 * interval '1 microsecond' AND owner = $1 AND until > clock_timestamp() AND next_at < until
  ORDER BY account_id FOR UPDATE
)
UPDATE account_lanes l SET next_at = l.until FROM told WHERE l.account_id = told.account_id
RETURNING l.account_id, l.fence`

// Claim takes up to room lanes that are due, and finds those already held by
// this process to which work was brought. Both come with their work. Lanes that
// were held come with a zero Until.
func (s *Store) Claim(ctx context.Context, room int) ([]Lane, error) {
	start := time.Now()
	lanes := map[uuid.UUID]*Lane{}
	collect := func(until time.Time) func(pgx.Rows) error {
		return func(rows pgx.Rows) error {
			for rows.Next() {
				l := &Lane{Until: until}
				if err := rows.Scan((*[16]byte)(&l.Account), &l.Fence); err != nil {
					return err
				}
				lanes[l.Account] = l
			}
			return rows.Err()
		}
	}
	me := [16]byte(s.cfg.Owner)
	b := &pgx.Batch{}
	b.Queue(sqlLowered, me, s.cfg.Ahead.Microseconds()).Query(collect(time.Time{}))
	if room > 0 {
		b.Queue(sqlClaim, me, s.cfg.Lease.Microseconds(), s.cfg.Ahead.Microseconds(), room).Query(collect(start.Add(s.cfg.Lease)))
	}
	if err := s.pool.SendBatch(ctx, b).Close(); err != nil {
		return nil, fmt.Errorf("claim lanes: %w", err)
	}
	if len(lanes) == 0 {
		return nil, nil
	}
	return s.load(ctx, lanes)
}

// Load reads the work of a lane that this process holds, together with others
// that wait.
func (s *Store) Load(ctx context.Context, held Lane) (Lane, error) { return s.loads.Do(ctx, held) }

// flushLoads reads lanes. One that was lost meanwhile may be asked for under its
// old fence and its new one: both get the same work, and the old one's moves fail.
func (s *Store) flushLoads(ctx context.Context, held []Lane) ([]Lane, error) {
	lanes := make(map[uuid.UUID]*Lane, len(held))
	for _, l := range held {
		lanes[l.Account] = &l
	}
	loaded, err := s.load(ctx, lanes)
	if err != nil {
		return nil, err
	}
	for _, l := range loaded {
		*lanes[l.Account] = l
	}
	out := make([]Lane, len(held))
	for i, l := range held {
		out[i] = *lanes[l.Account]
		out[i].Fence, out[i].Until = l.Fence, l.Until
	}
	return out, nil
}

// sqlHint sets next_at of held lanes to the earliest time at which work comes
// that is not loaded now. It runs under the lanes' locks, before the load: what
// another process brings later lowers it again. An armed publish that is settled
// all the same is forgotten.
var sqlHint = `
UPDATE account_lanes l SET armed = (SELECT p.id FROM publishes p WHERE p.account_id = l.account_id AND p.id = l.armed AND p.state IN ('armed', 'unknown')),
  next_at = least(l.until, ` + earliest("p.next_at > "+in("$3")) + `)
FROM unnest($2::uuid[]) AS a(id) WHERE l.account_id = a.id AND l.owner = $1
RETURNING l.account_id, l.account_version`

// sqlLoad reads what is due soon, so many of each state that none crowds out
// another, and whatever its time what may be at the provider: while that is open
// nothing else of the account is armed.
var sqlLoad = `
SELECT clock_timestamp(), ` + publishColumns + `
FROM unnest($1::uuid[]) AS a(id) CROSS JOIN LATERAL (
  (SELECT p.* FROM unnest('{accepted,ready,confirming,unconfirmed}'::text[]) AS s(state) CROSS JOIN LATERAL (
    SELECT * FROM publishes p WHERE p.account_id = a.id AND p.state = s.state AND p.next_at <= ` + in("$2") + ` ORDER BY p.next_at LIMIT $3) p)
  UNION ALL
  (SELECT * FROM publishes p WHERE p.account_id = a.id AND p.state IN ('armed', 'unknown'))
) p`

func (s *Store) load(ctx context.Context, lanes map[uuid.UUID]*Lane) ([]Lane, error) {
	accounts := make([][16]byte, 0, len(lanes))
	for id := range lanes {
		accounts = append(accounts, id)
	}
	b := &pgx.Batch{}
	b.Queue(lockLanes, accounts)
	b.Queue(sqlHint, [16]byte(s.cfg.Owner), accounts, s.cfg.Ahead.Microseconds()).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var account uuid.UUID
			var version int64
			if err := rows.Scan((*[16]byte)(&account), &version); err != nil {
				return err
			}
			lanes[account].AccountVersion = version
		}
		return rows.Err()
	})
	b.Queue(sqlLoad, accounts, s.cfg.Ahead.Microseconds(), LoadLimit).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var now time.Time
			p, err := scanPublish(rows, &now)
			if err != nil {
				return err
			}
			l := lanes[p.AccountID]
			l.Work, l.Now = append(l.Work, p), now
		}
		return rows.Err()
	})
	if err := s.pool.SendBatch(ctx, b).Close(); err != nil {
		return nil, fmt.Errorf("load publishes: %w", err)
	}
	at := time.Now()
	out := make([]Lane, 0, len(lanes))
	for _, l := range lanes {
		l.At = at
		l.count()
		out = append(out, *l)
	}
	return out, nil
}

// count sees of which states as many were read as are read at most.
func (l *Lane) count() {
	of := map[State]int{}
	for _, p := range l.Work {
		of[p.State]++
	}
	for state, n := range of {
		l.MoreReady = l.MoreReady || state == Ready && n >= LoadLimit
		l.More = l.More || state != Ready && n >= LoadLimit
	}
}

var sqlRenew = `
WITH mine AS (
  SELECT l.account_id FROM unnest($2::uuid[], $3::bigint[]) AS u(account_id, fence)
  JOIN account_lanes l ON l.account_id = u.account_id AND l.fence = u.fence AND l.owner = $1
  ORDER BY l.account_id FOR UPDATE OF l
)
UPDATE account_lanes l SET until = clock_timestamp() + $4 * interval '1 microsecond',
  next_at = least(CASE WHEN l.next_at < l.until THEN l.next_at END, clock_timestamp() + $4 * interval '1 microsecond',
    ` + earliest("p.next_at > least(l.until, "+in("$5")+")") + `)
FROM mine WHERE l.account_id = mine.account_id AND l.owner = $1
RETURNING l.account_id, l.fence`

// Renew extends the lease of the lanes; those that it does not return are lost.
// A lane that ran out and that nobody took is still ours; its next_at told of
// nothing that came after its end.
func (s *Store) Renew(ctx context.Context, held []Lane) ([]Lane, error) {
	start := time.Now()
	accounts, fences := make([][16]byte, len(held)), make([]int64, len(held))
	for i, l := range held {
		accounts[i], fences[i] = l.Account, l.Fence
	}
	rows, err := s.pool.Query(ctx, sqlRenew, [16]byte(s.cfg.Owner), accounts, fences, s.cfg.Lease.Microseconds(), s.cfg.Ahead.Microseconds())
	if err != nil {
		return nil, fmt.Errorf("renew lanes: %w", err)
	}
	kept, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Lane, error) {
		l := Lane{Until: start.Add(s.cfg.Lease)}
		return l, row.Scan((*[16]byte)(&l.Account), &l.Fence)
	})
	if err != nil {
		return nil, fmt.Errorf("renew lanes: %w", err)
	}
	return kept, nil
}

// sqlRelease: while the account has a publish at the provider, what is ready
// waits for that one's end, and what comes after LoadLimit ready ones waits with
// them. Neither is a reason to take the lane; the next look at that one is.
var sqlRelease = `
UPDATE account_lanes l SET owner = NULL, until = NULL,
  next_at = ` + earliest(`(s.state NOT IN ('accepted', 'ready')
      OR NOT EXISTS (SELECT 1 FROM publishes o WHERE o.account_id = l.account_id AND o.state IN ('armed', 'unknown'))
      OR (s.state = 'accepted' AND $4 > (SELECT count(*) FROM (
        SELECT 1 FROM publishes w WHERE w.account_id = l.account_id AND w.state = 'ready' AND w.next_at <= (SELECT clock_timestamp()) LIMIT $4) w)))`) + `
FROM unnest($2::uuid[], $3::bigint[]) AS u(account_id, fence)
WHERE l.account_id = u.account_id AND l.fence = u.fence AND l.owner = $1`

// Release gives lanes back. The next holder finds what is left.
func (s *Store) Release(ctx context.Context, held []Lane) error {
	accounts, fences := make([][16]byte, len(held)), make([]int64, len(held))
	for i, l := range held {
		accounts[i], fences[i] = l.Account, l.Fence
	}
	b := &pgx.Batch{}
	b.Queue(lockLanes, accounts)
	b.Queue(sqlRelease, [16]byte(s.cfg.Owner), accounts, fences, LoadLimit)
	if err := s.pool.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("release lanes: %w", err)
	}
	return nil
}

const publishColumns = `p.id, p.event_source, p.event_id, p.account_id, p.user_id, p.provider, p.media_type, p.request, p.request_sha256, p.content_sha256,
  p.state, p.checkpoint, p.due_at, p.next_at, p.expires_at, p.fresh_until, p.attempt, p.failures, p.looks, p.armed_at, p.send_by, p.quiet_at, p.unconfirmed_at,
  p.scheduled, p.delay_reason, p.remote_id, p.result, p.error, p.traceparent, p.tracestate, p.step_at, p.version, p.accepted_at, p.ended_at, p.blanked_at`

// scanPublish reads publishColumns after the values in before.
func scanPublish(row pgx.Row, before ...any) (Publish, error) {
	var p Publish
	var account, user pgtype.UUID
	var source, event, provider, media, delay, remote pgtype.Text
	var next, fresh, armed, send, quiet, unconfirmed, step, ended, blanked pgtype.Timestamptz
	err := row.Scan(append(before, (*[16]byte)(&p.ID), &source, &event, &account, &user, &provider, &media, &p.Request, &p.RequestSum, &p.ContentSum,
		(*string)(&p.State), &p.Checkpoint, &p.DueAt, &next, &p.ExpiresAt, &fresh, &p.Attempt, &p.Failures, &p.Looks, &armed, &send, &quiet, &unconfirmed,
		&p.Scheduled, &delay, &remote, (*[]byte)(&p.Result), (*[]byte)(&p.Error), &p.TraceParent, &p.TraceState, &step, &p.Version, &p.AcceptedAt, &ended, &blanked)...)
	p.EventSource, p.EventID, p.Provider, p.MediaType, p.DelayReason, p.RemoteID = source.String, event.String, provider.String, media.String, delay.String, remote.String
	p.AccountID, p.UserID = account.Bytes, user.Bytes
	p.NextAt, p.FreshUntil, p.ArmedAt, p.SendBy, p.QuietAt = next.Time, fresh.Time, armed.Time, send.Time, quiet.Time
	p.UnconfirmedAt, p.StepAt, p.EndedAt, p.BlankedAt = unconfirmed.Time, step.Time, ended.Time, blanked.Time
	return p, err
}

// LaneOwner tells which process holds an account's lane now; uuid.Nil: none.
func (s *Store) LaneOwner(ctx context.Context, account uuid.UUID) (uuid.UUID, error) {
	var owner pgtype.UUID
	err := s.pool.QueryRow(ctx, `SELECT owner FROM account_lanes WHERE account_id = $1 AND until > clock_timestamp()`, [16]byte(account)).Scan(&owner)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return uuid.Nil, fmt.Errorf("read owner of lane: %w", err)
	}
	return owner.Bytes, nil
}
