package job

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"postbus.dev/services/internal/outbox"
)

// An account is drained in its lane. From Disconnecting on, no request of before
// is accepted and nothing is armed: both take the lane's row lock and see that it
// drains. What is left then becomes less, whoever ends it, and Conclude appends
// account.drained with the last one gone. All of it may be done by several
// processes at once, and by any of them after another's death.

// sqlDisconnecting: versions put the account's events in order, however often and
// in whatever order they come. The lane is made where there is none, so that a
// request that is on its way meets it. A held one's owner is told: the account
// that it has in memory is stale. What drains already has the time that it began
// with: that it is to be erased too may be told later.
const sqlDisconnecting = `
INSERT INTO account_lanes AS l (account_id, account_version, link_version, draining, draining_at)
VALUES ($1, $2, $2, $3, clock_timestamp())
ON CONFLICT (account_id) DO UPDATE SET
  account_version = greatest(l.account_version, excluded.account_version), link_version = excluded.link_version,
  draining = excluded.draining, draining_at = CASE WHEN l.drained_at IS NULL THEN coalesce(l.draining_at, excluded.draining_at) ELSE excluded.draining_at END, drained_at = NULL,
  next_at = CASE WHEN l.owner IS NULL THEN l.next_at ELSE least(l.next_at, clock_timestamp()) END
WHERE l.link_version < excluded.link_version`

// Disconnecting notes that an account is being disconnected: by raw, its
// account.disconnecting, of this version of the account. One that was told of
// before, or that a later version has overtaken, changes nothing.
func (s *Store) Disconnecting(ctx context.Context, account uuid.UUID, version int64, raw []byte) error {
	if _, err := s.pool.Exec(ctx, sqlDisconnecting, [16]byte(account), version, raw); err != nil {
		return fmt.Errorf("drain account: %w", err)
	}
	return nil
}

// sqlConnected leaves a lane behind where there was none: an account.disconnecting
// of before that comes late must not drain what is connected again.
const sqlConnected = `
INSERT INTO account_lanes AS l (account_id, link_version) VALUES ($1, $2)
ON CONFLICT (account_id) DO UPDATE SET link_version = excluded.link_version, draining = NULL, draining_at = NULL, drained_at = NULL
WHERE l.link_version < excluded.link_version`

// Connected notes that an account is connected, as of this version of it: its
// publishes are armed again. It returns who holds the lane, if anybody does.
func (s *Store) Connected(ctx context.Context, account uuid.UUID, version int64) (owner uuid.UUID, err error) {
	b := &pgx.Batch{}
	b.Queue(sqlConnected, [16]byte(account), version)
	return s.wake(ctx, b, account, version, sqlWake(waitsForToken))
}

// sqlLeft finds what a draining account has left to end: at once what is not
// armed, and what is watched, because nobody will be able to look; what may be at
// the provider once it has had time to settle, and not before its call has come
// to rest.
const sqlLeft = `
SELECT ` + publishColumns + `
FROM account_lanes l JOIN publishes p ON p.account_id = l.account_id
WHERE l.draining_at IS NOT NULL AND l.drained_at IS NULL AND p.next_at IS NOT NULL
  AND (p.state IN ('accepted', 'ready', 'unconfirmed') OR clock_timestamp() >= greatest(l.draining_at + $1 * interval '1 microsecond', p.quiet_at))
LIMIT $2`

// Left reads up to limit publishes of draining accounts that have to end now.
// What is at the provider is among them when its account has drained for settle.
func (s *Store) Left(ctx context.Context, settle time.Duration, limit int) ([]Publish, error) {
	rows, err := s.pool.Query(ctx, sqlLeft, settle.Microseconds(), limit)
	if err != nil {
		return nil, fmt.Errorf("read what is left of draining accounts: %w", err)
	}
	left, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Publish, error) { return scanPublish(row) })
	if err != nil {
		return nil, fmt.Errorf("read what is left of draining accounts: %w", err)
	}
	return left, nil
}

// Drain is an account of which nothing is left that could act.
type Drain struct {
	Account     uuid.UUID
	Version     int64  // of the account, in the event that asked for it
	Event       []byte // that event, as Disconnecting was given it
	Unconfirmed int    // publishes of the account whose outcome nobody could tell
}

const sqlDrained = `
SELECT account_id FROM account_lanes l
WHERE draining_at IS NOT NULL AND drained_at IS NULL
  AND NOT EXISTS (SELECT 1 FROM publishes p WHERE p.account_id = l.account_id AND p.next_at IS NOT NULL)
ORDER BY draining_at LIMIT $1`

// Conclude appends the event that tell makes of each account that is drained, up
// to limit of them, once for each time that it was disconnected.
func (s *Store) Conclude(ctx context.Context, limit int, tell func(Drain) (event.Event, error)) error {
	rows, err := s.pool.Query(ctx, sqlDrained, limit)
	if err != nil {
		return fmt.Errorf("find drained accounts: %w", err)
	}
	accounts, err := pgx.CollectRows(rows, pgx.RowTo[[16]byte])
	if err != nil {
		return fmt.Errorf("find drained accounts: %w", err)
	}
	var errs []error
	for _, account := range accounts { // one that cannot be told of does not keep the others
		errs = append(errs, pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error { return s.conclude(ctx, tx, account, tell) }))
	}
	if len(accounts) > 0 {
		s.cfg.Wrote()
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("conclude drains: %w", err)
	}
	return nil
}

// conclude asks once more under the lane's lock, without which nothing of the
// account moves.
func (s *Store) conclude(ctx context.Context, tx pgx.Tx, account [16]byte, tell func(Drain) (event.Event, error)) error {
	d := Drain{Account: account}
	err := tx.QueryRow(ctx, `SELECT link_version, draining FROM account_lanes
		WHERE account_id = $1 AND draining_at IS NOT NULL AND drained_at IS NULL FOR UPDATE`, account).Scan(&d.Version, &d.Event)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil // somebody else was faster, or it is connected again
	}
	if err != nil {
		return err
	}
	var open int
	err = tx.QueryRow(ctx, `SELECT count(*) FILTER (WHERE next_at IS NOT NULL), count(*) FILTER (WHERE state = 'unconfirmed') FROM publishes
		WHERE account_id = $1 AND (next_at IS NOT NULL OR state = 'unconfirmed')`, account).Scan(&open, &d.Unconfirmed)
	if err != nil || open > 0 {
		return err
	}
	e, err := tell(d)
	if err != nil {
		return err
	}
	// What asked for it names a user who may be deleted next.
	if _, err := tx.Exec(ctx, `UPDATE account_lanes SET drained_at = clock_timestamp(), draining = NULL WHERE account_id = $1`, account); err != nil {
		return err
	}
	return outbox.Append(ctx, tx, s.cfg.Service, e)
}
