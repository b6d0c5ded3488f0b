package tenant

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"postbus.dev/services/connectors"
)

const (
	keyPrefix = "pb_"
	keyLength = len(keyPrefix) + 43 // 32 bytes in base64url without padding
)

type hash = [sha256.Size]byte

// NewKey returns a fresh value for a key. It is of no use until CreateKey or
// EnsureLocal has written it down.
func NewKey() connectors.Secret {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails: it ends the process where there is no randomness
	return connectors.NewSecret(keyPrefix + base64.RawURLEncoding.EncodeToString(b[:]))
}

// wellFormed refuses what cannot be a key, without asking the database.
func wellFormed(value string) bool {
	if len(value) != keyLength || !strings.HasPrefix(value, keyPrefix) {
		return false
	}
	_, err := base64.RawURLEncoding.DecodeString(value[len(keyPrefix):])
	return err == nil
}

// KeySpec is a key to be made.
type KeySpec struct {
	UserID    uuid.UUID
	Name      string    // for people
	Scopes    []Scope   // at least one
	ExpiresAt time.Time // zero: never
}

func (s KeySpec) valid() error {
	if len(s.Scopes) == 0 {
		return errors.New("it has no scope")
	}
	for _, scope := range s.Scopes {
		if !slices.Contains(Scopes(), scope) {
			return fmt.Errorf("there is no scope %q", scope)
		}
	}
	return nil
}

// CreateKey makes a key and returns its id and its value, which is nowhere else
// and cannot be shown again.
func (k *Keys) CreateKey(ctx context.Context, spec KeySpec) (uuid.UUID, connectors.Secret, error) {
	value := NewKey()
	id, err := createKey(ctx, k.pool, value, spec)
	if err != nil {
		return uuid.UUID{}, connectors.Secret{}, fmt.Errorf("create key: %w", err)
	}
	return id, value, nil
}

// EnsureLocal makes the user externalID and a key of the given value with every
// scope, or makes valid again what is there. It is for the local system, whose
// key stands in a file of its data directory (made by NewKey) so that each
// start prints the same one. ErrTaken means that the value is another user's.
func (k *Keys) EnsureLocal(ctx context.Context, externalID string, value connectors.Secret) (User, error) {
	var u User
	err := pgx.BeginFunc(ctx, k.pool, func(tx pgx.Tx) (err error) {
		if u, err = createUser(ctx, tx, externalID); err != nil {
			return err
		}
		_, err = createKey(ctx, tx, value, KeySpec{UserID: u.ID, Name: "local", Scopes: Scopes()})
		return err
	})
	if err != nil {
		return User{}, fmt.Errorf("ensure local user and key: %w", err)
	}
	return u, nil
}

func createKey(ctx context.Context, db querier, value connectors.Secret, spec KeySpec) (uuid.UUID, error) {
	if !wellFormed(value.Reveal()) {
		return uuid.UUID{}, fmt.Errorf("a key is %q and 32 bytes in base64url", keyPrefix)
	}
	if err := spec.valid(); err != nil {
		return uuid.UUID{}, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return uuid.UUID{}, err
	}
	var expires *time.Time
	if !spec.ExpiresAt.IsZero() {
		expires = &spec.ExpiresAt
	}
	sum := sha256.Sum256([]byte(value.Reveal()))
	err = db.QueryRow(ctx, `INSERT INTO api_keys AS k (id, user_id, name, key_sha256, scopes, expires_at) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (key_sha256) DO UPDATE SET name = excluded.name, scopes = excluded.scopes, expires_at = excluded.expires_at, revoked_at = NULL
WHERE k.user_id = excluded.user_id RETURNING id`, id, spec.UserID, spec.Name, sum[:], spec.Scopes, expires).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return uuid.UUID{}, ErrTaken
	}
	return id, err
}

// Revoke ends a key of a user. It says whether the user has such a key; one that
// was revoked before stays so.
func (k *Keys) Revoke(ctx context.Context, userID, keyID uuid.UUID) (bool, error) {
	var sum []byte
	err := k.pool.QueryRow(ctx, `UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1 AND user_id = $2
RETURNING key_sha256`, keyID, userID).Scan(&sum)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("revoke key: %w", err)
	}
	k.believed.forget(hash(sum))
	return true, nil
}
