package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"postbus.dev/services/internal/tenant"
)

const bearer = "bearer"

// Keys knows who an API key belongs to; *tenant.Keys does.
type Keys interface {
	// Authenticate returns tenant.ErrUnauthorized for a key that is not known, or
	// not valid any more.
	Authenticate(ctx context.Context, key string) (tenant.Caller, error)
}

type callerKey struct{}

// CallerOf returns who sent the request. It is the zero Caller in a public
// operation.
func CallerOf(ctx context.Context) tenant.Caller {
	c, _ := ctx.Value(callerKey{}).(tenant.Caller)
	return c
}

// authenticate is the middleware of every operation that is not public.
func (a *API) authenticate(ctx huma.Context, next func(huma.Context)) {
	caller, err := a.caller(ctx.Context(), RequestHeader(ctx))
	if err != nil {
		_ = huma.WriteErr(a.huma, ctx, err.Code.Status(), err.Message, err)
		return
	}
	next(huma.WithValue(ctx, callerKey{}, caller))
}

func (a *API) caller(ctx context.Context, h http.Header) (tenant.Caller, *Error) {
	key, ok := bearerOf(h)
	if !ok {
		return tenant.Caller{}, &Error{Code: CodeUnauthorized, Message: `send an API key: "Authorization: Bearer pb_..."`}
	}
	caller, err := a.keys.Authenticate(ctx, key)
	switch {
	case err == nil:
		return caller, nil
	case errors.Is(err, tenant.ErrUnauthorized):
		return tenant.Caller{}, &Error{
			Code: CodeUnauthorized, Message: "the API key is not known, has expired or was revoked",
			Header: http.Header{"Www-Authenticate": {`Bearer realm="postbus", error="invalid_token"`}},
		}
	default:
		return tenant.Caller{}, &Error{Code: CodeServiceUnavailable, Message: "API keys cannot be checked right now", Err: err}
	}
}

// KeyGone says, for an answer that goes on for long, that the request's API key is
// not valid any more. Where that cannot be found out right now it still is.
func (a *API) KeyGone(r *http.Request) bool {
	_, err := a.caller(r.Context(), r.Header)
	return err != nil && err.Code == CodeUnauthorized
}

// bearerOf takes a key only where there is exactly one: of two it would be a
// guess which one the caller meant.
func bearerOf(h http.Header) (string, bool) {
	values := h.Values("Authorization")
	if len(values) != 1 {
		return "", false
	}
	scheme, key, _ := strings.Cut(values[0], " ")
	key = strings.TrimSpace(key)
	return key, strings.EqualFold(scheme, bearer) && key != ""
}

// Require returns an *Error unless the caller's key has the scope.
func Require(ctx context.Context, scope tenant.Scope) error {
	if CallerOf(ctx).May(scope) {
		return nil
	}
	return &Error{Code: CodeMissingScope, Message: fmt.Sprintf("the API key lacks the scope %q", scope)}
}
