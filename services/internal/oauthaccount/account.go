// Package oauthaccount keeps the connected OAuth accounts. All SQL on the table
// oauth_accounts is here.
//
// Tokens are sealed (package secret) for their row and column. They are read
// sealed and opened by Account.Open, where a provider is about to be called:
// most reads only want to know who owns an account and whether it works, an
// opened token should live for a short time, and one that cannot be opened
// concerns one account, not the query that read a hundred.
package oauthaccount

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/secret"
)

// Status is what an account is good for.
type Status string

// The status values.
const (
	Active         Status = "active"
	ReauthRequired Status = "reauth_required" // a person must reconnect it
	Disconnecting  Status = "disconnecting"   // nothing new may start
	Disconnected   Status = "disconnected"    // its tokens are gone
)

// Connected says that a post may be published with the account, now or once a
// person has reconnected it.
func (s Status) Connected() bool { return s == Active || s == ReauthRequired }

// Account is a row of oauth_accounts. It holds no readable token.
type Account struct {
	ID                uuid.UUID
	UserID            uuid.UUID
	UserExternalID    string // the upstream's own id of the user
	Provider          string
	ProviderAccountID string
	Username          string
	TokenType         string
	Scope             string
	ExpiresAt         time.Time // of the access token; zero when it does not expire
	Metadata          json.RawMessage
	Status            Status
	TokenVersion      int64 // raised with each new token
	Version           int64 // raised with each event; "sequence" of them

	Details // not filled by Get and Resolve

	// A function, so that no way of printing an Account prints the ciphertext.
	open func() (connectors.Secret, error)
}

// Details are what people ask about an account and publishing does not. A time
// is zero where there is none.
type Details struct {
	CreatedAt, UpdatedAt time.Time
	RefreshExpiresAt     time.Time // of the refresh token
	RefreshAfter         time.Time // when the tokens are refreshed next
	FailureCount         int       // refreshes that failed in a row
	FailureClass         string
	FailedAt             time.Time
	DisconnectReason     string // of the last time that it was disconnected; one of events.Disconnect...
	DisconnectingAt      time.Time
	Erase                bool // while disconnecting: the row goes too, and the content of its publishes
}

// Open opens the access token and returns the account as a connector takes it.
// The token is empty where it was shredded. The error matches
// secret.ErrNotOpened when the keyset is not the one that sealed it.
func (a Account) Open() (connectors.Account, error) {
	out := connectors.Account{
		ID: a.ID.String(), UserID: a.UserID.String(), Provider: a.Provider, ProviderAccountID: a.ProviderAccountID,
		Username: a.Username, TokenType: a.TokenType, Scope: a.Scope, ExpiresAt: a.ExpiresAt,
		TokenVersion: a.TokenVersion, Metadata: a.Metadata,
	}
	if a.open == nil {
		return out, nil
	}
	token, err := a.open()
	if err != nil {
		return connectors.Account{}, err
	}
	out.AccessToken = token
	return out, nil
}

// StoreConfig says what a Store works with.
type StoreConfig struct {
	Pool   *pgxpool.Pool
	Sealer *secret.Sealer
	// Service is whose outbox the events of changes go to, such as "account". A
	// store without one only reads.
	Service string
	// Wrote is called after a commit that appended events, so that the relay need
	// not wait for its poll; may be nil.
	Wrote func()
}

// Store reads and writes oauth_accounts. It is safe for concurrent use.
type Store struct {
	cfg    StoreConfig
	pool   *pgxpool.Pool
	sealer *secret.Sealer
}

// NewStore returns the accounts of a database whose tokens cfg.Sealer opens.
func NewStore(cfg StoreConfig) (*Store, error) {
	if cfg.Pool == nil || cfg.Sealer == nil {
		return nil, errors.New("make account store: it needs a database and a sealer")
	}
	if cfg.Wrote == nil {
		cfg.Wrote = func() {}
	}
	return &Store{cfg: cfg, pool: cfg.Pool, sealer: cfg.Sealer}, nil
}

// place is what a token of an account is sealed for.
func place(column, provider, providerAccountID string) secret.AD {
	return secret.AD{Table: "oauth_accounts", Column: column, Provider: provider, ProviderAccountID: providerAccountID}
}
