package httpapi

import (
	"maps"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// Handle adds an operation whose answers are no envelopes: pages, redirects,
// whatever a provider wants to hear. handle writes the whole answer, with
// WriteFailure where a program called; op.Responses documents what it may write,
// and codes the failures among it.
//
// An operation asks for an API key as one of Register does. With
// OptionalKey as its Security it takes none too: CallerOf is the zero Caller
// then. It takes bodies of the media types in op.RequestBody.
func Handle(a *API, op huma.Operation, codes []Code, handle http.HandlerFunc) {
	codes = append(slices.Clone(codes), CodeValidation, CodeInternal)
	if op.RequestBody != nil {
		op.Middlewares = append(huma.Middlewares{takeOnly(slices.Sorted(maps.Keys(op.RequestBody.Content))...)}, op.Middlewares...)
	}
	switch {
	case op.Security == nil:
		codes = a.secure(&op, codes, a.authenticate)
	case len(op.Security) > 1:
		codes = a.secure(&op, codes, a.authenticateIfSent)
	}
	op.Responses = maps.Clone(op.Responses)
	if op.Responses == nil {
		op.Responses = map[string]*huma.Response{}
	}
	a.describeCodes(op.Responses, codes)
	a.huma.OpenAPI().AddOperation(&op)
	a.huma.Adapter().Handle(&op, op.Middlewares.Handler(func(ctx huma.Context) {
		r, w := humago.Unwrap(ctx)
		handle(w, r.WithContext(ctx.Context()))
	}))
}

// Public is the Security of an operation that asks for no API key.
func Public() []map[string][]string { return []map[string][]string{} }

// OptionalKey is the Security of an operation that works without an API key too.
// One that is sent has to be valid.
func OptionalKey() []map[string][]string { return []map[string][]string{{bearer: {}}, {}} }

// secure puts the check of the key before everything else of an operation.
func (a *API) secure(op *huma.Operation, codes []Code, check func(huma.Context, func(huma.Context))) []Code {
	if op.Security == nil {
		op.Security = []map[string][]string{{bearer: {}}}
	}
	op.Middlewares = append(huma.Middlewares{check}, op.Middlewares...)
	return append(codes, CodeUnauthorized, CodeServiceUnavailable)
}

func (a *API) authenticateIfSent(ctx huma.Context, next func(huma.Context)) {
	if len(RequestHeader(ctx).Values("Authorization")) == 0 {
		next(ctx)
		return
	}
	a.authenticate(ctx, next)
}

// takeOnly refuses a body that is of another media type.
func takeOnly(media ...string) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		r, w := humago.Unwrap(ctx)
		if err := checkMediaType(r, media); err != nil {
			WriteFailure(w, r, err)
			return
		}
		next(ctx)
	}
}

// addContent documents one more form of the answer with a status: a page for a
// person may be an envelope for a program.
func addContent(to map[string]*huma.Response, status string, more *huma.Response) {
	there := to[status]
	if there == nil {
		to[status] = more
		return
	}
	both := *there
	both.Description += "; " + more.Description
	both.Content = map[string]*huma.MediaType{}
	maps.Copy(both.Content, there.Content)
	maps.Copy(both.Content, more.Content)
	to[status] = &both
}
