package tenant

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// last_used_at is kept to the hour: a key in use costs a commit an hour, not
// one a call.
const authenticateSQL = `
WITH found AS MATERIALIZED (
  SELECT k.id, k.user_id, u.external_id, k.scopes, k.expires_at, k.expires_at - now() AS rest
  FROM api_keys k JOIN users u ON u.id = k.user_id
  WHERE k.key_sha256 = $1 AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
    AND u.deleting_at IS NULL),
used AS (
  UPDATE api_keys k SET last_used_at = now() FROM found f
  WHERE k.id = f.id AND (k.last_used_at IS NULL OR k.last_used_at < now() - interval '1 hour'))
SELECT id, user_id, external_id, scopes, expires_at, (extract(epoch FROM found.rest) * 1000000)::bigint FROM found`

// Authenticate returns the caller whose key is bearer: what follows "Bearer "
// in an Authorization header. ErrUnauthorized means that there is none; any
// other error is the database's, and says nothing about the key.
func (k *Keys) Authenticate(ctx context.Context, bearer string) (Caller, error) {
	if !wellFormed(bearer) {
		return Caller{}, ErrUnauthorized
	}
	sum := sha256.Sum256([]byte(bearer))
	began := k.now()
	c, revoked, ok := k.believed.find(sum, began)
	if ok {
		return c, nil
	}
	var expires *time.Time
	var micros *int64 // until then, by the database's clock
	err := k.pool.QueryRow(ctx, authenticateSQL, sum[:]).Scan(&c.KeyID, &c.UserID, &c.ExternalID, &c.Scopes, &expires, &micros)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return Caller{}, ErrUnauthorized
	case err != nil:
		return Caller{}, fmt.Errorf("authenticate: %w", err)
	}
	c.ExpiresAt = orZero(expires)
	if until := k.until(began, micros); until.After(began) {
		k.believed.add(sum, belief{caller: c, until: until}, revoked)
	}
	return c, nil
}

// until is when the key must be looked up again: Config.Believe from began,
// when the database had not been asked yet, and not past its expiry.
func (k *Keys) until(began time.Time, expires *int64) time.Time {
	keep := k.believe
	if expires != nil {
		keep = min(keep, time.Duration(*expires)*time.Microsecond)
	}
	return began.Add(keep)
}

// believed is what the database said a moment ago. Only valid keys are in it: a
// new key works at once.
type believed struct {
	max int

	mu      sync.Mutex
	callers map[hash]belief
	revoked int // how often forget was called
}

type belief struct {
	caller Caller
	until  time.Time
}

// find returns, beside the caller, the count of revocations for add.
func (b *believed) find(sum hash, now time.Time) (Caller, int, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f, ok := b.callers[sum]
	if ok && now.Before(f.until) {
		return f.caller, b.revoked, true
	}
	return Caller{}, b.revoked, false
}

// add remembers f unless a key was revoked since find: the database may have
// been read before that, and the answer is old.
func (b *believed) add(sum hash, f belief, revoked int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.revoked != revoked {
		return
	}
	if len(b.callers) >= b.max {
		clear(b.callers) // all are a few seconds old at most: asking again is cheaper than sorting
	}
	b.callers[sum] = f
}

// forget drops the callers that gone names.
func (b *believed) forget(gone func(Caller) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	maps.DeleteFunc(b.callers, func(_ hash, f belief) bool { return gone(f.caller) })
	b.revoked++
}
