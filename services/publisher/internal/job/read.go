package job

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ErrNotFound says that there is no such publish.
var ErrNotFound = errors.New("publish not found")

// Get reads one publish.
func (s *Store) Get(ctx context.Context, id uuid.UUID) (Publish, error) {
	p, err := scanPublish(s.pool.QueryRow(ctx, `SELECT `+publishColumns+` FROM publishes p WHERE p.id = $1`, [16]byte(id)))
	if errors.Is(err, pgx.ErrNoRows) {
		return p, ErrNotFound
	}
	if err != nil {
		return p, fmt.Errorf("read publish: %w", err)
	}
	return p, nil
}

// Steps reads the attempt log of a publish, oldest first, at most 200.
func (s *Store) Steps(ctx context.Context, id uuid.UUID) ([]Step, error) {
	rows, err := s.pool.Query(ctx, `SELECT attempt, step, call, outcome, provider_request_id, provider_code, http_status, message, duration_ms, at
		FROM publish_attempts WHERE publish_id = $1 ORDER BY at, id LIMIT 200`, [16]byte(id))
	if err != nil {
		return nil, fmt.Errorf("read attempts: %w", err)
	}
	steps, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Step, error) {
		var st Step
		var ms int64
		err := row.Scan(&st.Attempt, &st.Step, &st.Call, &st.Outcome, &st.RequestID, &st.Code, &st.HTTPStatus, &st.Message, &ms, &st.At)
		st.Duration = time.Duration(ms) * time.Millisecond
		return st, err
	})
	if err != nil {
		return nil, fmt.Errorf("read attempts: %w", err)
	}
	return steps, nil
}

// Log appends to the attempt log alone: an answer that came too late to move
// its publish is kept there.
func (s *Store) Log(ctx context.Context, id uuid.UUID, st Step) error {
	_, err := s.pool.Exec(ctx, `INSERT INTO publish_attempts (id, publish_id, attempt, step, call, outcome, provider_request_id, provider_code, http_status, message, duration_ms)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, CASE WHEN EXISTS (SELECT FROM publishes WHERE id = $2 AND blanked_at IS NOT NULL) THEN '' ELSE $10 END, $11)`, [16]byte(uuid.Must(uuid.NewV7())), [16]byte(id), st.Attempt, st.Step, clean(st.Call), st.Outcome,
		clean(st.RequestID), clean(st.Code), st.HTTPStatus, clean(st.Message), st.Duration.Milliseconds())
	if err != nil {
		return fmt.Errorf("log attempt: %w", err)
	}
	return nil
}

// Evidence is what the database knows about an attempt whose outcome is looked
// for.
type Evidence struct {
	Quiet           bool     // quiet_at has passed
	Spent           bool     // the window after it has passed too
	OwnedRemoteIDs  []string // of this account's other publishes, armed since shortly before this attempt
	TwinUnconfirmed bool     // another publish with the same content is unconfirmed, or at the provider now
}

// Evidence reads it; window counts from quiet_at.
func (s *Store) Evidence(ctx context.Context, p Publish, window time.Duration) (Evidence, error) {
	var e Evidence
	err := s.pool.QueryRow(ctx, `SELECT clock_timestamp() >= p.quiet_at, clock_timestamp() >= p.quiet_at + $2 * interval '1 microsecond',
		ARRAY(SELECT o.remote_id FROM publishes o WHERE o.provider = p.provider AND o.account_id = p.account_id AND o.remote_id IS NOT NULL AND o.id <> p.id
			AND o.armed_at >= p.armed_at - interval '2 days'),
		EXISTS (SELECT 1 FROM publishes o WHERE o.account_id = p.account_id AND o.content_sha256 = p.content_sha256 AND o.state = 'unconfirmed' AND o.id <> p.id)
			OR EXISTS (SELECT 1 FROM publishes o WHERE o.account_id = p.account_id AND o.content_sha256 = p.content_sha256 AND o.state IN ('armed', 'unknown') AND o.id <> p.id)
		FROM publishes p WHERE p.id = $1`, [16]byte(p.ID), window.Microseconds()).
		Scan(&e.Quiet, &e.Spent, &e.OwnedRemoteIDs, &e.TwinUnconfirmed)
	if err != nil {
		return e, fmt.Errorf("read evidence: %w", err)
	}
	return e, nil
}

// RemoteOwner tells which publish owns a remote post.
func (s *Store) RemoteOwner(ctx context.Context, provider string, account uuid.UUID, remoteID string) (uuid.UUID, error) {
	var id uuid.UUID
	err := s.pool.QueryRow(ctx, `SELECT id FROM publishes WHERE provider = $1 AND account_id = $2 AND remote_id = $3`,
		provider, [16]byte(account), remoteID).Scan((*[16]byte)(&id))
	if err != nil {
		return id, fmt.Errorf("read owner of remote post: %w", err)
	}
	return id, nil
}

// Bury stores a tombstone for a publish that is canceled before its request
// came. It reports false when the publish exists.
func (s *Store) Bury(ctx context.Context, p Publish) (bool, error) {
	tag, err := s.pool.Exec(ctx, `INSERT INTO publishes (id, event_source, event_id, state, due_at, expires_at, ended_at, traceparent, tracestate)
		VALUES ($1, $2, $3, 'tombstone', clock_timestamp(), clock_timestamp() + interval '30 days', clock_timestamp(), $4, $5) ON CONFLICT (id) DO NOTHING`,
		[16]byte(p.ID), text(p.EventSource), text(p.EventID), p.TraceParent, p.TraceState)
	if err != nil {
		return false, fmt.Errorf("store tombstone: %w", err)
	}
	return tag.RowsAffected() == 1, nil
}

// Forget deletes up to limit publishes that ended longer ago than they are
// kept: 90 days, a tombstone 30. It returns how many.
func (s *Store) Forget(ctx context.Context, limit int) (int64, error) {
	tag, err := s.pool.Exec(ctx, `WITH old AS (
			SELECT id FROM publishes WHERE ended_at < now() - interval '30 days' AND (state = 'tombstone' OR ended_at < now() - interval '90 days') ORDER BY ended_at LIMIT $1
		), log AS (DELETE FROM publish_attempts a USING old WHERE a.publish_id = old.id)
		DELETE FROM publishes p USING old WHERE p.id = old.id`, limit)
	if err != nil {
		return 0, fmt.Errorf("forget old publishes: %w", err)
	}
	return tag.RowsAffected(), nil
}

// IsOtherArmed says whether err means that another publish of the account is at
// the provider: the row is fine, its turn has not come.
func IsOtherArmed(err error) bool { return violates(err, "publishes_one_armed") }

// IsRemoteTaken says whether err means that another publish owns the remote post.
func IsRemoteTaken(err error) bool {
	return violates(err, "publishes_remote")
}

func violates(err error, unique string) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.Code == "23505" && e.ConstraintName == unique
}
