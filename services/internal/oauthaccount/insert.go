package oauthaccount

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"postbus.dev/services/connectors"
)

// ErrTaken means that a provider's account is connected by another user, or is
// being disconnected.
var ErrTaken = errors.New("account is connected by another user or being disconnected")

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
	Metadata          json.RawMessage // nil for {}
}

// A reconnect brings new tokens and ends every trouble with the old ones. A
// refresh token that it lacks does not take away the one that is there.
const insertSQL = `
INSERT INTO oauth_accounts AS a (id, user_id, provider, provider_account_id, username, access_token, refresh_token, token_type,
  scope, expires_at, refresh_expires_at, refresh_after, metadata)
VALUES ($1, $2, $3, $4, $5, $6, $7, coalesce(nullif($8, ''), 'bearer'), $9, $10, $11, $12, coalesce($13::jsonb, '{}'))
ON CONFLICT (provider, provider_account_id) DO UPDATE SET
  username = excluded.username, access_token = excluded.access_token,
  refresh_token = coalesce(excluded.refresh_token, a.refresh_token), token_type = excluded.token_type, scope = excluded.scope,
  expires_at = excluded.expires_at,
  refresh_expires_at = CASE WHEN excluded.refresh_token IS NULL THEN a.refresh_expires_at ELSE excluded.refresh_expires_at END,
  refresh_after = excluded.refresh_after, metadata = excluded.metadata, status = 'active',
  failure_count = 0, failure_class = NULL, failed_at = NULL,
  token_version = a.token_version + 1, version = a.version + 1, updated_at = now()
WHERE a.user_id = excluded.user_id AND a.status <> 'disconnecting'
RETURNING id`

// Insert seals the tokens of n and writes the account, or gives the user's
// account that is there the new tokens and makes it active. It returns its id.
func (s *Store) Insert(ctx context.Context, n New) (uuid.UUID, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return uuid.UUID{}, fmt.Errorf("insert account: %w", err)
	}
	access, err := s.sealer.Seal(n.AccessToken, place("access_token", n.Provider, n.ProviderAccountID))
	if err != nil {
		return uuid.UUID{}, fmt.Errorf("insert account: %w", err)
	}
	var refresh []byte
	if !n.RefreshToken.Empty() {
		if refresh, err = s.sealer.Seal(n.RefreshToken, place("refresh_token", n.Provider, n.ProviderAccountID)); err != nil {
			return uuid.UUID{}, fmt.Errorf("insert account: %w", err)
		}
	}
	err = s.pool.QueryRow(ctx, insertSQL, id, n.UserID, n.Provider, n.ProviderAccountID, n.Username, access, refresh, n.TokenType,
		n.Scope, orNull(n.ExpiresAt), orNull(n.RefreshExpiresAt), orNull(n.RefreshAfter), n.Metadata).Scan(&id)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return uuid.UUID{}, fmt.Errorf("insert account: %w", ErrTaken)
	case err != nil:
		return uuid.UUID{}, fmt.Errorf("insert account: %w", err)
	}
	return id, nil
}

func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
