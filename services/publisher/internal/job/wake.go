package job

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

const (
	// waitsForToken is what waits for a token or a person, and what could not be
	// read, perhaps for want of them.
	waitsForToken = `(p.state IN ('accepted', 'ready') AND p.delay_reason IN ('token', 'reauth') OR p.state IN ('unknown', 'confirming') AND p.failures > 0)`
	// isNamed is what a provider calls $2: the post, or something that a checkpoint,
	// which is JSON, holds as a text.
	isNamed = `p.state <> 'armed' AND (p.remote_id = $2 OR position(convert_to('"' || $2 || '"', 'UTF8') IN p.checkpoint) > 0)`
)

// sqlWake makes what waits look at once, in a version of its own: what is held in
// memory is known by it to be older.
func sqlWake(condition string) string {
	return `WITH w AS (
  SELECT id FROM publishes p WHERE p.account_id = $1 AND p.next_at > clock_timestamp() AND ` + condition + ` ORDER BY id FOR UPDATE
)
UPDATE publishes p SET next_at = clock_timestamp(), version = p.version + 1 FROM w WHERE p.id = w.id`
}

// sqlTold notes the version of the account that is known now, and tells the
// lane's owner, or whoever takes it next, where there is something to do.
var sqlTold = `
UPDATE account_lanes l SET account_version = greatest(l.account_version, $2), next_at = CASE
  WHEN l.owner IS NOT NULL OR ` + earliest("true") + ` <= clock_timestamp()
  THEN least(l.next_at, clock_timestamp()) ELSE l.next_at END
WHERE l.account_id = $1 RETURNING l.owner`

// Changed notes that there is a newer version of an account: what waits for a
// token or a person looks at once. It returns who holds the lane, if anybody does.
func (s *Store) Changed(ctx context.Context, account uuid.UUID, version int64) (owner uuid.UUID, err error) {
	return s.wake(ctx, &pgx.Batch{}, account, version, sqlWake(waitsForToken))
}

// Notified makes the publishes of an account look at once for which the provider
// has this name. It returns who holds the lane, if anybody does.
func (s *Store) Notified(ctx context.Context, account uuid.UUID, name string) (owner uuid.UUID, err error) {
	return s.wake(ctx, &pgx.Batch{}, account, 0, sqlWake(isNamed), name)
}

// wake runs what b holds and then sqlWake, in one transaction.
func (s *Store) wake(ctx context.Context, b *pgx.Batch, account uuid.UUID, version int64, sql string, args ...any) (owner uuid.UUID, err error) {
	id := [16]byte(account)
	b.Queue(lockLanes, [][16]byte{id})
	b.Queue(sql, append([]any{id}, args...)...)
	b.Queue(sqlTold, id, version).QueryRow(func(row pgx.Row) error {
		var held pgtype.UUID
		if err := row.Scan(&held); err != nil && !errors.Is(err, pgx.ErrNoRows) { // never published with
			return err
		}
		owner = held.Bytes
		return nil
	})
	if err := s.pool.SendBatch(ctx, b).Close(); err != nil {
		return uuid.Nil, fmt.Errorf("wake publishes: %w", err)
	}
	return owner, nil
}
