package publisher

import (
	"context"
	"errors"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/metric"

	"postbus.dev/services/internal/oauthaccount"
	"postbus.dev/services/internal/postgres"
	"postbus.dev/services/publisher/internal/publish"
)

// accounts reads accounts for the cycle. Reads that wait at the same moment are
// one query.
type accounts struct {
	resolve *postgres.Group[oauthaccount.Target, oauthaccount.Resolution]
}

func newAccounts(store *oauthaccount.Store, meter metric.MeterProvider) (*accounts, error) {
	g, err := postgres.NewGroup(postgres.GroupConfig[oauthaccount.Target, oauthaccount.Resolution]{
		Name: "accounts", Flush: store.Resolve, Max: 500, Writers: 1, Meter: meter,
	})
	if err != nil {
		return nil, err
	}
	return &accounts{resolve: g}, nil
}

func (a *accounts) close() { a.resolve.Close() }

// Load reads one account and opens its token.
func (a *accounts) Load(ctx context.Context, id uuid.UUID) (publish.Account, error) {
	r, err := a.resolve.Do(ctx, oauthaccount.Target{AccountID: id})
	if err != nil {
		return publish.Account{}, err
	}
	if r.Outcome != oauthaccount.Found {
		return publish.Account{}, publish.ErrNoAccount
	}
	return open(r.Account)
}

// Find finds the account of a request.
func (a *accounts) Find(ctx context.Context, t publish.Target) (publish.Found, error) {
	target := oauthaccount.Target{Provider: t.Provider, UserExternalID: t.ExternalID}
	if t.AccountID != "" {
		id, err := uuid.Parse(t.AccountID)
		if err != nil {
			return publish.Found{NotFound: true}, nil //nolint:nilerr // what is no id names no account
		}
		target = oauthaccount.Target{AccountID: id}
	}
	r, err := a.resolve.Do(ctx, target)
	if err != nil {
		return publish.Found{}, err
	}
	switch r.Outcome {
	case oauthaccount.Found:
		acct, err := open(r.Account)
		return publish.Found{Account: acct}, err
	case oauthaccount.Several:
		many := make([]string, len(r.Several))
		for i, id := range r.Several {
			many[i] = id.String()
		}
		return publish.Found{Many: many}, nil
	default:
		return publish.Found{NotFound: true}, nil
	}
}

func open(a oauthaccount.Account) (publish.Account, error) {
	acct, err := a.Open()
	if err != nil {
		return publish.Account{}, errors.Join(errors.New("open account tokens: is POSTBUS_KEYSET the keyset that sealed them?"), err)
	}
	return publish.Account{Account: acct, Status: string(a.Status), Version: a.Version}, nil
}
