package oauthaccount

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"postbus.dev/services/internal/tenant"
)

// supersedeSQL takes the row of a disconnected account away, whose place another
// user's takes, under an id that nobody knows yet. What was published with it
// stays hers, and is found by what the provider calls the account.
const supersedeSQL = `
WITH old AS (DELETE FROM oauth_accounts WHERE id = $1 RETURNING *)
INSERT INTO former_accounts (id, user_id, provider, provider_account_id, callback_id)
SELECT id, user_id, provider, provider_account_id, metadata ->> 'callback_id' FROM old`

const eraseFormerSQL = `
UPDATE former_accounts SET erase = true WHERE provider = $1 AND (provider_account_id = ANY ($2) OR callback_id = ANY ($2)) RETURNING id`

// EraseFormerIn asks, in a transaction of the caller's, for what DisconnectIn with
// erase does not reach: what users published with an account, one of those at a
// provider that keys name, before it became another user's. It returns their ids.
func (s *Store) EraseFormerIn(ctx context.Context, tx pgx.Tx, provider string, keys []string) ([]uuid.UUID, error) {
	rows, err := tx.Query(ctx, eraseFormerSQL, provider, allStorable(keys))
	if err != nil {
		return nil, fmt.Errorf("erase former accounts: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		return nil, fmt.Errorf("erase former accounts: %w", err)
	}
	return ids, nil
}

// BlankFormer does what EraseFormerIn asked for, for up to limit accounts. It may
// end half-way, and be done by several at once.
func (s *Store) BlankFormer(ctx context.Context, limit int) error {
	rows, err := s.pool.Query(ctx, `SELECT id, user_id FROM former_accounts WHERE erase ORDER BY id LIMIT $1`, limit)
	if err != nil {
		return fmt.Errorf("find former accounts: %w", err)
	}
	type former struct{ ID, UserID uuid.UUID }
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[former])
	if err != nil {
		return fmt.Errorf("find former accounts: %w", err)
	}
	for _, f := range all {
		if err := tenant.Blank(ctx, s.pool, f.UserID, f.ID); err != nil {
			return err
		}
		if _, err := s.pool.Exec(ctx, `DELETE FROM former_accounts WHERE id = $1`, f.ID); err != nil {
			return fmt.Errorf("forget a former account: %w", err)
		}
	}
	return nil
}

// Left counts those of the accounts that are not erased yet.
func (s *Store) Left(ctx context.Context, ids [][16]byte) (n int, err error) {
	err = s.pool.QueryRow(ctx, `SELECT (SELECT count(*) FROM oauth_accounts WHERE id = ANY ($1)) + (SELECT count(*) FROM former_accounts WHERE id = ANY ($1))`, ids).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count accounts: %w", err)
	}
	return n, nil
}
