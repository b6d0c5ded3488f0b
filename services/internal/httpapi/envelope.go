package httpapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"postbus.dev/events"
)

// Envelope is the body of every success.
type Envelope[T any] struct {
	Success bool `json:"success" enum:"true" doc:"true: data holds the answer"`
	Data    T    `json:"data"`
	Meta    Meta `json:"meta"`
}

// Failure is the body of every error.
type Failure struct {
	Success bool    `json:"success" enum:"false" doc:"false: error says why"`
	Problem Problem `json:"error"`
	Meta    Meta    `json:"meta"`

	status int
}

// Problem says what went wrong.
type Problem struct {
	Code       Code   `json:"code"`
	Message    string `json:"message" doc:"What went wrong, for people"`
	Details    any    `json:"details,omitempty" doc:"More about it; violations where a request is invalid"`
	Retryable  bool   `json:"retryable" doc:"Whether the same request may succeed later, unchanged"`
	RetryAfter int64  `json:"retryAfter,omitempty" doc:"Seconds to wait before the next try; the Retry-After header says the same"`
}

// Meta is about the request.
type Meta struct {
	RequestID string    `json:"requestId" doc:"The X-Request-Id of the request, or one that was made for it"`
	Timestamp time.Time `json:"timestamp"`
	TraceID   string    `json:"traceId,omitempty" doc:"OpenTelemetry trace of the request"`
}

// Violations are the details of a request that is invalid.
type Violations struct {
	Violations []events.Violation `json:"violations" nullable:"false"`
}

// Error is what a handler returns for everything but success. Any other error is
// logged and answered as INTERNAL_ERROR without its text.
type Error struct {
	Code       Code
	Message    string // for people; default a sentence about the code's status
	Status     int    // default Code.Status
	Details    any
	Retryable  *bool // default Code.Retryable
	RetryAfter time.Duration
	Header     http.Header // set on the answer
	Err        error       // the cause; logged if the status is 500 or more, never shown
}

func (e *Error) Error() string {
	s := string(e.Code)
	if e.Message != "" {
		s += ": " + e.Message
	}
	if e.Err != nil {
		s += fmt.Sprintf(": %v", e.Err)
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// Invalid is the error of a request that breaks the rules.
func Invalid(violations ...events.Violation) *Error {
	return &Error{Code: CodeValidation, Message: "the request is invalid: " + events.Summary(violations), Details: Violations{violations}}
}

// GetStatus and Error make a Failure an error that huma can write.
func (f *Failure) GetStatus() int { return f.status }
func (f *Failure) Error() string  { return string(f.Problem.Code) + ": " + f.Problem.Message }

var _ huma.StatusError = (*Failure)(nil)

func success[T any](ctx context.Context, data T) Envelope[T] {
	return Envelope[T]{Success: true, Data: data, Meta: metaOf(ctx)}
}

// failure turns any error into the body of the answer and sets its headers.
func failure(ctx context.Context, err error) *Failure {
	var e *Error
	if !errors.As(err, &e) {
		e = &Error{Code: CodeInternal, Message: "something went wrong here; the request id finds it in the logs", Err: err}
	}
	f := &Failure{status: cmp.Or(e.Status, e.Code.Status()), Meta: metaOf(ctx), Problem: Problem{
		Code: e.Code, Message: e.Message, Details: e.Details, Retryable: e.Code.Retryable(),
		RetryAfter: wholeSeconds(e.RetryAfter),
	}}
	f.Problem.Message = cmp.Or(f.Problem.Message, http.StatusText(f.status))
	if e.Retryable != nil {
		f.Problem.Retryable = *e.Retryable
	}
	setHeaders(ctx, e, f)
	if f.status >= http.StatusInternalServerError && e.Err != nil {
		stateOf(ctx).logger.ErrorContext(ctx, "a request failed", "request_id", f.Meta.RequestID, "code", e.Code, "error", err)
	}
	return f
}

func setHeaders(ctx context.Context, e *Error, f *Failure) {
	h := Header(ctx)
	for name, values := range e.Header {
		h[name] = values
	}
	if f.Problem.RetryAfter > 0 {
		h.Set("Retry-After", fmt.Sprint(f.Problem.RetryAfter))
	}
	if f.status == http.StatusUnauthorized && h.Get("WWW-Authenticate") == "" {
		h.Set("WWW-Authenticate", `Bearer realm="postbus"`)
	}
}

// wholeSeconds rounds up: who comes back at the second told must not be early.
func wholeSeconds(d time.Duration) int64 { return int64(math.Ceil(d.Seconds())) }
