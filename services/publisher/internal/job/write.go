package job

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"postbus.dev/services/internal/limit"
	"postbus.dev/services/internal/postgres"
)

// Lock order everywhere: lanes by account, then publishes by id.
const (
	lockLanes     = `SELECT count(*) FROM (SELECT 1 FROM account_lanes WHERE account_id = ANY($1::uuid[]) ORDER BY account_id FOR UPDATE) l`
	lockPublishes = `SELECT count(*) FROM (SELECT 1 FROM publishes WHERE id = ANY($1::uuid[]) ORDER BY id FOR UPDATE) p`
)

var ungated = limit.Ungated("u.gate_provider", "u.gate_client", "u.account_id::text")

// sqlMove moves every row of the group that may move. "may" reads under the
// locks of the two statements before it. An arm moves only with its lane: the
// lane row is updated in the same statement, and a publish whose lane did not
// move, because it is busy or drains, does not either. An answer that frees a lane which its process does not
// hold tells whoever does, or takes it next: others may wait for their turn.
//
// The sessions' planner settings leave nested loops as the only join, and a
// result of WITH has no index: joined, n rows are compared with n. So it is asked
// by an IN, which is hashed; IS TRUE keeps the planner from making a join of it.
// An arm logs no step, so that the armed_at of a step is that of the row as it
// was read.
var sqlMove = `
WITH u AS (
  SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::boolean[], $6::boolean[], $7::bigint[],
    $8::text[], $9::bytea[], $10::timestamptz[], $11::timestamptz[], $12::bigint[], $13::timestamptz[], $14::bigint[],
    $15::bigint[], $16::bigint[], $17::integer[], $18::integer[], $19::integer[], $20::boolean[], $21::text[], $22::text[],
    $23::bytea[], $24::bytea[], $25::text[], $26::text[], $27::boolean[], $46::boolean[], $48::timestamptz[], $49::boolean[], $50::bigint[])
  AS u(id, account_id, version, fence, arm, free, release,
    state, checkpoint, due_at, next_at, next_in, fresh_until, fresh_in,
    send_in, settle, attempt, failures, looks, unconfirmed, delay_reason, remote_id,
    result, error, gate_provider, gate_client, scheduled, hold, expires_at, tell, heard)
), may AS (
  SELECT u.*, u.heard > 0 AND l.account_version > u.heard AS news FROM u
  JOIN publishes p ON p.id = u.id AND p.version = u.version
  LEFT JOIN account_lanes l ON l.account_id = u.account_id
  WHERE (u.fence = 0 OR (l.fence = u.fence AND l.owner = $28 AND l.until > clock_timestamp()))
    AND (NOT u.arm OR (p.due_at <= clock_timestamp() AND p.expires_at > clock_timestamp()
      AND ` + ungated + `))
), lanes AS (
  UPDATE account_lanes l SET
    armed = CASE WHEN may.arm OR may.hold THEN may.id WHEN may.free AND l.armed = may.id THEN NULL ELSE l.armed END,
    owner = CASE WHEN may.release = l.fence AND l.owner = $28 THEN NULL ELSE l.owner END,
    until = CASE WHEN may.release = l.fence AND l.owner = $28 THEN NULL ELSE l.until END,
    next_at = CASE WHEN may.release = l.fence AND l.owner = $28 THEN ` + earliest("p.id <> may.id") + `
      WHEN may.free AND l.armed = may.id AND l.owner IS DISTINCT FROM $28 THEN clock_timestamp()
      WHEN may.tell THEN least(l.next_at, may.next_at)
      ELSE l.next_at END
  FROM may
  WHERE l.account_id = may.account_id AND (may.arm OR may.hold OR may.free OR may.tell OR may.release > 0)
    AND (NOT may.arm OR (l.armed IS NULL AND l.draining_at IS NULL)) AND (NOT may.hold OR l.armed IS NULL OR l.armed = may.id)
  RETURNING may.id
), moved AS (
  UPDATE publishes p SET
    version = p.version + 1, state = may.state, checkpoint = may.checkpoint, due_at = may.due_at, expires_at = may.expires_at,
    attempt = may.attempt, failures = may.failures, looks = may.looks,
    scheduled = may.scheduled, delay_reason = may.delay_reason, remote_id = may.remote_id,
    result = convert_from(may.result, 'UTF8')::jsonb, error = convert_from(may.error, 'UTF8')::jsonb,
    step_at = clock_timestamp(),
    ended_at = CASE WHEN may.state IN ('completed', 'failed', 'canceled') THEN clock_timestamp() END,
    unconfirmed_at = CASE WHEN may.unconfirmed THEN coalesce(p.unconfirmed_at, clock_timestamp()) ELSE p.unconfirmed_at END,
    next_at = CASE WHEN may.state IN ('completed', 'failed', 'canceled') THEN NULL
      WHEN may.news THEN clock_timestamp()
      WHEN may.state IN ('accepted', 'ready') THEN least(coalesce(clock_timestamp() + may.next_in * interval '1 microsecond', may.next_at), may.expires_at)
      ELSE coalesce(clock_timestamp() + may.next_in * interval '1 microsecond', may.next_at) END,
    fresh_until = CASE WHEN may.fresh_in > 0 THEN clock_timestamp() + may.fresh_in * interval '1 microsecond' ELSE may.fresh_until END,
    armed_at = CASE WHEN may.arm THEN clock_timestamp() ELSE p.armed_at END,
    send_by = CASE WHEN may.arm THEN clock_timestamp() + may.send_in * interval '1 microsecond' ELSE p.send_by END,
    quiet_at = CASE WHEN may.arm THEN clock_timestamp() + (may.send_in + may.settle) * interval '1 microsecond' ELSE p.quiet_at END
  FROM may
  WHERE p.id = may.id AND (NOT (may.arm OR may.hold) OR may.id IN (SELECT id FROM lanes))
  RETURNING p.id, p.version, p.next_at, p.fresh_until, p.armed_at, p.send_by, p.quiet_at, p.unconfirmed_at, p.step_at, p.ended_at
), logged AS (
  INSERT INTO publish_attempts (id, publish_id, attempt, armed_at, step, call, outcome, provider_request_id, provider_code, http_status, message, duration_ms)
  SELECT a.id, a.publish_id, a.attempt, a.armed_at, a.step, a.call, a.outcome, a.request_id, a.code, a.status, a.message, a.duration_ms
  FROM unnest($29::uuid[], $30::uuid[], $31::integer[], $32::text[], $33::text[], $34::text[], $35::text[], $36::text[], $37::integer[], $38::text[], $39::integer[], $47::timestamptz[])
    AS a(id, publish_id, attempt, step, call, outcome, request_id, code, status, message, duration_ms, armed_at)
  WHERE (a.publish_id IN (SELECT id FROM moved)) IS TRUE
), told AS (
  INSERT INTO outbox (id, service, stream, subject, event)
  SELECT e.id, $45, e.stream, e.subject, e.event
  FROM unnest($40::uuid[], $41::uuid[], $42::text[], $43::text[], $44::bytea[]) AS e(publish_id, id, stream, subject, event)
  WHERE (e.publish_id IN (SELECT id FROM moved)) IS TRUE
)
SELECT * FROM moved`

// movedRow is what the statement tells of a row that moved.
type movedRow struct {
	id                                                          uuid.UUID
	version                                                     int64
	next, fresh, armed, sendBy, quiet, unconfirmed, step, ended pgtype.Timestamptz
}

func (m movedRow) onto(p Publish) Publish {
	p.Version = m.version
	p.NextAt, p.FreshUntil, p.ArmedAt, p.SendBy, p.QuietAt = m.next.Time, m.fresh.Time, m.armed.Time, m.sendBy.Time, m.quiet.Time
	p.UnconfirmedAt, p.StepAt, p.EndedAt = m.unconfirmed.Time, m.step.Time, m.ended.Time
	return p
}

// flush writes a group in one transaction. A lost answer to its commit is settled
// by writing it again: what the first try moved has the next version then, and is
// read back.
func (s *Store) flush(ctx context.Context, ts []*Transition) ([]Written, error) {
	out := make([]Written, len(ts))
	split := rounds(ts)
	moved, err := s.move(ctx, ts, split)
	lost := postgres.IsAmbiguous(err)
	if lost {
		moved, err = s.move(ctx, ts, split)
	}
	if err != nil {
		return nil, err
	}
	told := false
	for k, round := range split {
		for _, i := range round {
			if out[i], err = s.written(ctx, ts[i], moved[k], lost); err != nil {
				return nil, err
			}
			told = told || out[i].Moved && (lost || len(ts[i].Events) > 0)
		}
	}
	if told {
		s.cfg.Wrote()
	}
	return out, nil
}

func (s *Store) written(ctx context.Context, t *Transition, moved map[uuid.UUID]movedRow, lost bool) (Written, error) {
	if m, ok := moved[t.Publish.ID]; ok && m.version == t.Publish.Version+1 {
		return Written{Moved: true, Publish: m.onto(t.Publish)}, nil
	}
	if lost {
		return s.readBack(ctx, t)
	}
	return Written{}, nil
}

// rounds splits a group so that no round moves a publish or a lane twice: one
// statement would take one of the two and tell both that they moved. All rounds
// are one transaction: a group that is refused has moved nothing, and what is
// halved and written again meets the rows as they were.
func rounds(ts []*Transition) [][]int {
	var out [][]int
	ids, lanes := map[uuid.UUID]int{}, map[uuid.UUID]int{}
	for i, t := range ts {
		n := ids[t.Publish.ID]
		if t.Lane != Keep || t.Release != 0 {
			n = max(n, lanes[t.Publish.AccountID])
			lanes[t.Publish.AccountID] = n + 1
		}
		ids[t.Publish.ID] = n + 1
		if n == len(out) {
			out = append(out, nil)
		}
		out[n] = append(out[n], i)
	}
	return out
}

// readBack tells whether t is what brought its row to where it stands.
func (s *Store) readBack(ctx context.Context, t *Transition) (Written, error) {
	p, err := s.Get(ctx, t.Publish.ID)
	if err != nil {
		return Written{}, err
	}
	same := p.Version == t.Publish.Version+1 && p.State == t.Publish.State && p.Attempt == t.Publish.Attempt
	if !same {
		return Written{}, nil
	}
	if t.Fence != 0 && t.Release == 0 {
		held, err := s.holds(ctx, t.Publish.AccountID, t.Fence)
		if err != nil || !held {
			return Written{}, err
		}
	}
	return Written{Moved: true, Publish: p}, nil
}

func (s *Store) holds(ctx context.Context, account uuid.UUID, fence int64) (held bool, err error) {
	err = s.pool.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM account_lanes WHERE account_id = $1 AND fence = $2 AND owner = $3)`,
		[16]byte(account), fence, [16]byte(s.cfg.Owner)).Scan(&held)
	return held, err
}

// move writes the rounds; its answer has one map each.
func (s *Store) move(ctx context.Context, ts []*Transition, rounds [][]int) ([]map[uuid.UUID]movedRow, error) {
	accounts, ids := make([][16]byte, 0, len(ts)), make([][16]byte, 0, len(ts))
	for _, t := range ts {
		ids = append(ids, t.Publish.ID)
		if t.Publish.AccountID != uuid.Nil {
			accounts = append(accounts, t.Publish.AccountID)
		}
	}
	b := &pgx.Batch{}
	b.Queue(lockLanes, accounts)
	b.Queue(lockPublishes, ids)
	moved := make([]map[uuid.UUID]movedRow, len(rounds))
	for k, round := range rounds {
		moved[k] = make(map[uuid.UUID]movedRow, len(round))
		b.Queue(sqlMove, s.moveArgs(ts, round)...).Query(scanMoved(moved[k]))
	}
	// Without BEGIN a pipeline is one implicit transaction: one round trip, one commit.
	if err := s.pool.SendBatch(ctx, b).Close(); err != nil {
		return nil, fmt.Errorf("move publishes: %w", err)
	}
	return moved, nil
}

func scanMoved(into map[uuid.UUID]movedRow) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		for rows.Next() {
			var m movedRow
			if err := rows.Scan((*[16]byte)(&m.id), &m.version, &m.next, &m.fresh, &m.armed, &m.sendBy, &m.quiet, &m.unconfirmed, &m.step, &m.ended); err != nil {
				return err
			}
			into[m.id] = m
		}
		return rows.Err()
	}
}

// columns collects the parameters of sqlMove, one slice a column.
type columns struct {
	id, account                                                      [][16]byte
	version, fence, release, heard                                   []int64
	arm, hold, free, tell, unconfirmed, scheduled                    []bool
	state                                                            []string
	checkpoint                                                       [][]byte
	dueAt, nextAt, expiresAt, freshUntil                             []pgtype.Timestamptz
	nextIn                                                           []pgtype.Int8
	freshIn, sendIn, settle                                          []int64
	attempt, failures, looks                                         []int32
	delayReason, remoteID                                            []pgtype.Text
	result, failure                                                  [][]byte
	gateProvider, gateClient                                         []string
	stepID, stepOf                                                   [][16]byte
	stepAttempt, stepStatus, stepMS                                  []int32
	stepArmed                                                        []pgtype.Timestamptz
	stepName, stepCall, stepOutcome, stepRequest, stepCode, stepText []string
	eventOf                                                          [][16]byte
}

func (c *columns) add(t *Transition) {
	p := &t.Publish
	c.id, c.account = append(c.id, p.ID), append(c.account, p.AccountID)
	c.version, c.fence = append(c.version, p.Version), append(c.fence, t.Fence)
	c.heard = append(c.heard, t.Heard)
	c.arm, c.free, c.release = append(c.arm, t.Lane == Arm), append(c.free, t.Lane == Free), append(c.release, t.Release)
	c.hold, c.tell = append(c.hold, t.Lane == Hold), append(c.tell, t.Lane == Tell)
	c.state, c.checkpoint = append(c.state, string(p.State)), append(c.checkpoint, p.Checkpoint)
	c.dueAt, c.nextAt, c.freshUntil = append(c.dueAt, stamp(p.DueAt)), append(c.nextAt, stamp(p.NextAt)), append(c.freshUntil, stamp(p.FreshUntil))
	c.expiresAt = append(c.expiresAt, stamp(p.ExpiresAt))
	c.nextIn = append(c.nextIn, pgtype.Int8{Int64: t.NextIn.Microseconds(), Valid: t.HasNext})
	c.freshIn, c.sendIn, c.settle = append(c.freshIn, t.FreshIn.Microseconds()), append(c.sendIn, t.SendIn.Microseconds()), append(c.settle, t.Settle.Microseconds())
	c.attempt, c.failures, c.looks = append(c.attempt, int32(p.Attempt)), append(c.failures, int32(p.Failures)), append(c.looks, int32(p.Looks))
	c.unconfirmed, c.scheduled = append(c.unconfirmed, p.State == Unconfirmed), append(c.scheduled, p.Scheduled)
	c.delayReason, c.remoteID = append(c.delayReason, text(p.DelayReason)), append(c.remoteID, text(clean(p.RemoteID)))
	c.result, c.failure = append(c.result, p.Result), append(c.failure, p.Error)
	c.gateProvider, c.gateClient = append(c.gateProvider, t.Gates.Provider), append(c.gateClient, t.Gates.Client)
	for _, st := range t.Steps {
		c.addStep(p, st)
	}
	for range t.rows.ids {
		c.eventOf = append(c.eventOf, p.ID)
	}
}

func (c *columns) addStep(p *Publish, st Step) {
	c.stepID, c.stepOf = append(c.stepID, uuid.Must(uuid.NewV7())), append(c.stepOf, p.ID)
	c.stepAttempt, c.stepStatus = append(c.stepAttempt, int32(st.Attempt)), append(c.stepStatus, int32(st.HTTPStatus))
	c.stepMS, c.stepArmed = append(c.stepMS, int32(st.Duration.Milliseconds())), append(c.stepArmed, stamp(p.ArmedAt))
	c.stepName, c.stepCall, c.stepOutcome = append(c.stepName, st.Step), append(c.stepCall, clean(st.Call)), append(c.stepOutcome, st.Outcome)
	c.stepRequest, c.stepCode, c.stepText = append(c.stepRequest, clean(st.RequestID)), append(c.stepCode, clean(st.Code)), append(c.stepText, clean(st.Message))
}

func (s *Store) moveArgs(ts []*Transition, round []int) []any {
	c := &columns{}
	var rows eventRows
	for _, i := range round {
		c.add(ts[i])
		rows.add(ts[i].rows)
	}
	return []any{
		c.id, c.account, c.version, c.fence, c.arm, c.free, c.release,
		c.state, c.checkpoint, c.dueAt, c.nextAt, c.nextIn, c.freshUntil, c.freshIn,
		c.sendIn, c.settle, c.attempt, c.failures, c.looks, c.unconfirmed, c.delayReason, c.remoteID,
		c.result, c.failure, c.gateProvider, c.gateClient, c.scheduled, [16]byte(s.cfg.Owner),
		c.stepID, c.stepOf, c.stepAttempt, c.stepName, c.stepCall, c.stepOutcome, c.stepRequest, c.stepCode, c.stepStatus, c.stepText, c.stepMS,
		c.eventOf, rows.ids, rows.streams, rows.subjects, rows.bodies, s.cfg.Service, c.hold, c.stepArmed,
		c.expiresAt, c.tell, c.heard,
	}
}

func stamp(t time.Time) pgtype.Timestamptz {
	return pgtype.Timestamptz{Time: t, Valid: !t.IsZero()}
}

func text(s string) pgtype.Text { return pgtype.Text{String: s, Valid: s != ""} }

// clean makes a provider's text fit for a row: valid UTF-8, no NUL, bounded.
func clean(s string) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
	const most = 500
	if utf8.RuneCountInString(s) > most {
		s = string([]rune(s)[:most])
	}
	return s
}
