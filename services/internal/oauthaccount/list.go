package oauthaccount

import (
	"context"
	"errors"
	"fmt"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"postbus.dev/events"
)

// Why an account cannot be worked with.
var (
	// ErrNotFound: there is no such account, or it is another user's.
	ErrNotFound = errors.New("no such account")
	// ErrNotConnected: it is disconnected, or being disconnected.
	ErrNotConnected = errors.New("the account is not connected")
)

// querier is a pool or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// all reads rows of whole.
func (s *Store) all(ctx context.Context, db querier, sql string, args ...any) ([]Account, error) {
	rows, err := db.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (Account, error) { return s.scanWhole(row) })
}

// one reads one row of whole, or returns ErrNotFound.
func (s *Store) one(ctx context.Context, db querier, sql string, args ...any) (Account, error) {
	accounts, err := s.all(ctx, db, sql, args...)
	if err != nil {
		return Account{}, err
	}
	if len(accounts) == 0 {
		return Account{}, ErrNotFound
	}
	return accounts[0], nil
}

const oneSQL = `
SELECT ` + whole + ` FROM oauth_accounts a JOIN users u ON u.id = a.user_id
WHERE a.id = $1 AND a.user_id = $2`

// One reads an account of a user. Somebody else's is ErrNotFound too.
func (s *Store) One(ctx context.Context, userID, id uuid.UUID) (Account, error) {
	a, err := s.one(ctx, s.pool, oneSQL, id, userID)
	if err != nil {
		return Account{}, fmt.Errorf("read account: %w", err)
	}
	return a, nil
}

// Find returns the accounts at a provider, of whomever, that one of the keys
// names; see Select.
func (s *Store) Find(ctx context.Context, provider string, keys []string) ([]Account, error) {
	where, args, err := Select{Provider: provider, Keys: keys}.where()
	if err != nil {
		return nil, fmt.Errorf("find accounts by name: %w", err)
	}
	accounts, err := s.all(ctx, s.pool, `SELECT `+whole+` FROM oauth_accounts a JOIN users u ON u.id = a.user_id WHERE `+where, args...)
	if err != nil {
		return nil, fmt.Errorf("find accounts by name: %w", err)
	}
	return accounts, nil
}

// Filter says which accounts of a user are listed.
type Filter struct {
	UserID   uuid.UUID // required
	Provider string    // "" for all
	Status   Status    // "" for all
	After    uuid.UUID // the last id of the page before
	Limit    int       // of this page; required
}

const listSQL = `
SELECT ` + whole + ` FROM oauth_accounts a JOIN users u ON u.id = a.user_id
WHERE a.user_id = $1 AND ($2 = '' OR a.provider = $2) AND ($3 = '' OR a.status = $3) AND a.id > $4
ORDER BY a.id LIMIT $5`

// List reads a page of accounts, by id: those that were connected first come
// first.
func (s *Store) List(ctx context.Context, f Filter) ([]Account, error) {
	if f.UserID == uuid.Nil || f.Limit < 1 {
		return nil, errors.New("list accounts: a user and a limit are required")
	}
	if f.Provider != "" && !storable(f.Provider) || f.Status != "" && !storable(string(f.Status)) {
		return nil, nil
	}
	accounts, err := s.all(ctx, s.pool, listSQL, f.UserID, f.Provider, f.Status, f.After, f.Limit)
	if err != nil {
		return nil, fmt.Errorf("list accounts: %w", err)
	}
	return accounts, nil
}

// RequestRefresh asks for new tokens of a user's account, from those that it has
// now. The error may be ErrNotFound or ErrNotConnected.
func (s *Store) RequestRefresh(ctx context.Context, userID, id uuid.UUID) error {
	err := s.change(ctx, func(tx pgx.Tx) ([]event.Event, error) {
		a, err := s.one(ctx, tx, oneSQL, id, userID)
		if err != nil {
			return nil, err
		}
		if !a.Status.Connected() {
			return nil, ErrNotConnected
		}
		return s.tell(ctx, a, events.TokenRefreshRequested{
			AccountID: a.ID.String(), Provider: a.Provider, TokenVersion: a.TokenVersion, Reason: "asked for",
		})
	})
	if err != nil {
		return fmt.Errorf("request refresh: %w", err)
	}
	return nil
}
