package oauthaccount

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"postbus.dev/events"
	"postbus.dev/services/connectors"
)

// Why an account is not connected.
var (
	// ErrTaken: it belongs to another user, or still does.
	ErrTaken = errors.New("the account is connected by another user")
	// ErrDisconnecting: it is being disconnected. Try again in a few minutes.
	ErrDisconnecting = errors.New("the account is being disconnected")
	// ErrUserGone: there is no such user, or she is being deleted.
	ErrUserGone = errors.New("the user does not exist or is being deleted")
)

// New is an account to be connected.
type New struct {
	UserID            uuid.UUID
	Provider          string
	ProviderAccountID string
	Username          string
	AccessToken       connectors.Secret
	RefreshToken      connectors.Secret // empty where the provider gave none
	TokenType         string            // "" for "bearer"
	Scope             string
	ExpiresAt         time.Time       // zero: does not expire
	RefreshExpiresAt  time.Time       // zero: does not expire, or there is none
	RefreshAfter      time.Time       // zero: nothing to refresh
	Metadata          json.RawMessage // nil: none, or what is known already
}

// Connected is what Connect did.
type Connected struct {
	Account     Account
	Reconnected bool // the account was known, under the same id
	Recovered   bool // and a person had to reconnect it
}

// Connect writes the account with its tokens sealed, or gives the user's account
// that is there the new ones and makes it active, whatever it was before. An
// account that another user has disconnected becomes this user's: a new row with
// a new id. The error may be ErrTaken, ErrDisconnecting or ErrUserGone.
func (s *Store) Connect(ctx context.Context, n New) (Connected, error) {
	r, err := s.seal(n)
	if err != nil {
		return Connected{}, fmt.Errorf("connect account: %w", err)
	}
	var c Connected
	err = s.change(ctx, func(tx pgx.Tx) ([]event.Event, error) {
		if err := userStays(ctx, tx, n.UserID); err != nil {
			return nil, err
		}
		if c, err = s.put(ctx, tx, r); err != nil {
			return nil, err
		}
		return s.tell(ctx, c.Account, c.events()...)
	})
	if err != nil {
		return Connected{}, fmt.Errorf("connect account: %w", err)
	}
	return c, nil
}

func (c Connected) events() []events.Data {
	a := c.Account
	all := []events.Data{events.AccountConnected{
		AccountOwner: a.owner(), ProviderAccountID: a.ProviderAccountID, Username: a.Username, Scope: a.Scope, Reconnected: c.Reconnected,
	}}
	if c.Recovered {
		all = append(all, events.AccountRecovered{AccountOwner: a.owner()})
	}
	return all
}

// row is a New as it is stored.
type row struct {
	New
	id              uuid.UUID // where it is a new one
	access, refresh []byte
}

// args are $2 and what follows.
func (r row) args() []any {
	return []any{r.Username, r.access, r.refresh, r.TokenType, r.Scope,
		orNull(r.ExpiresAt), orNull(r.RefreshExpiresAt), orNull(r.RefreshAfter), r.Metadata}
}

func (s *Store) seal(n New) (r row, err error) {
	r.New = n
	if r.id, err = uuid.NewV7(); err != nil {
		return r, err
	}
	if r.access, err = s.sealer.Seal(n.AccessToken, place("access_token", n.Provider, n.ProviderAccountID)); err != nil {
		return r, err
	}
	if !n.RefreshToken.Empty() {
		r.refresh, err = s.sealer.Seal(n.RefreshToken, place("refresh_token", n.Provider, n.ProviderAccountID))
	}
	return r, err
}

// userStays keeps the user from being deleted until tx ends. Whoever asks for
// the deletion meanwhile waits, and then finds the account that tx has written.
func userStays(ctx context.Context, tx pgx.Tx, id uuid.UUID) error {
	var leaves bool
	err := tx.QueryRow(ctx, `SELECT deleting_at IS NOT NULL FROM users WHERE id = $1 FOR SHARE`, id).Scan(&leaves)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && leaves {
		return ErrUserGone
	}
	return err
}

const insertSQL = `
WITH a AS (
  INSERT INTO oauth_accounts (id, username, access_token, refresh_token, token_type, scope, expires_at, refresh_expires_at,
    refresh_after, metadata, user_id, provider, provider_account_id)
  VALUES ($1, $2, $3, $4, coalesce(nullif($5, ''), 'bearer'), $6, $7, $8, $9, coalesce($10::jsonb, '{}'), $11, $12, $13)
  ON CONFLICT (provider, provider_account_id) DO NOTHING
  RETURNING *)
SELECT ` + whole + ` FROM a JOIN users u ON u.id = a.user_id`

const findSQL = `
SELECT ` + whole + ` FROM oauth_accounts a JOIN users u ON u.id = a.user_id
WHERE a.provider = $1 AND a.provider_account_id = $2 FOR UPDATE OF a`

// A reconnect brings new tokens and ends every trouble with the old ones, also a
// refresh of them that is under way: its answer meets another token_version. A
// refresh token that it lacks does not take away the one that is there. The
// version rises by one an event, of which a recovery is the second.
const reconnectSQL = `
WITH a AS (
  UPDATE oauth_accounts a SET
    username = $2, access_token = $3, refresh_token = coalesce($4, a.refresh_token),
    token_type = coalesce(nullif($5, ''), 'bearer'), scope = $6, expires_at = $7,
    refresh_expires_at = CASE WHEN $4::bytea IS NULL THEN a.refresh_expires_at ELSE $8 END,
    refresh_after = $9, metadata = coalesce($10::jsonb, a.metadata), status = 'active',
    failure_count = 0, failure_class = NULL, failed_at = NULL, expiring_told = false,
    lease_owner = NULL, lease_until = NULL, send_by = NULL, quiet_at = NULL,
    disconnect_reason = NULL, disconnecting_at = NULL, drained_at = NULL,
    token_version = a.token_version + 1, connected_at = now(), updated_at = now(),
    version = a.version + CASE a.status WHEN 'reauth_required' THEN 2 ELSE 1 END
  WHERE a.id = $1
  RETURNING *)
SELECT ` + whole + ` FROM a JOIN users u ON u.id = a.user_id`

// put inserts the account, or changes the row that is there. It goes round again
// where that row was deleted meanwhile: by somebody else, or here.
func (s *Store) put(ctx context.Context, tx pgx.Tx, r row) (Connected, error) {
	const rounds = 5
	for range rounds {
		a, err := s.one(ctx, tx, insertSQL, append(append([]any{r.id}, r.args()...), r.UserID, r.Provider, r.ProviderAccountID)...)
		if !errors.Is(err, ErrNotFound) {
			return Connected{Account: a}, err
		}
		old, err := s.one(ctx, tx, findSQL, r.Provider, r.ProviderAccountID)
		switch {
		case errors.Is(err, ErrNotFound):
			continue
		case err != nil:
			return Connected{}, err
		case old.UserID == r.UserID:
			return s.reconnect(ctx, tx, old, r)
		case old.Status != Disconnected:
			return Connected{}, ErrTaken
		}
		if _, err := tx.Exec(ctx, supersedeSQL, old.ID); err != nil {
			return Connected{}, err
		}
	}
	return Connected{}, ErrTaken // in this very moment by others, again and again
}

func (s *Store) reconnect(ctx context.Context, tx pgx.Tx, old Account, r row) (Connected, error) {
	if old.Status == Disconnecting {
		return Connected{}, ErrDisconnecting
	}
	a, err := s.one(ctx, tx, reconnectSQL, append([]any{old.ID}, r.args()...)...)
	return Connected{Account: a, Reconnected: true, Recovered: old.Status == ReauthRequired}, err
}

func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
