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
	Version           int64 // raised with each change; "sequence" of its events

	// A function, so that no way of printing an Account prints the ciphertext.
	open func() (connectors.Secret, error)
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

// Store reads and writes oauth_accounts. It is safe for concurrent use.
type Store struct {
	pool   *pgxpool.Pool
	sealer *secret.Sealer
}

// NewStore returns the accounts of a database whose tokens sealer opens.
func NewStore(pool *pgxpool.Pool, sealer *secret.Sealer) (*Store, error) {
	if pool == nil || sealer == nil {
		return nil, errors.New("make account store: it needs a database and a sealer")
	}
	return &Store{pool: pool, sealer: sealer}, nil
}

// place is what a token of an account is sealed for.
func place(column, provider, providerAccountID string) secret.AD {
	return secret.AD{Table: "oauth_accounts", Column: column, Provider: provider, ProviderAccountID: providerAccountID}
}
