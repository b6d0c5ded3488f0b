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

// Key is a key without its value.
type Key struct {
	ID         uuid.UUID
	Name       string
	Scopes     []Scope
	CreatedAt  time.Time
	ExpiresAt  time.Time // zero: never
	RevokedAt  time.Time // zero: it was not
	LastUsedAt time.Time // to the hour; zero: never
}

// KeySpec is a key to be made.
type KeySpec struct {
	UserID    uuid.UUID
	Name      string    // for people
	Scopes    []Scope   // at least one
	ExpiresAt time.Time // zero: never
	// Maker is the key that asks for this one; zero: no key does. A key that was
	// revoked or has expired makes no other, even where it is still believed.
	Maker uuid.UUID
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

// CreateKey makes a key and returns it and its value, which is nowhere else and
// cannot be shown again. ErrNoUser, and ErrUnauthorized where Maker is not valid.
func (k *Keys) CreateKey(ctx context.Context, spec KeySpec) (Key, connectors.Secret, error) {
	value := NewKey()
	key, err := createKey(ctx, k.pool, value, spec)
	if err != nil {
		return Key{}, connectors.Secret{}, fmt.Errorf("create key: %w", err)
	}
	return key, value, nil
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

// The lock makes a deletion of the user wait, which then revokes this key too, or
// be seen.
const createKeySQL = `
WITH owner AS (SELECT id FROM users WHERE id = $2 AND deleting_at IS NULL FOR SHARE),
maker AS (
  SELECT FROM api_keys WHERE id = $7 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
  UNION ALL SELECT WHERE $7 IS NULL),
made AS (
  INSERT INTO api_keys AS k (id, user_id, name, key_sha256, scopes, expires_at)
  SELECT $1, owner.id, $3, $4, $5, $6 FROM owner, maker
  ON CONFLICT (key_sha256) DO UPDATE SET name = excluded.name, scopes = excluded.scopes, expires_at = excluded.expires_at, revoked_at = NULL
  WHERE k.user_id = excluded.user_id
  RETURNING k.id, k.created_at)
SELECT EXISTS (SELECT FROM owner), EXISTS (SELECT FROM maker), made.id, made.created_at FROM (VALUES (1)) one LEFT JOIN made ON true`

func createKey(ctx context.Context, db queries, value connectors.Secret, spec KeySpec) (Key, error) {
	if !wellFormed(value.Reveal()) {
		return Key{}, fmt.Errorf("a key is %q and 32 bytes in base64url", keyPrefix)
	}
	if err := spec.valid(); err != nil {
		return Key{}, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return Key{}, err
	}
	var maker *uuid.UUID
	if spec.Maker != uuid.Nil {
		maker = &spec.Maker
	}
	sum := sha256.Sum256([]byte(value.Reveal()))
	rows, err := db.Query(ctx, createKeySQL, id, spec.UserID, spec.Name, sum[:], spec.Scopes, orNull(spec.ExpiresAt), maker)
	if err != nil {
		return Key{}, err
	}
	return pgx.CollectExactlyOneRow(rows, func(row pgx.CollectableRow) (Key, error) { return madeKey(row, spec) })
}

func madeKey(row pgx.CollectableRow, spec KeySpec) (Key, error) {
	key := Key{Name: spec.Name, Scopes: spec.Scopes, ExpiresAt: spec.ExpiresAt}
	var owner, maker bool
	var id *uuid.UUID
	var created *time.Time
	err := row.Scan(&owner, &maker, &id, &created)
	switch {
	case err != nil:
		return Key{}, err
	case !maker:
		return Key{}, ErrUnauthorized
	case !owner:
		return Key{}, ErrNoUser
	case id == nil:
		return Key{}, ErrTaken
	}
	key.ID, key.CreatedAt = *id, orZero(created)
	return key, nil
}

const keyColumns = `id, name, scopes, created_at, expires_at, revoked_at, last_used_at`

func scanKey(row pgx.CollectableRow) (Key, error) {
	var key Key
	var expires, revoked, used *time.Time
	err := row.Scan(&key.ID, &key.Name, &key.Scopes, &key.CreatedAt, &expires, &revoked, &used)
	key.ExpiresAt, key.RevokedAt, key.LastUsedAt = orZero(expires), orZero(revoked), orZero(used)
	return key, err
}

// List returns up to limit keys of a user, the oldest first, from the one after
// a key's id; the zero UUID is before all.
func (k *Keys) List(ctx context.Context, userID, after uuid.UUID, limit int) ([]Key, error) {
	rows, err := k.pool.Query(ctx, `SELECT `+keyColumns+` FROM api_keys WHERE user_id = $1 AND id > $2 ORDER BY id LIMIT $3`, userID, after, limit)
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	keys, err := pgx.CollectRows(rows, scanKey)
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	return keys, nil
}

// ErrNoKey means that the user has no such key.
var ErrNoKey = errors.New("no such key")

// Revoke ends a key of a user and returns it; one that was revoked before stays
// as it is. ErrNoKey.
func (k *Keys) Revoke(ctx context.Context, userID, keyID uuid.UUID) (Key, error) {
	defer k.believed.forget(func(c Caller) bool { return c.KeyID == keyID && c.UserID == userID }) // also where the answer was lost
	rows, err := k.pool.Query(ctx, `UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1 AND user_id = $2 RETURNING `+keyColumns, keyID, userID)
	if err != nil {
		return Key{}, fmt.Errorf("revoke key: %w", err)
	}
	key, err := pgx.CollectExactlyOneRow(rows, scanKey)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return Key{}, ErrNoKey
	case err != nil:
		return Key{}, fmt.Errorf("revoke key: %w", err)
	}
	return key, nil
}

func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
