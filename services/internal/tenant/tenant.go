// Package tenant knows who calls: the users of upstream systems, each a tenant,
// and the API keys by which they are recognized. All SQL on users and api_keys
// that is not a join of another package is here.
//
// A key is "pb_" and 32 random bytes in base64url. The database keeps its
// SHA-256 and nothing else: with that much randomness a slow hash adds nothing,
// and a lookup by the hash tells by its timing nothing about any key, because
// nobody can choose what a hash begins with.
//
// A key that was found valid is believed for a moment (Config.Believe, two
// seconds by default) without asking the database, never past its expiry. So a
// revoked key stops at once in the process that revoked it, and in every other
// process within that moment.
package tenant

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
)

// ErrUnauthorized means that a key is unknown, malformed, expired or revoked.
// Which of these it is is not told: it would help only somebody who guesses.
var ErrUnauthorized = errors.New("unauthorized")

// ErrNoUser means that there is no such user, or that she is being deleted.
var ErrNoUser = errors.New("no such user")

// ErrTaken means that a key's value belongs to another user already.
var ErrTaken = errors.New("key belongs to another user")

// Scope is something that a key allows.
type Scope string

// The scopes of a key.
const (
	ScopePublish  Scope = "publish"   // publish, and see and stop what was published
	ScopeOnBehalf Scope = "on_behalf" // name another user in a call
	ScopeAccounts Scope = "accounts"  // connect, see and disconnect OAuth accounts
	ScopeAdmin    Scope = "admin"     // users, keys, and deciding what nobody knows the outcome of; with ScopeOnBehalf, of everybody
)

// Scopes are all scopes, for callers that offer a choice.
func Scopes() []Scope { return []Scope{ScopePublish, ScopeOnBehalf, ScopeAccounts, ScopeAdmin} }

// Caller is who a key belongs to.
type Caller struct {
	UserID     uuid.UUID
	KeyID      uuid.UUID
	ExternalID string // the upstream's own id of the user
	Scopes     []Scope
	ExpiresAt  time.Time // of the key; zero: never
}

// May says whether the caller's key has a scope.
func (c Caller) May(s Scope) bool { return slices.Contains(c.Scopes, s) }

// Config says where users and keys are kept.
type Config struct {
	Pool *pgxpool.Pool // required
	// Believe is how long a key that was found valid is not looked up again;
	// default 2 s, negative never. It bounds how long a revoked key works in
	// other processes.
	Believe time.Duration
	// MaxBelieved is how many keys are remembered so; default 10,000, about
	// 200 bytes each.
	MaxBelieved int
	Now         func() time.Time // monotonic; default time.Now
}

// Keys recognizes callers and keeps users and keys. It is safe for concurrent use.
type Keys struct {
	pool     *pgxpool.Pool
	now      func() time.Time
	believe  time.Duration
	believed believed
}

// New returns the Keys of a database.
func New(c Config) (*Keys, error) {
	if c.Pool == nil {
		return nil, errors.New("make keys: no database")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Keys{
		pool: c.Pool, now: c.Now, believe: cmp.Or(c.Believe, 2*time.Second),
		believed: believed{max: cmp.Or(c.MaxBelieved, 10_000), callers: map[hash]belief{}},
	}, nil
}
