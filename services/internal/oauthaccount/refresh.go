package oauthaccount

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"postbus.dev/services/connectors"
)

// Refreshing is an account whose turn to be refreshed has come, held by whoever
// claimed it.
type Refreshing struct {
	ID           uuid.UUID
	Provider     string
	Status       Status // Active or ReauthRequired
	TokenVersion int64
	DueFor       time.Duration // since its turn came
	// ExpiresIn is what is left of the access token, GrantEndsIn of the refresh
	// token, by the database's clock; negative once it is over, 0: it does not end.
	ExpiresIn, GrantEndsIn time.Duration
	Failures               int    // in a row
	Class                  string // of the last one
	// Lost: an earlier refresh was armed and its answer never came. Its quiet_at
	// has passed.
	Lost bool
	// Lease is of this claim: no other has the same.
	Lease uuid.UUID
	// Open opens the tokens; they stay sealed until then. An error matches
	// secret.ErrNotOpened when the keyset is not the one that sealed them.
	Open func() (connectors.Account, connectors.Secret, error)
}

// RefreshClaim says what Refreshes.Claim takes.
type RefreshClaim struct {
	Providers []string      // whose turn it can be; others are not looked at
	Limit     int           // accounts of each provider
	Lease     time.Duration // after which an account is due again for whoever asks
}

// A claim moves refresh_after to its lease's end: what is due is one range of the
// index for each provider, in which nothing stands that somebody works on, and
// what a dead process held comes back by itself.
const claimRefreshesSQL = `
WITH due AS MATERIALIZED (
  SELECT d.id, d.refresh_after FROM unnest($1::text[]) AS p (provider) CROSS JOIN LATERAL (
    SELECT o.id, o.refresh_after FROM oauth_accounts o
    WHERE o.provider = p.provider AND o.refresh_after <= now() AND o.status IN ('active', 'reauth_required')
    ORDER BY o.refresh_after LIMIT $2 FOR UPDATE SKIP LOCKED) d),
a AS (
  UPDATE oauth_accounts o SET lease_owner = $3, lease_until = now() + $4::interval, refresh_after = now() + $4::interval
  FROM due WHERE o.id = due.id RETURNING o.*, due.refresh_after AS due_at)
SELECT now(), a.due_at, a.refresh_token, a.quiet_at IS NOT NULL, ` + whole + ` FROM a JOIN users u ON u.id = a.user_id`

// Claim takes accounts whose refresh_after has come, the longest due of
// each provider first.
func (r *Refreshes) Claim(ctx context.Context, c RefreshClaim) ([]Refreshing, error) {
	lease, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("claim refreshes: %w", err)
	}
	rows, err := r.store.pool.Query(ctx, claimRefreshesSQL, c.Providers, c.Limit, lease, c.Lease)
	if err != nil {
		return nil, fmt.Errorf("claim refreshes: %w", err)
	}
	due, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Refreshing, error) { return r.store.scanRefreshing(row, lease) })
	if err != nil {
		return nil, fmt.Errorf("claim refreshes: %w", err)
	}
	return due, nil
}

func (s *Store) scanRefreshing(row pgx.CollectableRow, lease uuid.UUID) (Refreshing, error) {
	var now, due time.Time
	var sealed []byte
	r := Refreshing{Lease: lease}
	a, err := s.scanWhole(row, &now, &due, &sealed, &r.Lost)
	if err != nil {
		return Refreshing{}, err
	}
	left := func(t time.Time) time.Duration {
		if t.IsZero() {
			return 0
		}
		return t.Sub(now)
	}
	r.ID, r.Provider, r.Status, r.TokenVersion = a.ID, a.Provider, a.Status, a.TokenVersion
	r.DueFor, r.ExpiresIn, r.GrantEndsIn = now.Sub(due), left(a.ExpiresAt), left(a.RefreshExpiresAt)
	r.Failures, r.Class = a.FailureCount, a.FailureClass
	refresh := s.opener(sealed, place("refresh_token", a.Provider, a.ProviderAccountID))
	r.Open = func() (connectors.Account, connectors.Secret, error) {
		account, err1 := a.Open()
		token, err2 := refresh()
		return account, token, errors.Join(err1, err2)
	}
	return r, nil
}

// A refresh that is under way, or whose outcome is awaited, is the one that is
// asked for; one that has just failed is not tried again at once because somebody
// asks.
const makeDueSQL = `
UPDATE oauth_accounts SET refresh_after = now()
WHERE id = $1 AND (token_version = $2 OR $2 = 0) AND status IN ('active', 'reauth_required')
  AND (lease_until IS NULL OR lease_until <= now()) AND (quiet_at IS NULL OR quiet_at <= now())
  AND (refresh_after IS NULL OR refresh_after > now()) AND (failed_at IS NULL OR failed_at <= now() - $3::interval)`

// MakeDue makes it the turn of an account now, if it still has the tokens of
// tokenVersion (0: whichever it has), and says whether that changed anything: it
// does not while a refresh is under way, nor within rest of one that failed.
func (r *Refreshes) MakeDue(ctx context.Context, id uuid.UUID, tokenVersion int64, rest time.Duration) (bool, error) {
	tag, err := r.store.pool.Exec(ctx, makeDueSQL, id, tokenVersion, rest)
	if err != nil {
		return false, fmt.Errorf("make account due: %w", err)
	}
	return tag.RowsAffected() > 0, nil
}

// DueRefreshes is how much waits to be refreshed at a provider.
type DueRefreshes struct {
	Provider string
	Due      int           // accounts whose turn has come and whom nobody works on
	Overdue  int           // of them, those whose turn came longer ago than asked for
	Oldest   time.Duration // since the turn came of the one that waits longest
}

const dueRefreshesSQL = `
SELECT provider, count(*), count(*) FILTER (WHERE refresh_after <= now() - $1::interval), extract(epoch FROM now() - min(refresh_after))::float8
FROM oauth_accounts WHERE refresh_after <= now() AND status IN ('active', 'reauth_required') GROUP BY provider`

// Due counts what is due, by provider.
func (r *Refreshes) Due(ctx context.Context, overdue time.Duration) ([]DueRefreshes, error) {
	rows, err := r.store.pool.Query(ctx, dueRefreshesSQL, overdue)
	if err != nil {
		return nil, fmt.Errorf("count due refreshes: %w", err)
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (d DueRefreshes, err error) {
		var seconds float64
		err = row.Scan(&d.Provider, &d.Due, &d.Overdue, &seconds)
		d.Oldest = time.Duration(seconds * float64(time.Second))
		return d, err
	})
	if err != nil {
		return nil, fmt.Errorf("count due refreshes: %w", err)
	}
	return out, nil
}
