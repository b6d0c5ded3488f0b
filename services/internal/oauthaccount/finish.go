package oauthaccount

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"postbus.dev/events"
	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/tenant"
)

// Leaving is an account whose disconnecting is due.
type Leaving struct {
	Account
	Drained bool // its publishes have ended; else waiting for them has

	refresh func() (connectors.Secret, error)
}

// Open opens both tokens, to be revoked. They are empty where they were shredded.
func (l Leaving) Open() (connectors.Account, connectors.Secret, error) {
	a, err := l.Account.Open()
	if err != nil {
		return connectors.Account{}, connectors.Secret{}, err
	}
	refresh, err := l.refresh()
	if err != nil {
		return connectors.Account{}, connectors.Secret{}, err
	}
	return a, refresh, nil
}

const claimSQL = `
WITH due AS MATERIALIZED (
  SELECT id FROM oauth_accounts WHERE disconnect_next_at <= now() ORDER BY disconnect_next_at LIMIT $1 FOR UPDATE SKIP LOCKED),
a AS (
  UPDATE oauth_accounts o SET disconnect_next_at = now() + $2 FROM due WHERE o.id = due.id RETURNING o.*)
SELECT a.refresh_token, a.drained_at IS NOT NULL, ` + whole + ` FROM a JOIN users u ON u.id = a.user_id`

// ClaimDisconnects takes accounts whose disconnecting is due, for as long as
// lease: then they are due again for whoever asks, unless FinishDisconnect was
// called.
func (s *Store) ClaimDisconnects(ctx context.Context, limit int, lease time.Duration) ([]Leaving, error) {
	rows, err := s.pool.Query(ctx, claimSQL, limit, lease)
	if err != nil {
		return nil, fmt.Errorf("claim disconnecting accounts: %w", err)
	}
	due, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (l Leaving, err error) {
		var sealed []byte
		if l.Account, err = s.scanWhole(row, &sealed, &l.Drained); err != nil {
			return Leaving{}, err
		}
		l.refresh = s.opener(sealed, place("refresh_token", l.Provider, l.ProviderAccountID))
		return l, nil
	})
	if err != nil {
		return nil, fmt.Errorf("claim disconnecting accounts: %w", err)
	}
	return due, nil
}

// ErrChanged means that an account is not as it was claimed any more: somebody
// else has finished it, its tokens were refreshed, or more is asked for.
var ErrChanged = errors.New("the account has changed since it was claimed")

// The new token_version makes the answer of a refresh that is under way worthless.
const shredSQL = `
WITH a AS (
  UPDATE oauth_accounts SET status = 'disconnected', access_token = NULL, refresh_token = NULL, expires_at = NULL,
    refresh_expires_at = NULL, refresh_after = NULL, lease_owner = NULL, lease_until = NULL, send_by = NULL, quiet_at = NULL,
    failure_count = 0, failure_class = NULL, failed_at = NULL, disconnect_next_at = NULL,
    token_version = token_version + 1, version = version + 1, updated_at = now()
  WHERE id = $1 RETURNING *)
SELECT ` + whole + ` FROM a JOIN users u ON u.id = a.user_id`

// FinishDisconnect shreds the tokens of an account as it was claimed, or erases
// it, and says whether the provider takes them no more. The error may be
// ErrChanged.
func (s *Store) FinishDisconnect(ctx context.Context, l Leaving, revoked bool) error {
	if l.Erase { // that is not taken back: what is long is done before the transaction
		if err := tenant.Blank(ctx, s.pool, l.UserID, l.ID); err != nil {
			return fmt.Errorf("finish disconnecting: %w", err)
		}
	}
	err := s.change(ctx, func(tx pgx.Tx) ([]event.Event, error) {
		a, err := s.one(ctx, tx, lockSQL(`a.id = $1 AND a.version = $2 AND a.status = 'disconnecting'`), l.ID, l.Version)
		if errors.Is(err, ErrNotFound) {
			return nil, ErrChanged
		}
		if err != nil {
			return nil, err
		}
		if a.Erase {
			a, err = erase(ctx, tx, a)
		} else {
			a, err = s.one(ctx, tx, shredSQL, a.ID)
		}
		if err != nil {
			return nil, err
		}
		return s.tell(ctx, a, events.AccountDisconnected{AccountOwner: a.owner(), Reason: a.DisconnectReason, Revoked: revoked})
	})
	if err != nil {
		return fmt.Errorf("finish disconnecting: %w", err)
	}
	return nil
}

// erase deletes an account and returns it as the last event tells of it. The
// content of its publishes goes first: afterwards nobody knows whose they are.
func erase(ctx context.Context, tx pgx.Tx, a Account) (Account, error) {
	if err := tenant.Blank(ctx, tx, a.UserID, a.ID); err != nil {
		return Account{}, err
	}
	_, err := tx.Exec(ctx, `DELETE FROM oauth_accounts WHERE id = $1`, a.ID)
	a.Version++
	return a, err
}

// Backlog is what waits to be disconnected.
type Backlog struct {
	Accounts int
	Oldest   time.Duration // since it began
}

// Backlog counts the accounts that are being disconnected.
func (s *Store) Backlog(ctx context.Context) (Backlog, error) {
	var b Backlog
	var seconds float64
	err := s.pool.QueryRow(ctx, `SELECT count(*), coalesce(extract(epoch FROM now() - min(disconnecting_at)), 0)::float8
FROM oauth_accounts WHERE disconnect_next_at IS NOT NULL`).Scan(&b.Accounts, &seconds)
	if err != nil {
		return Backlog{}, fmt.Errorf("count disconnecting accounts: %w", err)
	}
	b.Oldest = time.Duration(seconds * float64(time.Second))
	return b, nil
}

// Leaver is a user who is being deleted, and for whom something can be done now.
type Leaver struct {
	UserID uuid.UUID
	Last   bool // no account is left; else there are some that have to be erased
}

const leaversSQL = `
SELECT u.id, n.accounts = 0 FROM users u
CROSS JOIN LATERAL (SELECT count(*) AS accounts, count(*) FILTER (WHERE NOT a.erase) AS stay FROM oauth_accounts a WHERE a.user_id = u.id) n
WHERE u.deleting_at IS NOT NULL AND (n.stay > 0 OR n.accounts = 0 AND u.deleting_at <= now() - $2::interval)
ORDER BY u.deleting_at LIMIT $1`

// Leavers returns up to limit users who are being deleted, those who have waited
// longest first: without those whose accounts all are on their way out, and those
// who have no account but asked for it less than settle ago.
func (s *Store) Leavers(ctx context.Context, limit int, settle time.Duration) ([]Leaver, error) {
	rows, err := s.pool.Query(ctx, leaversSQL, limit, settle)
	if err != nil {
		return nil, fmt.Errorf("find users who are being deleted: %w", err)
	}
	leavers, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Leaver])
	if err != nil {
		return nil, fmt.Errorf("find users who are being deleted: %w", err)
	}
	return leavers, nil
}
