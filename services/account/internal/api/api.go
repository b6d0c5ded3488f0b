// Package api is what callers do with accounts, users and keys over HTTP.
//
// # Who may do what
//
// A key's scopes say what, and on_behalf says whose:
//
//	                                        one's own      of another user
//	accounts: look, import, refresh, end    accounts       accounts, on_behalf
//	keys: look                              any key        admin, on_behalf
//	keys: make and revoke                   admin          admin, on_behalf
//	the calling key itself: revoke          any key        -
//	users: look at, delete                  admin          admin, on_behalf
//	users: list, create                     -              admin, on_behalf
//
// So an administrator of one tenant (admin alone) never sees another one. A key
// without admin cannot make another: one that was stolen ends when it is revoked.
// No key gets a scope that its maker lacks, or lives longer.
//
// A user is named by the upstream's own id, as userId. Who names another user
// without the scope is told so whether or not there is one. An object of a user
// who was not named is answered exactly like one that does not exist, and looked
// for by the same query.
package api

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"postbus.dev/events"
	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/httpapi"
	"postbus.dev/services/internal/oauthaccount"
	"postbus.dev/services/internal/postgres"
	"postbus.dev/services/internal/tenant"
)

// How long a provider may take to answer while our caller waits.
const (
	importLimit = 20 * time.Second
	quotaLimit  = 2 * time.Second
)

// Config says what the API works with.
type Config struct {
	Accounts   Accounts                        // required
	Tenants    *tenant.Keys                    // required
	Connectors map[string]connectors.Connector // by provider; required

	Logger *slog.Logger // default discards
}

// Accounts is what the API needs of the accounts; *oauthaccount.Store is it.
type Accounts interface {
	List(ctx context.Context, f oauthaccount.Filter) ([]oauthaccount.Account, error)
	// One returns oauthaccount.ErrNotFound for another user's account too.
	One(ctx context.Context, userID, id uuid.UUID) (oauthaccount.Account, error)
	Connect(ctx context.Context, n oauthaccount.New) (oauthaccount.Connected, error)
	RequestRefresh(ctx context.Context, userID, id uuid.UUID) error
	Disconnect(ctx context.Context, sel oauthaccount.Select, reason string, erase bool) ([]oauthaccount.Account, error)
}

// API answers for accounts, users and keys. It is safe for concurrent use.
type API struct {
	cfg    Config
	quotas quotas
}

// New returns an API. Register adds its operations to that of the service.
func New(cfg Config) (*API, error) {
	if cfg.Accounts == nil || cfg.Tenants == nil || len(cfg.Connectors) == 0 {
		return nil, errors.New("make account api: Accounts, Tenants and Connectors are required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &API{cfg: cfg, quotas: quotas{seen: map[uuid.UUID]quotaSeen{}}}, nil
}

// Register adds the operations. Those of the zero API are good for the document
// alone.
func (a *API) Register(h *httpapi.API) {
	a.registerAccounts(h)
	a.registerImport(h)
	a.registerUsers(h)
	a.registerKeys(h)
}

// whose returns the user whose objects a call is about: who is named, or else
// the caller. field is where the name was.
func (a *API) whose(ctx context.Context, field, userID string) (tenant.User, error) {
	caller := httpapi.CallerOf(ctx)
	if userID == "" || userID == caller.ExternalID {
		return tenant.User{ID: caller.UserID, ExternalID: caller.ExternalID}, nil
	}
	if err := httpapi.Require(ctx, tenant.ScopeOnBehalf); err != nil {
		return tenant.User{}, err
	}
	if why := tenant.ValidExternalID(userID); why != "" {
		return tenant.User{}, httpapi.Invalid(events.Violation{Field: field, Rule: "format", Message: why})
	}
	u, err := a.cfg.Tenants.User(ctx, userID)
	return u, problem(err)
}

// problem says how an error of ours is answered.
func problem(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, tenant.ErrNoUser):
		return &httpapi.Error{Code: httpapi.CodeNotFound, Message: "there is no such user"}
	case errors.Is(err, tenant.ErrNoKey):
		return &httpapi.Error{Code: httpapi.CodeNotFound, Message: "there is no such key"}
	case errors.Is(err, oauthaccount.ErrNotFound):
		return &httpapi.Error{Code: httpapi.CodeNotFound, Message: "there is no such account"}
	case errors.Is(err, oauthaccount.ErrNotConnected):
		return &httpapi.Error{Code: httpapi.CodeAccountNotConnected, Message: "the account is disconnected, or about to be"}
	case errors.Is(err, oauthaccount.ErrTaken):
		return &httpapi.Error{Code: httpapi.CodeConflict, Message: "the account is connected by another user"}
	case errors.Is(err, oauthaccount.ErrDisconnecting):
		return &httpapi.Error{Code: httpapi.CodeConflict, Message: "the account is being disconnected; try again in a few minutes"}
	case errors.Is(err, oauthaccount.ErrUserGone):
		return leaving()
	case postgres.IsUnavailable(err), postgres.IsContention(err), postgres.IsAmbiguous(err):
		return &httpapi.Error{Code: httpapi.CodeServiceUnavailable, Message: "the database is away; try again", Err: err}
	default:
		return err
	}
}

// leaving refuses what is asked for a user who is being deleted.
func leaving() *httpapi.Error {
	return &httpapi.Error{Code: httpapi.CodeConflict, Message: "the user is being deleted"}
}

// page cuts a list of up to one item more than its limit to the page, and makes
// the cursor that the next one begins after.
func page[T, V any](list []T, limit int, id func(T) uuid.UUID, view func(T) V) (httpapi.Reply[httpapi.Page[V]], error) {
	p := httpapi.Page[V]{Items: make([]V, 0, limit)}
	for _, item := range list[:min(len(list), limit)] {
		p.Items = append(p.Items, view(item))
	}
	if len(list) > limit {
		next, err := httpapi.Cursor(id(list[limit-1]))
		if err != nil {
			return httpapi.Reply[httpapi.Page[V]]{}, err
		}
		p.NextCursor = next
	}
	return httpapi.Reply[httpapi.Page[V]]{Data: p}, nil
}

func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
