// Package oauthaccounttest is a store of refreshes in memory, for simulations:
// its clock is its owner's, and it is held to the same contract as PostgreSQL.
package oauthaccounttest

import (
	"cmp"
	"sync"
	"time"

	"github.com/google/uuid"

	"postbus.dev/events"
	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/oauthaccount"
)

// Told is an event that was stored with a change.
type Told struct {
	Sequence int64
	Data     events.Data
}

// MemoryConfig says how a Memory behaves.
type MemoryConfig struct {
	// Now is the database's clock.
	Now func() time.Time
	// Tell is called with each event, within the change that it is of. It must not
	// call the store; may be nil.
	Tell func(account uuid.UUID, t Told)
}

// Memory keeps accounts as the table oauth_accounts does. It is safe for
// concurrent use; each call is one transaction.
type Memory struct {
	cfg MemoryConfig

	mu   sync.Mutex
	rows map[uuid.UUID]*row
	ids  map[key]uuid.UUID
	due  map[string]*queue // by provider
}

type key struct{ provider, id string }

// row is a row of the table; a zero time is null. Of the state Armed and Quiet
// are what its times say.
type row struct {
	oauthaccount.RefreshState
	providerAccountID                   string
	access, refresh                     connectors.Secret
	tokenType, scope                    string
	expires, refreshExpires, refreshAt  time.Time
	leaseUntil, sendBy, quiet, failedAt time.Time
}

// NewMemory returns a store without an account.
func NewMemory(c MemoryConfig) *Memory {
	if c.Tell == nil {
		c.Tell = func(uuid.UUID, Told) {}
	}
	return &Memory{cfg: c, rows: map[uuid.UUID]*row{}, ids: map[key]uuid.UUID{}, due: map[string]*queue{}}
}

// Connect is Store.Connect, without its event: a new account, or new tokens for
// the one that is there.
func (m *Memory) Connect(n oauthaccount.New, userExternalID string) uuid.UUID {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := key{n.Provider, n.ProviderAccountID}
	r := m.rows[m.ids[k]]
	if r == nil {
		r = &row{providerAccountID: n.ProviderAccountID}
		r.ID, r.Provider, r.UserExternalID = uuid.New(), n.Provider, userExternalID
		m.rows[r.ID], m.ids[k] = r, r.ID
	}
	if !n.RefreshToken.Empty() {
		r.refresh, r.refreshExpires = n.RefreshToken, n.RefreshExpiresAt
	}
	if r.Version++; r.Status == oauthaccount.ReauthRequired {
		r.Version++
	}
	r.Status, r.access, r.TokenVersion = oauthaccount.Active, n.AccessToken, r.TokenVersion+1
	r.tokenType, r.scope, r.expires = cmp.Or(n.TokenType, "bearer"), n.Scope, n.ExpiresAt
	r.Failures, r.Class, r.failedAt, r.ExpiringTold = 0, "", time.Time{}, false
	r.Lease, r.leaseUntil, r.sendBy, r.quiet = uuid.Nil, time.Time{}, time.Time{}, time.Time{}
	m.move(r, n.RefreshAfter)
	return r.ID
}

// Disconnecting makes an account one of which nothing new may start.
func (m *Memory) Disconnecting(id uuid.UUID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rows[id].Status = oauthaccount.Disconnecting
	m.rows[id].Version++
}

// Delete takes an account away.
func (m *Memory) Delete(id uuid.UUID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.ids, key{m.rows[id].Provider, m.rows[id].providerAccountID})
	delete(m.rows, id)
}

// Row is how an account is stored.
type Row struct {
	Status                      oauthaccount.Status
	TokenVersion, Version       int64
	Access, Refresh             connectors.Secret
	TokenType, Scope            string
	ExpiresAt, GrantEndsAt      time.Time // zero: it does not
	RefreshAfter                time.Time // zero: it is never due
	LeaseUntil, SendBy, QuietAt time.Time // zero: there is none
	Failures                    int
	Class                       string
	FailedAt                    time.Time
}

// Row reads an account.
func (m *Memory) Row(id uuid.UUID) Row {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.rows[id]
	return Row{
		Status: r.Status, TokenVersion: r.TokenVersion, Version: r.Version, Access: r.access, Refresh: r.refresh,
		TokenType: r.tokenType, Scope: r.scope, ExpiresAt: r.expires, GrantEndsAt: r.refreshExpires, RefreshAfter: r.refreshAt,
		LeaseUntil: r.leaseUntil, SendBy: r.sendBy, QuietAt: r.quiet, Failures: r.Failures, Class: r.Class, FailedAt: r.failedAt,
	}
}

// move sets when the account is due.
func (m *Memory) move(r *row, at time.Time) {
	r.refreshAt = at
	if at.IsZero() {
		return
	}
	q := m.due[r.Provider]
	if q == nil {
		q = &queue{}
		m.due[r.Provider] = q
	}
	q.push(entry{at, r.ID})
}
