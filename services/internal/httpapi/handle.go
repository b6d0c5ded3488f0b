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
// An operation asks for an API key, and counts the call, as one of Register does. With
// OptionalKey as its Security it takes none too: CallerOf is the zero Caller
// then. It takes bodies of the media types in op.RequestBody.
func Handle(a *API, op huma.Operation, codes []Code, handle http.HandlerFunc) {
	if op.RequestBody != nil {
		op.Middlewares = append(huma.Middlewares{takeOnly(slices.Sorted(maps.Keys(op.RequestBody.Content))...)}, op.Middlewares...)
	}
	op.Responses = maps.Clone(op.Responses)
	if op.Responses == nil {
		op.Responses = map[string]*huma.Response{}
	}
	a.secure(&op, codes, op.RequestBody != nil)
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

// secure puts the check of the key and the counting of the call before
// everything else of an operation, and documents what they and all operations
// may answer.
func (a *API) secure(op *huma.Operation, codes []Code, hasBody bool) {
	codes = append(slices.Clone(codes), CodeValidation, CodeInternal)
	var before huma.Middlewares
	keyless := op.Security != nil && len(op.Security) == 0
	switch {
	case op.Security == nil:
		op.Security = []map[string][]string{{bearer: {}}}
		before = append(before, a.authenticate)
	case !keyless:
		before = append(before, a.authenticateIfSent)
	}
	counted := never
	if !keyless {
		codes = append(codes, CodeUnauthorized, CodeServiceUnavailable)
		counted = sometimes
	}
	if !keyless && op.Metadata[CountsItself] == nil {
		before = append(before, a.limited)
		codes = append(codes, CodeRateLimitExceeded)
		if len(op.Security) == 1 {
			counted = always
		}
	}
	op.Middlewares = append(before, op.Middlewares...)
	a.describeCodes(op.Responses, codes)
	if hasBody {
		a.describeBodyLimits(op.Responses)
	}
	describeHeaders(op.Responses, counted)
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
