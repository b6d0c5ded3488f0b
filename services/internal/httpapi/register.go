package httpapi

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"strconv"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"postbus.dev/events"
)

// Reply is what a handler answers with.
type Reply[T any] struct {
	Status int // 0 is the operation's DefaultStatus
	Data   T
}

type output struct {
	Status int
	Body   any
}

// Register adds an operation. Its handler returns the data of the envelope, or
// an error: an *Error says how to answer, any other one is an internal error.
// codes are those that the operation may answer with, beside those that every
// operation has. An operation asks for an API key and counts the call against
// its Limits unless op.Security is empty and not nil; CountsItself leaves out
// the counting. Query parameters that it does not know are refused.
//
// Where op.Responses has nothing for op.DefaultStatus, the answer is documented
// as an Envelope of T.
func Register[I, T any](a *API, op huma.Operation, codes []Code, handle func(ctx context.Context, in *I) (Reply[T], error)) {
	op.DefaultStatus = cmp.Or(op.DefaultStatus, http.StatusOK)
	op.Responses = maps.Clone(op.Responses)
	if op.Responses == nil {
		op.Responses = map[string]*huma.Response{}
	}
	if status := strconv.Itoa(op.DefaultStatus); op.Responses[status] == nil {
		op.Responses[status] = Describe[T](a, http.StatusText(op.DefaultStatus))
	}
	op.Middlewares = append(huma.Middlewares{takeOnly("application/json"), a.legible}, op.Middlewares...)
	op.RejectUnknownQueryParameters = true
	op.SkipValidateBody = true // a handler reads its body strictly and names every fault
	_, hasBody := reflect.TypeFor[I]().FieldByName("RawBody")
	a.secure(&op, codes, hasBody || op.Method != http.MethodGet)
	huma.Register(a.huma, op, func(ctx context.Context, in *I) (*output, error) {
		reply, err := handle(ctx, in)
		if err != nil {
			return nil, failure(ctx, err)
		}
		return &output{Status: cmp.Or(reply.Status, op.DefaultStatus), Body: success(ctx, reply.Data)}, nil
	})
}

// RequestHeader returns the header of a request, for a huma.Resolver that needs
// more than one value of a field.
func RequestHeader(ctx huma.Context) http.Header {
	r, _ := humago.Unwrap(ctx)
	return r.Header
}

// useEnvelope makes huma's own errors ours. They are functions of the huma
// package, so that all APIs of a process share them; they depend on the request
// alone.
var useEnvelope = sync.OnceFunc(func() { //nolint:gochecknoglobals // once a process, as the functions it sets
	huma.NewError = func(status int, msg string, errs ...error) huma.StatusError {
		return humaError(context.Background(), status, msg, errs)
	}
	huma.NewErrorWithContext = func(ctx huma.Context, status int, msg string, errs ...error) huma.StatusError {
		return humaError(ctx.Context(), status, msg, errs)
	}
})

// humaError is what huma answers when a parameter is wrong. A resolver of ours
// may have found an *Error.
func humaError(ctx context.Context, status int, msg string, errs []error) *Failure {
	var violations []events.Violation
	for _, err := range errs {
		e, ours := err.(*Error) //nolint:errorlint // huma passes them as they were returned
		if !ours {
			violations = append(violations, violationOf(err))
			continue
		}
		more, ok := e.Details.(Violations)
		if !ok {
			return failure(ctx, e)
		}
		violations = append(violations, more.Violations...)
	}
	switch {
	case status >= http.StatusInternalServerError:
		return failure(ctx, fmt.Errorf("%s: %w", msg, firstOf(errs)))
	case len(violations) > 0:
		return failure(ctx, Invalid(violations...))
	default:
		return failure(ctx, &Error{Code: codeOf(status), Status: status, Message: msg})
	}
}

func firstOf(errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	return errs[0]
}

// violationOf drops the value that huma keeps: it may be a secret sent to the
// wrong place.
func violationOf(err error) events.Violation {
	if d, ok := err.(huma.ErrorDetailer); ok { //nolint:errorlint // as above
		detail := d.ErrorDetail()
		return events.Violation{Field: detail.Location, Rule: "invalid", Message: detail.Message}
	}
	return events.Violation{Rule: "invalid", Message: err.Error()}
}
