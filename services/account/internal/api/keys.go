package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"postbus.dev/events"
	"postbus.dev/services/internal/httpapi"
	"postbus.dev/services/internal/tenant"
)

const keysPath = "/api/keys"

// KeyView is an API key without its value.
type KeyView struct {
	KeyID      string     `json:"keyId" format:"uuid"`
	Name       string     `json:"name"`
	Scopes     []string   `json:"scopes" nullable:"false" enum:"publish,on_behalf,accounts,admin"`
	CreatedAt  time.Time  `json:"createdAt"`
	ExpiresAt  *time.Time `json:"expiresAt,omitempty" doc:"Absent: never"`
	LastUsedAt *time.Time `json:"lastUsedAt,omitempty" doc:"To the hour; absent: never"`
	RevokedAt  *time.Time `json:"revokedAt,omitempty" doc:"Absent: it was not"`
}

// NewKeyView is a key that was just made.
type NewKeyView struct {
	KeyView
	Key string `json:"key" doc:"Its value. It is kept nowhere: this is the only time that it is shown"`
}

type keyBody struct {
	_         struct{}  `additionalProperties:"false"`
	Name      string    `json:"name" minLength:"1" maxLength:"100" pattern:"^[^\\x00-\\x1f\\x7f]+$" patternDescription:"without control characters" doc:"For people: what the key is for"`
	Scopes    []string  `json:"scopes" nullable:"false" minItems:"1" maxItems:"4" enum:"publish,on_behalf,accounts,admin" doc:"publish: publish, and see and stop what was published. accounts: connect, see and disconnect accounts. admin: users, keys, and deciding what became of an unconfirmed publish. on_behalf: name another user in a call. Only scopes that the calling key has"`
	ExpiresAt time.Time `json:"expiresAt,omitzero" doc:"In the future, and not after the calling key expires. Without it: when that one does"`
	UserID    string    `json:"userId,omitempty" minLength:"1" maxLength:"255" doc:"Your own id of the user. Without it: the user of the API key. Another one needs the scope on_behalf"`
}

type keyInput struct {
	UserInput
	ID string `path:"id" format:"uuid" doc:"The key id"`
}

type keysInput struct {
	UserInput
	httpapi.PageInput
}

func (a *API) registerKeys(h *httpapi.API) {
	made := httpapi.Describe[NewKeyView](h, "Made. Its value is not shown again")
	made.Headers = map[string]*huma.Param{"Cache-Control": httpapi.NoStore(true)}
	httpapi.Register(h, huma.Operation{
		OperationID: "create-key", Method: http.MethodPost, Path: keysPath, Summary: "Make an API key",
		Description:   "Needs the scope admin, and every scope that the new key gets.",
		DefaultStatus: http.StatusCreated, Responses: map[string]*huma.Response{"201": made},
	}, []httpapi.Code{httpapi.CodeMissingScope, httpapi.CodeNotFound, httpapi.CodeConflict}, func(ctx context.Context, in *struct {
		RawBody []byte `contentType:"application/json"`
	}) (httpapi.Reply[NewKeyView], error) {
		if err := httpapi.Require(ctx, tenant.ScopeAdmin); err != nil {
			return httpapi.Reply[NewKeyView]{}, err
		}
		body, err := httpapi.ReadBody[keyBody](h, in.RawBody)
		if err != nil {
			return httpapi.Reply[NewKeyView]{}, err
		}
		return a.createKey(ctx, body)
	})
	httpapi.DescribeBody[keyBody](h, keysPath)
	httpapi.Register(h, huma.Operation{
		OperationID: "list-keys", Method: http.MethodGet, Path: keysPath, Summary: "List a user's API keys",
		Description: "Those that expired or were revoked too, the oldest first, without their values. Any key may list those of its user; for another user it needs the scopes admin and on_behalf.",
	}, []httpapi.Code{httpapi.CodeMissingScope, httpapi.CodeNotFound}, a.listKeys)
	httpapi.Register(h, huma.Operation{
		OperationID: "revoke-key", Method: http.MethodDelete, Path: keysPath + "/{id}", Summary: "Revoke an API key",
		Description: "It is refused at once where this call was answered, and within 2 seconds elsewhere. Any key may revoke itself, every other one needs the scope admin. Revoking twice is no error.",
	}, []httpapi.Code{httpapi.CodeMissingScope, httpapi.CodeNotFound}, a.revokeKey)
}

// createKey answers POST /api/keys.
func (a *API) createKey(ctx context.Context, body keyBody) (reply httpapi.Reply[NewKeyView], err error) {
	caller := httpapi.CallerOf(ctx)
	spec := tenant.KeySpec{Name: body.Name, ExpiresAt: body.ExpiresAt, Maker: caller.KeyID}
	for _, s := range body.Scopes {
		if scope := tenant.Scope(s); !slices.Contains(spec.Scopes, scope) {
			spec.Scopes = append(spec.Scopes, scope)
		}
	}
	if spec.ExpiresAt, err = expiry(caller, body.ExpiresAt, time.Now()); err != nil {
		return reply, err
	}
	for _, s := range spec.Scopes {
		if !caller.May(s) {
			return reply, &httpapi.Error{Code: httpapi.CodeMissingScope, Message: fmt.Sprintf("the API key lacks the scope %q and cannot give it to another one", s)}
		}
	}
	user, err := a.whose(ctx, "/userId", body.UserID)
	if err != nil {
		return reply, err
	}
	spec.UserID = user.ID
	key, value, err := a.cfg.Tenants.CreateKey(ctx, spec)
	switch {
	case errors.Is(err, tenant.ErrNoUser): // she was found above
		return reply, leaving()
	case errors.Is(err, tenant.ErrUnauthorized):
		return reply, &httpapi.Error{Code: httpapi.CodeUnauthorized, Message: "the API key has expired or was revoked"}
	case err != nil:
		return reply, problem(err)
	}
	httpapi.Header(ctx).Set("Cache-Control", "no-store")
	reply.Data = NewKeyView{KeyView: keyView(key), Key: value.Reveal()}
	return reply, nil
}

// expiry is when a new key expires: not after the one that makes it.
func expiry(maker tenant.Caller, asked, now time.Time) (time.Time, error) {
	refuse := func(rule, message string) (time.Time, error) {
		return asked, httpapi.Invalid(events.Violation{Field: "/expiresAt", Rule: rule, Message: message})
	}
	switch {
	case asked.IsZero():
		return maker.ExpiresAt, nil
	case !asked.After(now):
		return refuse("after", "must be in the future")
	case !maker.ExpiresAt.IsZero() && asked.After(maker.ExpiresAt):
		return refuse("before", "must not be after the calling key expires")
	}
	return asked, nil
}

// listKeys answers GET /api/keys.
func (a *API) listKeys(ctx context.Context, in *keysInput) (reply httpapi.Reply[httpapi.Page[KeyView]], err error) {
	var after uuid.UUID
	if _, err := in.Place(&after); err != nil {
		return reply, err
	}
	user, err := a.keysOf(ctx, in.UserInput)
	if err != nil {
		return reply, err
	}
	keys, err := a.cfg.Tenants.List(ctx, user.ID, after, in.Limit+1)
	if err != nil {
		return reply, problem(err)
	}
	return page(keys, in.Limit, func(k tenant.Key) uuid.UUID { return k.ID }, keyView)
}

// keysOf returns the user whose keys a call is about: another one's are for
// administrators.
func (a *API) keysOf(ctx context.Context, in UserInput) (tenant.User, error) {
	if in.UserID != "" && in.UserID != httpapi.CallerOf(ctx).ExternalID {
		if err := httpapi.Require(ctx, tenant.ScopeAdmin); err != nil {
			return tenant.User{}, err
		}
	}
	return a.whose(ctx, "query.userId", in.UserID)
}

// revokeKey answers DELETE /api/keys/{id}.
func (a *API) revokeKey(ctx context.Context, in *keyInput) (reply httpapi.Reply[KeyView], err error) {
	id, err := uuid.Parse(in.ID)
	if err != nil {
		return reply, problem(tenant.ErrNoKey)
	}
	if id != httpapi.CallerOf(ctx).KeyID {
		if err := httpapi.Require(ctx, tenant.ScopeAdmin); err != nil {
			return reply, err
		}
	}
	user, err := a.whose(ctx, "query.userId", in.UserID)
	if err != nil {
		return reply, err
	}
	key, err := a.cfg.Tenants.Revoke(ctx, user.ID, id)
	if err != nil {
		return reply, problem(err)
	}
	return httpapi.Reply[KeyView]{Data: keyView(key)}, nil
}

func keyView(k tenant.Key) KeyView {
	v := KeyView{
		KeyID: k.ID.String(), Name: k.Name, Scopes: make([]string, len(k.Scopes)), CreatedAt: k.CreatedAt.UTC(),
		ExpiresAt: timeOrNull(k.ExpiresAt), LastUsedAt: timeOrNull(k.LastUsedAt), RevokedAt: timeOrNull(k.RevokedAt),
	}
	for i, s := range k.Scopes {
		v.Scopes[i] = string(s)
	}
	return v
}
