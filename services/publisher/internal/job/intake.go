package job

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"postbus.dev/services/internal/postgres"
)

// New is a publish to store.
type New struct {
	// Publish has State Accepted or Failed. A zero DueAt or NextAt is now, by the
	// database clock; a zero ExpiresAt is 24 hours after DueAt.
	Publish Publish
	// Want: this process has room to work on it at once, so its lane is taken if
	// that is free. Otherwise the lane is only told.
	Want bool
	// Events are appended if the row is new; Canceled instead where a cancel came
	// first, and the row ends as canceled.
	Events   []event.Event
	Canceled []event.Event
	// AccountVersion is that in which the account was read.
	AccountVersion int64

	rows, canceledRows eventRows
}

// Taken is what storing came to.
type Taken struct {
	Stored   bool // the row is new, or met its tombstone
	Canceled bool // it met its tombstone: State is Canceled now
	Same     bool // a repeat with the same data; false with Stored false: other data
	// Stale: nothing is stored, because the account has begun to be disconnected
	// since it was read. Read it again.
	Stale   bool
	Publish Publish
	// Fence is not 0 when this process holds the account's lane.
	Fence int64
	Until time.Time // when it ends, as Lane.Until; zero with Fence 0
	// More: the account had other publishes with work left before this one.
	More bool
	// Owner is the other process that holds the lane, if one does.
	Owner uuid.UUID
}

// Store inserts a publish, together with whatever else waits. A repeat changes
// nothing and tells what stands.
func (s *Store) Store(ctx context.Context, n *New) (Taken, error) {
	own, err := *n, error(nil)
	if own.rows, err = rowsOf(n.Events); err != nil {
		return Taken{}, err
	}
	if own.canceledRows, err = rowsOf(n.Canceled); err != nil {
		return Taken{}, err
	}
	return s.intake.Do(ctx, &own)
}

// isBack: whoever asks has seen the account connected in a later version than that
// in which it began to drain. That the account is back may be told only later, and
// the drain of before must not end what is asked for now.
const isBack = `l.draining_at IS NOT NULL AND l.link_version < excluded.account_version`

// sqlTakeLanes takes the lanes that are free and wanted; of the others it
// lowers next_at, which tells their owners to look. A repeat touches no lane.
const sqlTakeLanes = `
INSERT INTO account_lanes AS l (account_id, account_version, owner, fence, until, next_at)
SELECT u.account_id, u.account_version, CASE WHEN u.want THEN $4::uuid END, 1, CASE WHEN u.want THEN clock_timestamp() + $5 * interval '1 microsecond' END,
  CASE WHEN u.want THEN clock_timestamp() + $5 * interval '1 microsecond' ELSE u.next_at END
FROM (
  SELECT account_id, max(account_version) AS account_version, bool_or(want) AS want, min(coalesce(next_at, clock_timestamp())) AS next_at
  FROM unnest($1::uuid[], $2::uuid[], $3::boolean[], $6::timestamptz[], $7::bigint[]) AS x(id, account_id, want, next_at, account_version)
  WHERE NOT EXISTS (SELECT 1 FROM publishes p WHERE p.id = x.id)
  GROUP BY account_id ORDER BY account_id
) u
ON CONFLICT (account_id) DO UPDATE SET
  owner = CASE WHEN (l.owner IS NULL OR l.until <= clock_timestamp()) THEN excluded.owner ELSE l.owner END,
  fence = CASE WHEN (l.owner IS NULL OR l.until <= clock_timestamp()) AND excluded.owner IS NOT NULL THEN l.fence + 1 ELSE l.fence END,
  until = CASE WHEN (l.owner IS NULL OR l.until <= clock_timestamp()) THEN excluded.until ELSE l.until END,
  next_at = CASE WHEN (l.owner IS NULL OR l.until <= clock_timestamp()) AND excluded.owner IS NOT NULL THEN excluded.until
    WHEN l.owner = $4 AND l.until > clock_timestamp() AND excluded.owner IS NOT NULL THEN l.next_at
    WHEN excluded.owner IS NOT NULL THEN least(l.next_at, clock_timestamp())
    ELSE least(l.next_at, excluded.next_at) END,
  link_version = CASE WHEN ` + isBack + ` THEN excluded.account_version ELSE l.link_version END,
  account_version = CASE WHEN ` + isBack + ` THEN greatest(l.account_version, excluded.account_version) ELSE l.account_version END,
  draining = CASE WHEN ` + isBack + ` THEN NULL ELSE l.draining END,
  draining_at = CASE WHEN ` + isBack + ` THEN NULL ELSE l.draining_at END,
  drained_at = CASE WHEN ` + isBack + ` THEN NULL ELSE l.drained_at END
RETURNING account_id, owner, fence, coalesce(extract(epoch FROM until - clock_timestamp()) * 1000000, 0)::bigint, EXISTS (SELECT 1 FROM publishes p WHERE p.account_id = l.account_id AND p.next_at IS NOT NULL)`

// sqlInsert runs under the locks of sqlTakeLanes: a lane that drains would not
// see what comes later, and what was read of its account before is stale. What
// fails at once takes no lane: it is stored without its content where its user is
// being deleted, or nobody's, since by then nobody may look for that any more.
const sqlInsert = `
WITH u AS (
  SELECT id, event_source, event_id, account_id, user_id, provider, media_type, CASE WHEN keeps THEN request END AS request, request_sha256,
    CASE WHEN keeps THEN content_sha256 END AS content_sha256, state, due_at, next_at, expires_at, scheduled, error, traceparent, tracestate
  FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::uuid[], $6::text[], $7::text[], $8::bytea[], $9::bytea[], $10::bytea[],
    $11::text[], $12::timestamptz[], $13::timestamptz[], $14::timestamptz[], $15::boolean[], $16::bytea[], $17::text[], $18::text[], $26::bigint[])
  AS u(id, event_source, event_id, account_id, user_id, provider, media_type, request, request_sha256, content_sha256,
    state, due_at, next_at, expires_at, scheduled, error, traceparent, tracestate, account_version)
  CROSS JOIN LATERAL (SELECT u.state = 'accepted' OR EXISTS (SELECT 1 FROM users o WHERE o.id = u.user_id AND o.deleting_at IS NULL) AS keeps) k
  WHERE NOT (u.state = 'accepted' AND EXISTS (
    SELECT 1 FROM account_lanes l WHERE l.account_id = u.account_id AND l.draining_at IS NOT NULL AND l.link_version >= u.account_version))
), stored AS (
  INSERT INTO publishes AS p (id, event_source, event_id, account_id, user_id, provider, media_type, request, request_sha256, content_sha256,
    state, due_at, next_at, expires_at, scheduled, error, traceparent, tracestate, ended_at, step_at)
  SELECT id, event_source, event_id, account_id, user_id, provider, media_type, request, request_sha256, content_sha256,
    state, coalesce(due_at, clock_timestamp()), CASE WHEN state = 'accepted' THEN coalesce(next_at, clock_timestamp()) END,
    coalesce(expires_at, coalesce(due_at, clock_timestamp()) + interval '24 hours'), scheduled, convert_from(error, 'UTF8')::jsonb, traceparent, tracestate,
    CASE WHEN state = 'failed' THEN clock_timestamp() END, clock_timestamp()
  FROM u ORDER BY id
  ON CONFLICT (id) DO UPDATE SET
    event_source = excluded.event_source, event_id = excluded.event_id, account_id = excluded.account_id, user_id = excluded.user_id,
    provider = excluded.provider, media_type = excluded.media_type, request = excluded.request, request_sha256 = excluded.request_sha256,
    content_sha256 = excluded.content_sha256, state = 'canceled', due_at = excluded.due_at, expires_at = excluded.expires_at,
    traceparent = excluded.traceparent, tracestate = excluded.tracestate, version = p.version + 1, step_at = clock_timestamp(), ended_at = clock_timestamp()
  WHERE p.state = 'tombstone'
  RETURNING p.id, p.state, p.version, p.due_at, p.next_at, p.expires_at, p.accepted_at, p.step_at, p.ended_at
), told AS (
  INSERT INTO outbox (id, service, stream, subject, event)
  SELECT e.id, $19, e.stream, e.subject, e.event
  FROM unnest($20::uuid[], $21::text[], $22::uuid[], $23::text[], $24::text[], $25::bytea[]) AS e(publish_id, state, id, stream, subject, event)
  WHERE ((e.publish_id, e.state) IN (SELECT id, state FROM stored)) IS TRUE
)
SELECT * FROM stored`

const sqlKnown = `SELECT id, request_sha256 FROM publishes WHERE id = ANY($1::uuid[]) AND state <> 'tombstone'`

func (s *Store) flushIntake(ctx context.Context, all []*New) ([]Taken, error) {
	first := make(map[uuid.UUID]int, len(all)) // a repeat within the group waits for nothing: one row is stored for both
	ns := make([]*New, 0, len(all))
	for i, n := range all {
		if _, ok := first[n.Publish.ID]; !ok {
			first[n.Publish.ID] = i
			ns = append(ns, n)
		}
	}
	start := time.Now()
	r, err := s.insert(ctx, ns)
	if postgres.IsAmbiguous(err) {
		// What the first try stored is a repeat now; its lane is found by the next poll.
		r, err = s.insert(ctx, ns)
	}
	if err != nil {
		return nil, err
	}
	out := make([]Taken, len(all))
	for i, n := range all {
		if f := first[n.Publish.ID]; f != i {
			out[i] = r.repeated(n) // held against the row: the first may be a repeat too
			continue
		}
		out[i] = r.taken(n, s.cfg.Owner)
		if l := r.lanes[n.Publish.AccountID]; out[i].Fence != 0 {
			out[i].Until = start.Add(l.left)
		}
	}
	s.cfg.Wrote()
	return out, nil
}

type inserted struct {
	id                           uuid.UUID
	state                        State
	version                      int64
	next, ended                  pgtype.Timestamptz
	due, expires, accepted, step time.Time
}

type laneTaken struct {
	owner uuid.UUID
	fence int64
	more  bool
	left  time.Duration // of the lease
}

type intakeResult struct {
	stored map[uuid.UUID]inserted
	lanes  map[uuid.UUID]laneTaken
	known  map[uuid.UUID][]byte
}

func (r intakeResult) taken(n *New, me uuid.UUID) Taken {
	row, ok := r.stored[n.Publish.ID]
	if !ok {
		return r.repeated(n)
	}
	p := n.Publish
	p.State, p.Version, p.NextAt, p.EndedAt = row.state, row.version, row.next.Time, row.ended.Time
	p.DueAt, p.ExpiresAt, p.AcceptedAt, p.StepAt = row.due, row.expires, row.accepted, row.step
	t := Taken{Stored: true, Canceled: row.state == Canceled, Same: true, Publish: p}
	if l, ok := r.lanes[p.AccountID]; ok && l.owner == me {
		t.Fence, t.More = l.fence, l.more
	} else if ok {
		t.Owner = l.owner
	}
	return t
}

// repeated is the answer to what was not stored now.
func (r intakeResult) repeated(n *New) Taken {
	sum, ok := r.known[n.Publish.ID]
	return Taken{Stale: !ok, Same: ok && bytes.Equal(sum, n.Publish.RequestSum)}
}

func (s *Store) insert(ctx context.Context, ns []*New) (intakeResult, error) {
	r := intakeResult{stored: make(map[uuid.UUID]inserted, len(ns)), lanes: map[uuid.UUID]laneTaken{}, known: map[uuid.UUID][]byte{}}
	args, laneArgs, ids := s.insertArgs(ns)
	b := &pgx.Batch{}
	b.Queue(sqlTakeLanes, laneArgs...).Query(r.scanLanes)
	b.Queue(sqlInsert, args...).Query(r.scanStored)
	b.Queue(sqlKnown, ids).Query(r.scanKnown)
	if err := s.pool.SendBatch(ctx, b).Close(); err != nil {
		return r, fmt.Errorf("store publishes: %w", err)
	}
	return r, nil
}

func (r intakeResult) scanLanes(rows pgx.Rows) error {
	for rows.Next() {
		var account [16]byte
		var owner pgtype.UUID
		var l laneTaken
		var left int64
		if err := rows.Scan(&account, &owner, &l.fence, &left, &l.more); err != nil {
			return err
		}
		l.owner, l.left = owner.Bytes, time.Duration(left)*time.Microsecond
		r.lanes[account] = l
	}
	return rows.Err()
}

func (r intakeResult) scanStored(rows pgx.Rows) error {
	for rows.Next() {
		var in inserted
		if err := rows.Scan((*[16]byte)(&in.id), (*string)(&in.state), &in.version, &in.due, &in.next, &in.expires, &in.accepted, &in.step, &in.ended); err != nil {
			return err
		}
		r.stored[in.id] = in
	}
	return rows.Err()
}

func (r intakeResult) scanKnown(rows pgx.Rows) error {
	for rows.Next() {
		var id [16]byte
		var sum []byte
		if err := rows.Scan(&id, &sum); err != nil {
			return err
		}
		r.known[id] = sum
	}
	return rows.Err()
}

// newColumns collects the parameters of sqlInsert, one slice a column.
type newColumns struct {
	id                                                    [][16]byte
	accountOrNull, userOrNull                             []pgtype.UUID
	source, event, provider, media, state, parent, tstate []pgtype.Text
	request, requestSum, contentSum, failure              [][]byte
	due, next, expires                                    []pgtype.Timestamptz
	scheduled                                             []bool
	laneOf, laneAccount                                   [][16]byte
	want                                                  []bool
	laneNext                                              []pgtype.Timestamptz
	laneVersion                                           []int64
	eventOf                                               [][16]byte
	eventState                                            []string
	accountVersion                                        []int64
}

func (c *newColumns) add(n *New) {
	p := &n.Publish
	c.id = append(c.id, p.ID)
	c.accountOrNull, c.userOrNull = append(c.accountOrNull, idOrNull(p.AccountID)), append(c.userOrNull, idOrNull(p.UserID))
	c.source, c.event = append(c.source, text(p.EventSource)), append(c.event, text(p.EventID))
	c.provider, c.media, c.state = append(c.provider, text(p.Provider)), append(c.media, text(p.MediaType)), append(c.state, text(string(p.State)))
	c.request, c.requestSum, c.contentSum = append(c.request, p.Request), append(c.requestSum, p.RequestSum), append(c.contentSum, p.ContentSum)
	c.due, c.next, c.expires = append(c.due, stamp(p.DueAt)), append(c.next, stamp(p.NextAt)), append(c.expires, stamp(p.ExpiresAt))
	c.scheduled, c.failure = append(c.scheduled, p.Scheduled), append(c.failure, p.Error)
	c.parent, c.tstate = append(c.parent, pgtype.Text{String: p.TraceParent, Valid: true}), append(c.tstate, pgtype.Text{String: p.TraceState, Valid: true})
	c.accountVersion = append(c.accountVersion, n.AccountVersion)
	if p.State == Accepted {
		c.laneOf, c.laneAccount = append(c.laneOf, p.ID), append(c.laneAccount, p.AccountID)
		c.want, c.laneNext = append(c.want, n.Want), append(c.laneNext, stamp(p.NextAt))
		c.laneVersion = append(c.laneVersion, n.AccountVersion)
	}
	for range n.rows.ids {
		c.eventOf, c.eventState = append(c.eventOf, p.ID), append(c.eventState, string(p.State))
	}
	for range n.canceledRows.ids {
		c.eventOf, c.eventState = append(c.eventOf, p.ID), append(c.eventState, string(Canceled))
	}
}

func (s *Store) insertArgs(ns []*New) (args, laneArgs []any, ids [][16]byte) {
	c := &newColumns{}
	var rows eventRows
	for _, n := range ns {
		c.add(n)
		rows.add(n.rows)
		rows.add(n.canceledRows)
	}
	args = []any{
		c.id, c.source, c.event, c.accountOrNull, c.userOrNull, c.provider, c.media, c.request, c.requestSum, c.contentSum,
		c.state, c.due, c.next, c.expires, c.scheduled, c.failure, c.parent, c.tstate,
		s.cfg.Service, c.eventOf, c.eventState, rows.ids, rows.streams, rows.subjects, rows.bodies, c.accountVersion,
	}
	laneArgs = []any{c.laneOf, c.laneAccount, c.want, [16]byte(s.cfg.Owner), s.cfg.Lease.Microseconds(), c.laneNext, c.laneVersion}
	return args, laneArgs, c.id
}

func idOrNull(id uuid.UUID) pgtype.UUID { return pgtype.UUID{Bytes: id, Valid: id != uuid.Nil} }
