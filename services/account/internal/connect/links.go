package connect

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"postbus.dev/events"
	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/httpapi"
	"postbus.dev/services/internal/tenant"
)

const linksPath = "/api/connect/{provider}/links"

// linkBody is what a link is asked for with.
type linkBody struct {
	_        struct{} `additionalProperties:"false"`
	UserID   string   `json:"userId,omitempty" minLength:"1" maxLength:"255" doc:"Your own id of the user. Without it: the user of the API key. Another one needs the scope on_behalf"`
	ReturnTo string   `json:"returnTo,omitempty" minLength:"1" maxLength:"2048" format:"uri" doc:"Where the person is sent afterwards, with status=connected and accountId, or status=failed and code, added to its query. It has to be on the operator's list. Without it: a page here tells how it ended"`
}

// Link is a link to give to a person.
type Link struct {
	URL       string    `json:"url" format:"uri" doc:"For the person's browser: it leads to the provider"`
	ExpiresAt time.Time `json:"expiresAt" doc:"It may be opened several times until then, or until it has led to a connection"`
}

type linkInput struct {
	Provider string `path:"provider" maxLength:"64" doc:"The provider to connect an account of" example:"instagram"`
	RawBody  []byte `contentType:"application/json"`
}

func (f *Flow) registerLinks(a *httpapi.API) {
	httpapi.Register(a, huma.Operation{
		OperationID: "make-connect-link", Method: http.MethodPost, Path: linksPath, Summary: "Make a link that connects an account",
		Description:   "For somebody whose browser has no API key: whoever opens the link connects an account of theirs for the user.",
		DefaultStatus: http.StatusCreated,
	}, []httpapi.Code{httpapi.CodeMissingScope, httpapi.CodeNotFound, httpapi.CodeConflict, httpapi.CodeRateLimitExceeded},
		func(ctx context.Context, in *linkInput) (httpapi.Reply[Link], error) {
			body, err := httpapi.ReadBody[linkBody](a, in.RawBody)
			if err != nil {
				return httpapi.Reply[Link]{}, err
			}
			return f.makeLink(ctx, in.Provider, body)
		})
	httpapi.DescribeBody[linkBody](a, linksPath)
}

func (f *Flow) makeLink(ctx context.Context, provider string, body linkBody) (httpapi.Reply[Link], error) {
	b, err := f.asked(ctx, provider, "/", body)
	if err != nil {
		return httpapi.Reply[Link]{}, err
	}
	token := newToken()
	sum, _ := hashOf(token)
	expires, err := f.store.addLink(ctx, sum, b.user, provider, b.returnTo, f.cfg.LinkLife)
	switch {
	case errors.Is(err, errTooMany):
		return httpapi.Reply[Link]{}, &httpapi.Error{Code: httpapi.CodeRateLimitExceeded, RetryAfter: f.cfg.LinkLife,
			Message: fmt.Sprintf("the user has %d links that are neither used nor expired", f.cfg.MaxOpen)}
	case err != nil:
		return httpapi.Reply[Link]{}, f.unavailableOr(fmt.Errorf("make connect link: %w", err))
	}
	url := f.cfg.PublicURL + "/api/connect/" + provider + "?link=" + token
	return httpapi.Reply[Link]{Data: Link{URL: url, ExpiresAt: expires}}, nil
}

// asked checks what a caller with a key asks for, whose fields stand in field.
func (f *Flow) asked(ctx context.Context, provider, field string, body linkBody) (beginning, error) {
	b := beginning{provider: provider}
	if err := httpapi.Require(ctx, tenant.ScopeAccounts); err != nil {
		return b, err
	}
	if _, ok := f.authorizer(provider); !ok {
		return b, &httpapi.Error{Code: httpapi.CodeNotFound,
			Message: "accounts can be connected of: " + strings.Join(f.providers(), ", ")}
	}
	if body.ReturnTo != "" {
		var err error
		if b.returnTo, err = f.returns.allow(body.ReturnTo); err != nil {
			return b, httpapi.Invalid(events.Violation{Field: field + "returnTo", Rule: "allowed", Message: err.Error()})
		}
	}
	var err error
	b.user, err = f.whose(ctx, field+"userId", body.UserID)
	return b, err
}

// whose is the user who is named, for which a key needs on_behalf, or the caller.
func (f *Flow) whose(ctx context.Context, field, externalID string) (uuid.UUID, error) {
	caller := httpapi.CallerOf(ctx)
	if externalID == "" || externalID == caller.ExternalID {
		return caller.UserID, nil
	}
	if err := httpapi.Require(ctx, tenant.ScopeOnBehalf); err != nil {
		return uuid.Nil, err
	}
	if why := tenant.ValidExternalID(externalID); why != "" {
		return uuid.Nil, httpapi.Invalid(events.Violation{Field: field, Rule: "format", Message: why})
	}
	u, err := f.cfg.Users.User(ctx, externalID)
	switch {
	case errors.Is(err, tenant.ErrNoUser):
		return uuid.Nil, &httpapi.Error{Code: httpapi.CodeNotFound, Message: "there is no such user"}
	case err != nil:
		return uuid.Nil, f.unavailableOr(err)
	case !u.DeletingAt.IsZero():
		return uuid.Nil, &httpapi.Error{Code: httpapi.CodeConflict, Message: "the user is being deleted"}
	}
	return u.ID, nil
}

// unavailableOr is a failure that may pass, or err as it is.
func (f *Flow) unavailableOr(err error) error {
	if ours(err) == unavailable {
		return f.failure(end{outcome: unavailable, err: err})
	}
	return err
}

// providers are those that an account can be connected of.
func (f *Flow) providers() []string {
	var names []string
	for name, c := range f.cfg.Connectors {
		if _, ok := c.(connectors.Authorizer); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
