package account

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/oauthaccount"
	"postbus.dev/services/internal/postgres"
	"postbus.dev/services/internal/secret"
	"postbus.dev/services/internal/tenant"
)

// Seed is what a local system starts with, so that a first post needs no
// connecting by hand.
type Seed struct {
	DatabaseURL string
	KeysetPath  string // made when it is not there
	KeyPath     string // of the API key; made when it is not there
	ExternalID  string // the user
	Accounts    []SeedAccount
}

// SeedAccount is an account whose token is known already.
type SeedAccount struct {
	Provider          string
	ProviderAccountID string
	Username          string
	AccessToken       connectors.Secret
	RefreshToken      connectors.Secret // empty where there is none
}

// Seeded is what is there now.
type Seeded struct {
	APIKey     connectors.Secret
	AccountIDs []string // in the order of Seed.Accounts
}

// Ensure makes the user, one API key and the accounts, or finds them: the same
// key again on every start. It is for local systems and tests; everywhere else
// accounts are connected through OAuth.
func Ensure(ctx context.Context, s Seed) (Seeded, error) {
	key, err := ensureKey(s.KeyPath)
	if err != nil {
		return Seeded{}, err
	}
	file := secret.Keyset{Path: s.KeysetPath}
	if err := file.Create(ctx); err != nil && !errors.Is(err, fs.ErrExist) {
		return Seeded{}, err
	}
	sealer, err := secret.LoadSealer(file)
	if err != nil {
		return Seeded{}, err
	}
	pool, err := postgres.Open(ctx, postgres.Config{DSN: s.DatabaseURL, Name: service})
	if err != nil {
		return Seeded{}, err
	}
	defer pool.Close()
	keys, err := tenant.New(tenant.Config{Pool: pool})
	if err != nil {
		return Seeded{}, err
	}
	user, err := keys.EnsureLocal(ctx, s.ExternalID, key)
	if err != nil {
		return Seeded{}, err
	}
	store, err := oauthaccount.NewStore(oauthaccount.StoreConfig{Pool: pool, Sealer: sealer, Service: service})
	if err != nil {
		return Seeded{}, err
	}
	out := Seeded{APIKey: key}
	for _, a := range s.Accounts {
		c, err := store.Connect(ctx, oauthaccount.New{
			UserID: user.ID, Provider: a.Provider, ProviderAccountID: a.ProviderAccountID, Username: a.Username,
			AccessToken: a.AccessToken, RefreshToken: a.RefreshToken,
		})
		if err != nil {
			return Seeded{}, fmt.Errorf("add account %s of %s: %w", a.ProviderAccountID, a.Provider, err)
		}
		out.AccountIDs = append(out.AccountIDs, c.Account.ID.String())
	}
	return out, nil
}

// ensureKey reads the API key from its file, or makes both.
func ensureKey(path string) (connectors.Secret, error) {
	body, err := os.ReadFile(filepath.Clean(path))
	if err == nil {
		return connectors.NewSecret(strings.TrimSpace(string(body))), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return connectors.Secret{}, fmt.Errorf("read API key: %w", err)
	}
	key := tenant.NewKey()
	if err := os.WriteFile(path, []byte(key.Reveal()+"\n"), 0o600); err != nil {
		return connectors.Secret{}, fmt.Errorf("keep API key: %w", err)
	}
	return key, nil
}
