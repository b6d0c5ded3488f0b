package oauthaccount

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Resealing is what a pass over all accounts came to.
type Resealing struct {
	Done     int         // accounts whose tokens the primary key sealed anew
	Unopened []uuid.UUID // accounts whose tokens no key of the keyset opens
}

// resealPage is how many accounts are written by one statement.
const resealPage = 500

// otherKey selects accounts with a token that another key than the primary
// sealed; $1 is how everything begins that the primary seals.
const otherKey = `(substring(access_token for 5) <> $1 OR substring(refresh_token for 5) <> $1)`

const countOthers = `SELECT count(*) FROM oauth_accounts WHERE ` + otherKey

const resealNext = `SELECT id, provider, provider_account_id, access_token, refresh_token FROM oauth_accounts
WHERE id > $2 AND ` + otherKey + ` ORDER BY id LIMIT $3`

// An account whose tokens were replaced since they were read is left to the next
// pass. Its version stays: the tokens are the same to everybody.
const resealWrite = `UPDATE oauth_accounts a SET access_token = n.access, refresh_token = n.refresh
FROM unnest($1::uuid[], $2::bytea[], $3::bytea[], $4::bytea[], $5::bytea[]) AS n (id, access, refresh, old_access, old_refresh)
WHERE a.id = n.id AND a.access_token IS NOT DISTINCT FROM n.old_access AND a.refresh_token IS NOT DISTINCT FROM n.old_refresh`

// Reseal seals anew, with the primary key, what another key sealed, in one pass
// over all accounts, while services run. progress is told after each page how many
// accounts are done.
func (s *Store) Reseal(ctx context.Context, progress func(done int)) (Resealing, error) {
	var r Resealing
	var after uuid.UUID
	for {
		page, err := s.resealPage(ctx, after)
		if err != nil {
			return r, fmt.Errorf("seal accounts anew: %w", err)
		}
		if len(page) == 0 {
			return r, nil
		}
		after = page[len(page)-1].id
		n, unopened, err := s.resealWrite(ctx, page)
		r.Done, r.Unopened = r.Done+n, append(r.Unopened, unopened...)
		if err != nil {
			return r, fmt.Errorf("seal accounts anew: %w", err)
		}
		progress(r.Done)
	}
}

// SealedOtherwise counts the accounts with a token that another key than the
// primary sealed.
func (s *Store) SealedOtherwise(ctx context.Context) (n int, err error) {
	err = s.pool.QueryRow(ctx, countOthers, s.sealer.Prefix()).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count what another key sealed: %w", err)
	}
	return n, nil
}

// Retire makes keys useless: from now on no token is stored that one of them
// sealed, whoever still seals with it. sealing and retired are how everything
// begins that the primary and those keys seal. It returns how many accounts have
// a token that another key than the primary sealed: with any left, nothing is
// retired.
func (s *Store) Retire(ctx context.Context, sealing []byte, retired [][]byte) (left int, err error) {
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		// Whoever is writing has committed then, and whoever writes next is refused.
		if _, err := tx.Exec(ctx, `LOCK TABLE oauth_accounts IN SHARE MODE`); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, countOthers, sealing).Scan(&left); err != nil || left > 0 {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO retired_keys (prefix) SELECT unnest($1::bytea[]) ON CONFLICT DO NOTHING`, retired)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("retire keys: %w", err)
	}
	return left, nil
}

// sealedRow is an account's tokens as they stand in its row.
type sealedRow struct {
	id                  uuid.UUID
	provider, accountID string
	access, refresh     []byte
}

func (s *Store) resealPage(ctx context.Context, after uuid.UUID) ([]sealedRow, error) {
	rows, err := s.pool.Query(ctx, resealNext, s.sealer.Prefix(), after, resealPage)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (r sealedRow, err error) {
		return r, row.Scan(&r.id, &r.provider, &r.accountID, &r.access, &r.refresh)
	})
}

func (s *Store) resealWrite(ctx context.Context, page []sealedRow) (done int, unopened []uuid.UUID, err error) {
	var ids [][16]byte
	var access, refresh, oldAccess, oldRefresh [][]byte
	for _, r := range page {
		a, errA := s.again(r.access, "access_token", r)
		b, errB := s.again(r.refresh, "refresh_token", r)
		if errA != nil || errB != nil {
			unopened = append(unopened, r.id)
			continue
		}
		ids = append(ids, r.id)
		access, refresh, oldAccess, oldRefresh = append(access, a), append(refresh, b), append(oldAccess, r.access), append(oldRefresh, r.refresh)
	}
	tag, err := s.pool.Exec(ctx, resealWrite, ids, access, refresh, oldAccess, oldRefresh)
	return int(tag.RowsAffected()), unopened, err
}

// again seals a token anew; nil stays nil.
func (s *Store) again(sealed []byte, column string, r sealedRow) ([]byte, error) {
	if sealed == nil {
		return nil, nil
	}
	ad := place(column, r.provider, r.accountID)
	plain, err := s.sealer.Open(sealed, ad)
	if err != nil {
		return nil, err
	}
	return s.sealer.Seal(plain, ad)
}
