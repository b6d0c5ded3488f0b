package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"postbus.dev/events"
	"postbus.dev/services/internal/httpapi"
	"postbus.dev/services/internal/oauthaccount"
	"postbus.dev/services/internal/tenant"
)

const accountsPath = "/api/accounts"

// AccountView is a connected account and how it is.
type AccountView struct {
	AccountID         string       `json:"accountId" format:"uuid"`
	UserID            string       `json:"userId" doc:"Your own id of the user whose account it is"`
	Provider          string       `json:"provider" example:"instagram"`
	ProviderAccountID string       `json:"providerAccountId" doc:"The provider's id of the account"`
	Username          string       `json:"username" doc:"Its name at the provider, as of when it was connected"`
	Status            string       `json:"status" enum:"active,reauth_required,disconnecting,disconnected" doc:"reauth_required: a person has to connect it again; disconnecting: nothing new starts, what is being published ends; disconnected: its tokens are gone"`
	Scopes            []string     `json:"scopes" nullable:"false" doc:"What the person granted, in the provider's words"`
	Token             *TokenView   `json:"token,omitempty" doc:"Absent once it is gone"`
	LastFailure       *FailureView `json:"lastFailure,omitempty" doc:"Of a refresh; absent since one succeeded"`
	DisconnectReason  string       `json:"disconnectReason,omitempty" example:"requested" doc:"Why it was disconnected, or is being"`
	Quota             *QuotaView   `json:"quota,omitempty" doc:"How many posts the provider still takes. Only where one account is asked for, and the provider tells"`
	CreatedAt         time.Time    `json:"createdAt" doc:"When it was connected first"`
	UpdatedAt         time.Time    `json:"updatedAt"`
}

// TokenView is how long an account's tokens are good.
type TokenView struct {
	Version          int64      `json:"version" doc:"Raised with each new token"`
	ExpiresAt        *time.Time `json:"expiresAt,omitempty" doc:"Of the access token; absent where it does not expire"`
	RefreshExpiresAt *time.Time `json:"refreshExpiresAt,omitempty" doc:"Of the refresh token; absent where it does not expire, or there is none"`
	NextRefreshAt    *time.Time `json:"nextRefreshAt,omitempty" doc:"Absent where there is nothing to refresh"`
}

// FailureView is what went wrong with the last refreshes.
type FailureView struct {
	Class string    `json:"class" example:"provider_unavailable"`
	Count int       `json:"count" doc:"How many failed in a row"`
	At    time.Time `json:"at" doc:"When the last one did"`
}

// UserInput names whose objects a call is about. It is exported for huma, which
// skips embedded types that are not.
type UserInput struct {
	UserID string `query:"userId" maxLength:"255" doc:"Your own id of the user. Without it: the user of the API key. Another one needs the scope on_behalf"`
}

type accountInput struct {
	UserInput
	ID string `path:"id" format:"uuid" doc:"The account id"`
}

type accountsInput struct {
	UserInput
	httpapi.PageInput
	Provider string `query:"provider" maxLength:"64" doc:"Only accounts at this provider" example:"instagram"`
	Status   string `query:"status" enum:"active,reauth_required,disconnecting,disconnected" doc:"Only accounts with this status"`
}

func (a *API) registerAccounts(h *httpapi.API) {
	httpapi.Register(h, huma.Operation{
		OperationID: "list-accounts", Method: http.MethodGet, Path: accountsPath, Summary: "List a user's accounts",
		Description: "The first connected come first. Needs the scope accounts.",
	}, []httpapi.Code{httpapi.CodeMissingScope, httpapi.CodeNotFound}, a.listAccounts)
	httpapi.Register(h, huma.Operation{
		OperationID: "get-account", Method: http.MethodGet, Path: accountsPath + "/{id}", Summary: "Look at an account",
		Description: "With its health, and the quota that its provider tells, as of a minute ago at most. Needs the scope accounts.",
	}, []httpapi.Code{httpapi.CodeMissingScope, httpapi.CodeNotFound}, a.getAccount)
	httpapi.Register(h, huma.Operation{
		OperationID: "refresh-account", Method: http.MethodPost, Path: accountsPath + "/{id}/refresh", Summary: "Refresh an account's tokens now",
		Description:   "Asks for it: token.refreshed or token.refresh_failed tells what came of it. Needs the scope accounts.",
		DefaultStatus: http.StatusAccepted, Responses: accepted[AccountView](h, "Asked for. The account as it is"),
	}, []httpapi.Code{httpapi.CodeMissingScope, httpapi.CodeNotFound, httpapi.CodeAccountNotConnected, httpapi.CodeReauthRequired}, a.refreshAccount)
	httpapi.Register(h, huma.Operation{
		OperationID: "disconnect-account", Method: http.MethodPost, Path: accountsPath + "/{id}/disconnect", Summary: "Disconnect an account",
		Description: "Nothing new is published with it, what is being published ends, then its access is revoked at the provider and its tokens are " +
			"destroyed: account.disconnected tells when. Takes up to 10 minutes. Asking again is no error. Needs the scope accounts.",
		DefaultStatus: http.StatusAccepted, Responses: accepted[AccountView](h, "Under way, or done before. The account as it is"),
	}, []httpapi.Code{httpapi.CodeMissingScope, httpapi.CodeNotFound}, a.disconnectAccount)
}

// accepted documents a 202 that says where to look.
func accepted[T any](h *httpapi.API, description string) map[string]*huma.Response {
	r := httpapi.Describe[T](h, description)
	r.Headers = map[string]*huma.Param{"Location": httpapi.Location("Where to look")}
	return map[string]*huma.Response{"202": r}
}

// listAccounts answers GET /api/accounts.
func (a *API) listAccounts(ctx context.Context, in *accountsInput) (reply httpapi.Reply[httpapi.Page[AccountView]], err error) {
	if err := httpapi.Require(ctx, tenant.ScopeAccounts); err != nil {
		return reply, err
	}
	f := oauthaccount.Filter{Provider: in.Provider, Status: oauthaccount.Status(in.Status), Limit: in.Limit + 1}
	if _, err := in.Place(&f.After); err != nil {
		return reply, err
	}
	user, err := a.whose(ctx, "query.userId", in.UserID)
	if err != nil {
		return reply, err
	}
	f.UserID = user.ID
	accounts, err := a.cfg.Accounts.List(ctx, f)
	if err != nil {
		return reply, problem(err)
	}
	return page(accounts, in.Limit, func(a oauthaccount.Account) uuid.UUID { return a.ID }, viewOf)
}

// own reads the account that a call names.
func (a *API) own(ctx context.Context, in *accountInput) (oauthaccount.Account, error) {
	if err := httpapi.Require(ctx, tenant.ScopeAccounts); err != nil {
		return oauthaccount.Account{}, err
	}
	user, err := a.whose(ctx, "query.userId", in.UserID)
	if err != nil {
		return oauthaccount.Account{}, err
	}
	id, err := uuid.Parse(in.ID)
	if err != nil {
		return oauthaccount.Account{}, problem(oauthaccount.ErrNotFound)
	}
	account, err := a.cfg.Accounts.One(ctx, user.ID, id)
	return account, problem(err)
}

// getAccount answers GET /api/accounts/{id}.
func (a *API) getAccount(ctx context.Context, in *accountInput) (reply httpapi.Reply[AccountView], err error) {
	account, err := a.own(ctx, in)
	if err != nil {
		return reply, err
	}
	reply.Data = viewOf(account)
	reply.Data.Quota = a.quota(ctx, account)
	return reply, nil
}

// refreshAccount answers POST /api/accounts/{id}/refresh.
func (a *API) refreshAccount(ctx context.Context, in *accountInput) (reply httpapi.Reply[AccountView], err error) {
	account, err := a.own(ctx, in)
	if err != nil {
		return reply, err
	}
	if account.Status == oauthaccount.ReauthRequired {
		return reply, &httpapi.Error{Code: httpapi.CodeReauthRequired, Message: "no refresh helps: a person has to connect the account again"}
	}
	if err := a.cfg.Accounts.RequestRefresh(ctx, account.UserID, account.ID); err != nil {
		return reply, problem(err)
	}
	return look(ctx, account), nil
}

// disconnectAccount answers POST /api/accounts/{id}/disconnect.
func (a *API) disconnectAccount(ctx context.Context, in *accountInput) (reply httpapi.Reply[AccountView], err error) {
	account, err := a.own(ctx, in)
	if err != nil {
		return reply, err
	}
	sel := oauthaccount.Select{ID: account.ID, UserID: account.UserID}
	moved, err := a.cfg.Accounts.Disconnect(ctx, sel, events.DisconnectRequested, false)
	switch {
	case err != nil:
		return reply, problem(err)
	case len(moved) == 0:
		return reply, problem(oauthaccount.ErrNotFound)
	}
	return look(ctx, moved[0]), nil
}

// look answers with an account to come back to.
func look(ctx context.Context, account oauthaccount.Account) httpapi.Reply[AccountView] {
	v := viewOf(account)
	httpapi.Header(ctx).Set("Location", accountsPath+"/"+v.AccountID)
	return httpapi.Reply[AccountView]{Data: v}
}

func viewOf(a oauthaccount.Account) AccountView {
	v := AccountView{
		AccountID: a.ID.String(), UserID: a.UserExternalID, Provider: a.Provider, ProviderAccountID: a.ProviderAccountID, Username: a.Username,
		Status: string(a.Status), Scopes: scopesOf(a.Scope), DisconnectReason: a.DisconnectReason,
		CreatedAt: a.CreatedAt.UTC(), UpdatedAt: a.UpdatedAt.UTC(),
	}
	if a.Status != oauthaccount.Disconnected {
		v.Token = &TokenView{a.TokenVersion, timeOrNull(a.ExpiresAt), timeOrNull(a.RefreshExpiresAt), timeOrNull(a.RefreshAfter)}
	}
	if a.FailureCount > 0 {
		v.LastFailure = &FailureView{a.FailureClass, a.FailureCount, a.FailedAt.UTC()}
	}
	return v
}

// scopesOf splits a scope: with spaces as RFC 6749 has it, or with commas.
func scopesOf(scope string) []string {
	return append([]string{}, strings.FieldsFunc(scope, func(r rune) bool { return r == ' ' || r == ',' })...)
}
