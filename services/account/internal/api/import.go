package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"postbus.dev/events"
	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/httpapi"
	"postbus.dev/services/internal/oauthaccount"
	"postbus.dev/services/internal/tenant"
)

const importPath = accountsPath + "/import"

// importBody is tokens that were granted elsewhere.
type importBody struct {
	_            struct{} `additionalProperties:"false"`
	Provider     string   `json:"provider" minLength:"1" maxLength:"64" example:"instagram"`
	AccessToken  string   `json:"accessToken" minLength:"1" maxLength:"8192" pattern:"^[!-~]+$" patternDescription:"printable ASCII without spaces" format:"password"`
	RefreshToken string   `json:"refreshToken,omitempty" minLength:"1" maxLength:"8192" pattern:"^[!-~]+$" patternDescription:"printable ASCII without spaces" format:"password" doc:"Where the provider gave one"`
	Scope        string   `json:"scope,omitempty" minLength:"1" maxLength:"4096" pattern:"^[ -~]+$" patternDescription:"printable ASCII" doc:"What was granted, as the provider wrote it. Where the provider tells, that counts"`
	ExpiresIn    int64    `json:"expiresIn,omitempty" minimum:"1" maximum:"315360000" doc:"Seconds that the access token is good from now. Without it: what the provider tells, or the longest that is possible there"`
	UserID       string   `json:"userId,omitempty" minLength:"1" maxLength:"255" doc:"Your own id of the user. Without it: the user of the API key. Another one needs the scope on_behalf"`
}

// missingScope are the details of a refused import.
type missingScope struct {
	Missing []string `json:"missing"`
}

func (a *API) registerImport(h *httpapi.API) {
	httpapi.Register(h, huma.Operation{
		OperationID: "import-account", Method: http.MethodPost, Path: importPath, Summary: "Import an account's tokens",
		Description: "Takes tokens that were granted elsewhere to the app that Postbus is at the provider, who is asked whose they are and what they " +
			"allow. From then on they are refreshed here, and nowhere else. 200: the user's account was known and has these tokens now. Needs the scope accounts.",
		DefaultStatus: http.StatusCreated,
		Responses: map[string]*huma.Response{
			"200": httpapi.Describe[AccountView](h, "Connected again"),
			"201": httpapi.Describe[AccountView](h, "Connected"),
		},
	}, []httpapi.Code{
		httpapi.CodeMissingScope, httpapi.CodeNotFound, httpapi.CodeConflict, httpapi.CodeReauthRequired, httpapi.CodeAccountRestricted,
		httpapi.CodeProviderRateLimited, httpapi.CodeProviderUnavailable, httpapi.CodeTimeout,
	}, func(ctx context.Context, in *struct {
		RawBody []byte `contentType:"application/json"`
	}) (httpapi.Reply[AccountView], error) {
		if err := httpapi.Require(ctx, tenant.ScopeAccounts); err != nil {
			return httpapi.Reply[AccountView]{}, err
		}
		body, err := httpapi.ReadBody[importBody](h, in.RawBody)
		if err != nil {
			return httpapi.Reply[AccountView]{}, err
		}
		return a.importAccount(ctx, body)
	})
	httpapi.DescribeBody[importBody](h, importPath)
}

// importAccount answers POST /api/accounts/import.
func (a *API) importAccount(ctx context.Context, body importBody) (reply httpapi.Reply[AccountView], err error) {
	importer, err := a.importer(body.Provider)
	if err != nil {
		return reply, err
	}
	user, err := a.whose(ctx, "/userId", body.UserID)
	switch {
	case err != nil:
		return reply, err
	case !user.DeletingAt.IsZero():
		return reply, leaving()
	}
	grant, err := verify(ctx, importer, body)
	if err != nil {
		return reply, err
	}
	c, err := a.cfg.Accounts.Connect(ctx, oauthaccount.Granted(user.ID, body.Provider, grant, time.Now()))
	if err != nil {
		return reply, problem(err)
	}
	reply = httpapi.Reply[AccountView]{Data: viewOf(c.Account)}
	if c.Reconnected {
		reply.Status = http.StatusOK
	}
	return reply, nil
}

func (a *API) importer(provider string) (connectors.Importer, error) {
	if i, ok := a.cfg.Connectors[provider].(connectors.Importer); ok {
		return i, nil
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(a.cfg.Connectors)) {
		if _, ok := a.cfg.Connectors[name].(connectors.Importer); ok {
			names = append(names, name)
		}
	}
	return nil, httpapi.Invalid(events.Violation{Field: "/provider", Rule: "enum", Message: "must be one of those whose tokens can be imported: " + strings.Join(names, ", ")})
}

// verify asks the provider about the tokens.
func verify(ctx context.Context, importer connectors.Importer, body importBody) (connectors.Grant, error) {
	ctx, cancel := context.WithTimeout(ctx, importLimit)
	defer cancel()
	given := connectors.Grant{
		AccessToken: connectors.NewSecret(body.AccessToken), Scope: body.Scope, ExpiresIn: time.Duration(body.ExpiresIn) * time.Second,
	}
	if body.RefreshToken != "" {
		given.RefreshToken = connectors.NewSecret(body.RefreshToken)
	}
	grant, err := importer.Import(ctx, given)
	switch {
	case err != nil:
		return grant, refused(err)
	case len(grant.Missing) > 0:
		return grant, &httpapi.Error{Code: httpapi.CodeMissingScope, Details: missingScope{grant.Missing},
			Message: "the token does not allow to publish; it lacks " + strings.Join(grant.Missing, ", ")}
	}
	return grant, nil
}

// refused says how a connector's error is answered. Its texts quote neither
// tokens nor payloads. What concerns our client or a fault of ours is for
// operators.
func refused(err error) error {
	var e *connectors.Error
	switch {
	case errors.Is(err, connectors.ErrNotConfigured):
		return &httpapi.Error{Code: httpapi.CodeServiceUnavailable, Message: "this provider is not set up here", Err: err}
	case !errors.As(err, &e):
		return fmt.Errorf("import account: %w", err)
	case e.Kind == connectors.KindReject && e.Code == connectors.CodeValidation:
		return httpapi.Invalid(events.Violation{Field: "/accessToken", Rule: "provider", Message: cmp.Or(e.Message, "is refused by the provider")})
	}
	code := httpapi.Code(e.Code)
	known := []httpapi.Code{
		httpapi.CodeReauthRequired, httpapi.CodeAccountRestricted, httpapi.CodeProviderRateLimited, httpapi.CodeProviderUnavailable, httpapi.CodeTimeout,
	}
	if !slices.Contains(known, code) {
		return fmt.Errorf("import account: %w", err)
	}
	answer := &httpapi.Error{Code: code, Message: cmp.Or(e.Message, "the provider did not take the token"), RetryAfter: e.Wait, Err: err}
	if code == httpapi.CodeProviderRateLimited {
		answer.RetryAfter = cmp.Or(e.Wait, time.Minute)
	}
	return answer
}
