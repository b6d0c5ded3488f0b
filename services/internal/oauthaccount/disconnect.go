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
	"postbus.dev/services/internal/outbox"
)

// DrainLimit is how long an account that is being disconnected waits for its
// publishes.
const DrainLimit = 10 * time.Minute

// Select names accounts in one of three ways: by ID, with UserID only where it
// is that user's; all of UserID; or those at Provider whose provider account id,
// or whose "callback_id" in Metadata, is one of Keys, and which were last
// connected by ConnectedBy; the zero time is any.
type Select struct {
	ID          uuid.UUID
	UserID      uuid.UUID
	Provider    string
	Keys        []string
	ConnectedBy time.Time
}

// where returns the condition on a, whose arguments begin with $1.
func (sel Select) where() (string, []any, error) {
	switch {
	case sel.ID != uuid.Nil && sel.UserID != uuid.Nil:
		return `a.id = $1 AND a.user_id = $2`, []any{sel.ID, sel.UserID}, nil
	case sel.ID != uuid.Nil:
		return `a.id = $1`, []any{sel.ID}, nil
	case sel.UserID != uuid.Nil:
		return `a.user_id = $1`, []any{sel.UserID}, nil
	case storable(sel.Provider):
		return `a.provider = $1 AND (a.provider_account_id = ANY ($2) OR a.metadata ->> 'callback_id' = ANY ($2))
  AND a.connected_at <= coalesce($3::timestamptz, 'infinity')`, []any{sel.Provider, allStorable(sel.Keys), orNull(sel.ConnectedBy)}, nil
	}
	return "", nil, errors.New("no account, user or provider is named")
}

func lockSQL(where string) string {
	return `SELECT ` + whole + ` FROM oauth_accounts a JOIN users u ON u.id = a.user_id WHERE ` + where + ` ORDER BY a.id FOR UPDATE OF a`
}

const beginSQL = `
WITH a AS (
  UPDATE oauth_accounts SET status = 'disconnecting', disconnect_reason = $2, erase = $3, disconnecting_at = now(),
    disconnect_next_at = now() + $4, drained_at = NULL, disconnect_version = version + 1, version = version + 1, updated_at = now()
  WHERE id = $1 RETURNING *)
SELECT ` + whole + ` FROM a JOIN users u ON u.id = a.user_id`

// What is being disconnected keeps its times: its publishes are being stopped
// already.
const eraseTooSQL = `
WITH a AS (
  UPDATE oauth_accounts SET disconnect_reason = $2, erase = true, version = version + 1, updated_at = now()
  WHERE id = $1 RETURNING *)
SELECT ` + whole + ` FROM a JOIN users u ON u.id = a.user_id`

// Disconnect begins to disconnect the selected accounts, and returns them as they
// are now. With erase the row of each goes at the end, and the content of its
// publishes; this also concerns what is disconnected, or about to be, without it.
// Asked for again, it changes nothing.
func (s *Store) Disconnect(ctx context.Context, sel Select, reason string, erase bool) (accounts []Account, err error) {
	err = s.change(ctx, func(tx pgx.Tx) (evs []event.Event, err error) {
		accounts, evs, err = s.disconnect(ctx, tx, sel, reason, erase)
		return evs, err
	})
	if err != nil {
		return nil, fmt.Errorf("disconnect accounts: %w", err)
	}
	return accounts, nil
}

// DisconnectIn is Disconnect in a transaction of the caller's, who wakes the
// relay after the commit.
func (s *Store) DisconnectIn(ctx context.Context, tx pgx.Tx, sel Select, reason string, erase bool) ([]Account, error) {
	accounts, evs, err := s.disconnect(ctx, tx, sel, reason, erase)
	if err == nil {
		err = s.writes()
	}
	if err == nil {
		err = outbox.Append(ctx, tx, s.cfg.Service, evs...)
	}
	if err != nil {
		return nil, fmt.Errorf("disconnect accounts: %w", err)
	}
	return accounts, nil
}

func (s *Store) disconnect(ctx context.Context, tx pgx.Tx, sel Select, reason string, erase bool) ([]Account, []event.Event, error) {
	where, args, err := sel.where()
	if err != nil {
		return nil, nil, err
	}
	accounts, err := s.all(ctx, tx, lockSQL(where), args...)
	if err != nil {
		return nil, nil, err
	}
	var evs []event.Event
	for i, a := range accounts {
		moved, err := s.begin(ctx, tx, a, reason, erase)
		if err != nil {
			return nil, nil, err
		}
		if moved.Version == a.Version {
			continue
		}
		accounts[i] = moved
		e, err := s.tell(ctx, moved, events.AccountDisconnecting{
			AccountOwner: moved.owner(), Reason: reason, UserDeleted: reason == events.DisconnectUserDeleted,
		})
		if err != nil {
			return nil, nil, err
		}
		evs = append(evs, e...)
	}
	return accounts, evs, nil
}

// begin moves one account, or leaves it where there is nothing to begin.
func (s *Store) begin(ctx context.Context, tx pgx.Tx, a Account, reason string, erase bool) (Account, error) {
	switch {
	case a.Status.Connected(), a.Status == Disconnected && erase:
		return s.one(ctx, tx, beginSQL, a.ID, reason, erase, DrainLimit)
	case a.Status == Disconnecting && erase && !a.Erase:
		return s.one(ctx, tx, eraseTooSQL, a.ID, reason)
	}
	return a, nil
}

// Drained says that no publish of an account is left that could act, as of the
// account's version: what was said of an earlier disconnecting does not count.
// An account that waits for nothing of the kind stays as it is.
func (s *Store) Drained(ctx context.Context, id uuid.UUID, version int64) error {
	_, err := s.pool.Exec(ctx, `UPDATE oauth_accounts SET drained_at = now(), disconnect_next_at = now(), updated_at = now()
WHERE id = $1 AND status = 'disconnecting' AND drained_at IS NULL AND disconnect_version <= $2`, id, version)
	if err != nil {
		return fmt.Errorf("note drained account: %w", err)
	}
	return nil
}
