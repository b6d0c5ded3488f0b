package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"postbus.dev/events"
	"postbus.dev/services/internal/httpapi"
	"postbus.dev/services/internal/oauthaccount"
	"postbus.dev/services/internal/tenant"
)

const usersPath = "/api/users"

// UserView is a user: whose accounts and keys are hers alone.
type UserView struct {
	UserID     string     `json:"userId" doc:"Your own id of the user"`
	CreatedAt  time.Time  `json:"createdAt"`
	DeletingAt *time.Time `json:"deletingAt,omitempty" doc:"When her deletion was asked for"`
}

type userBody struct {
	_      struct{} `additionalProperties:"false"`
	UserID string   `json:"userId" minLength:"1" maxLength:"255" doc:"Your own id of the user, without control characters"`
}

type userIDInput struct {
	ID string `path:"id" maxLength:"255" doc:"Your own id of the user, percent-encoded"`
}

func (a *API) registerUsers(h *httpapi.API) {
	httpapi.Register(h, huma.Operation{
		OperationID: "create-user", Method: http.MethodPost, Path: usersPath, Summary: "Create a user",
		Description:   "200: there was one with this id. Needs the scopes admin and on_behalf.",
		DefaultStatus: http.StatusCreated,
		Responses: map[string]*huma.Response{
			"200": httpapi.Describe[UserView](h, "There was one"), "201": httpapi.Describe[UserView](h, "Created"),
		},
	}, []httpapi.Code{httpapi.CodeMissingScope, httpapi.CodeConflict}, func(ctx context.Context, in *struct {
		RawBody []byte `contentType:"application/json"`
	}) (httpapi.Reply[UserView], error) {
		if err := requireAll(ctx, tenant.ScopeAdmin, tenant.ScopeOnBehalf); err != nil {
			return httpapi.Reply[UserView]{}, err
		}
		body, err := httpapi.ReadBody[userBody](h, in.RawBody)
		if err != nil {
			return httpapi.Reply[UserView]{}, err
		}
		return a.createUser(ctx, body)
	})
	httpapi.DescribeBody[userBody](h, usersPath)
	httpapi.Register(h, huma.Operation{
		OperationID: "list-users", Method: http.MethodGet, Path: usersPath, Summary: "List all users",
		Description: "The first created come first. Needs the scopes admin and on_behalf.",
	}, []httpapi.Code{httpapi.CodeMissingScope}, a.listUsers)
	httpapi.Register(h, huma.Operation{
		OperationID: "get-user", Method: http.MethodGet, Path: usersPath + "/{id}", Summary: "Look at a user",
		Description: "Needs the scope admin, and on_behalf for another user than that of the key.",
	}, []httpapi.Code{httpapi.CodeMissingScope, httpapi.CodeNotFound}, a.getUser)
	httpapi.Register(h, huma.Operation{
		OperationID: "delete-user", Method: http.MethodDelete, Path: usersPath + "/{id}", Summary: "Delete a user",
		Description: "Her keys stop at once. Her accounts are disconnected as by disconnect-account, the content of her posts here is deleted, and then " +
			"she is. Takes up to 10 minutes; then she is not found any more. Needs the scope admin, and on_behalf for another user than that of the key.",
		DefaultStatus: http.StatusAccepted, Responses: accepted[UserView](h, "Under way"),
	}, []httpapi.Code{httpapi.CodeMissingScope, httpapi.CodeNotFound}, a.deleteUser)
}

func requireAll(ctx context.Context, scopes ...tenant.Scope) error {
	for _, s := range scopes {
		if err := httpapi.Require(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// createUser answers POST /api/users.
func (a *API) createUser(ctx context.Context, body userBody) (reply httpapi.Reply[UserView], err error) {
	if why := tenant.ValidExternalID(body.UserID); why != "" {
		return reply, httpapi.Invalid(events.Violation{Field: "/userId", Rule: "format", Message: why})
	}
	user, err := a.cfg.Tenants.User(ctx, body.UserID)
	if err == nil {
		reply.Status = http.StatusOK
	} else if errors.Is(err, tenant.ErrNoUser) {
		user, err = a.cfg.Tenants.CreateUser(ctx, body.UserID)
	}
	switch {
	case err != nil:
		return reply, problem(err)
	case !user.DeletingAt.IsZero():
		return reply, leaving()
	}
	reply.Data = userView(user)
	return reply, nil
}

// listUsers answers GET /api/users.
func (a *API) listUsers(ctx context.Context, in *struct{ httpapi.PageInput }) (reply httpapi.Reply[httpapi.Page[UserView]], err error) {
	if err := requireAll(ctx, tenant.ScopeAdmin, tenant.ScopeOnBehalf); err != nil {
		return reply, err
	}
	var after uuid.UUID
	if _, err := in.Place(&after); err != nil {
		return reply, err
	}
	users, err := a.cfg.Tenants.Users(ctx, after, in.Limit+1)
	if err != nil {
		return reply, problem(err)
	}
	return page(users, in.Limit, func(u tenant.User) uuid.UUID { return u.ID }, userView)
}

// getUser answers GET /api/users/{id}.
func (a *API) getUser(ctx context.Context, in *userIDInput) (reply httpapi.Reply[UserView], err error) {
	user, err := a.user(ctx, in)
	return httpapi.Reply[UserView]{Data: userView(user)}, err
}

// user reads the user that a call names.
func (a *API) user(ctx context.Context, in *userIDInput) (tenant.User, error) {
	if err := httpapi.Require(ctx, tenant.ScopeAdmin); err != nil {
		return tenant.User{}, err
	}
	if in.ID != httpapi.CallerOf(ctx).ExternalID {
		return a.whose(ctx, "path.id", in.ID)
	}
	user, err := a.cfg.Tenants.User(ctx, in.ID)
	return user, problem(err)
}

// deleteUser answers DELETE /api/users/{id}. Where it ends between its two
// writes, the job that finishes deletions does the second one.
func (a *API) deleteUser(ctx context.Context, in *userIDInput) (reply httpapi.Reply[UserView], err error) {
	user, err := a.user(ctx, in)
	if err != nil {
		return reply, err
	}
	ctx = context.WithoutCancel(ctx)
	if user, err = a.cfg.Tenants.BeginDeletion(ctx, user.ID); err != nil {
		return reply, problem(err)
	}
	_, err = a.cfg.Accounts.Disconnect(ctx, oauthaccount.Select{UserID: user.ID}, events.DisconnectUserDeleted, true)
	if err != nil {
		a.cfg.Logger.WarnContext(ctx, "begin to disconnect the accounts of a user who is being deleted: left to the job", "user", user.ID, "error", err)
	}
	httpapi.Header(ctx).Set("Location", usersPath+"/"+url.PathEscape(user.ExternalID))
	return httpapi.Reply[UserView]{Data: userView(user)}, nil
}

func userView(u tenant.User) UserView {
	return UserView{UserID: u.ExternalID, CreatedAt: u.CreatedAt.UTC(), DeletingAt: timeOrNull(u.DeletingAt)}
}
