package api

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"postbus.dev/events"
	"postbus.dev/services/internal/httpapi"
	"postbus.dev/services/internal/telemetry"
	"postbus.dev/services/internal/tenant"
)

// publishInput is what a request for a publish consists of.
type publishInput struct {
	Provider       string `path:"provider" maxLength:"64" doc:"The provider to publish at" example:"instagram"`
	IdempotencyKey string `header:"Idempotency-Key" doc:"Makes a repeat harmless: the same key and body is the same publish, with another body it is refused. At most 255 printable characters of ASCII, as a quoted string or bare. Without it, each request is a publish of its own."`
	Prefer         string `header:"Prefer" doc:"wait=N waits up to N seconds (at most 60) for the outcome, respond-async does not wait. 25 seconds without it."`
	RawBody        []byte `contentType:"application/json"`

	key    string
	prefer httpapi.Preference
}

// Resolve reads the headers whose form huma does not know.
func (in *publishInput) Resolve(ctx huma.Context) []error {
	h := httpapi.RequestHeader(ctx)
	in.prefer = httpapi.ParsePrefer(h)
	key, violation := httpapi.IdempotencyKey(h)
	if violation != nil {
		return []error{httpapi.Invalid(*violation)}
	}
	in.key = cmp.Or(key, uuid.NewString())
	return nil
}

var _ huma.Resolver = (*publishInput)(nil)

// request checks everything that can be known without the database.
func (a *API) request(ctx context.Context, in *publishInput) (Request, error) {
	caller := httpapi.CallerOf(ctx)
	if !a.knows(in.Provider) {
		return Request{}, &httpapi.Error{Code: httpapi.CodeNotFound,
			Message: "there is no such provider; there are: " + strings.Join(a.cfg.Providers, ", ")}
	}
	body, err := read(in.RawBody, in.Provider, caller)
	if err != nil {
		return Request{}, err
	}
	if body.UserID != "" && body.UserID != caller.ExternalID && !caller.May(tenant.ScopeOnBehalf) {
		return Request{}, namesAnother()
	}
	return makeRequest(ctx, caller, in, body)
}

// read names every fault at once: of the shape first, and of the content where
// the shape let it be read.
func read(raw []byte, provider string, caller tenant.Caller) (events.PublishRequested, error) {
	body, err := events.ReadPublishRequested(raw)
	violations := events.Violations(err)
	if err != nil && (violations == nil || unreadable(violations)) {
		return body, refuse(err)
	}
	if body.Provider != "" && body.Provider != provider {
		violations = append(violations, events.Violation{Field: "/provider", Rule: "const", Message: "is not the provider of the path; leave it out"})
	}
	body.Provider = provider
	if body.AccountID == "" && body.UserID == "" && !has(violations, "/accountId") {
		body.UserID = caller.ExternalID
	}
	for _, v := range events.Violations(body.Validate()) {
		if !has(violations, v.Field) {
			violations = append(violations, v)
		}
	}
	if len(violations) > 0 {
		return body, httpapi.Invalid(violations...)
	}
	return body, nil
}

func refuse(err error) error {
	if violations := events.Violations(err); len(violations) > 0 {
		return httpapi.Invalid(violations...)
	}
	return err
}

// unreadable says whether the body as a whole is at fault: then nothing in it is.
func unreadable(violations []events.Violation) bool {
	for _, v := range violations {
		if v.Field == "" && v.Rule != "maxViolations" {
			return true
		}
	}
	return false
}

// has says whether the field, or something within it, is at fault already.
func has(violations []events.Violation, field string) bool {
	for _, v := range violations {
		if v.Field == field || strings.HasPrefix(v.Field, field+"/") {
			return true
		}
	}
	return false
}

// makeRequest makes the event that says the same as the HTTP request. Its data,
// not the body as it was typed, is what a repeat is compared with.
func makeRequest(ctx context.Context, caller tenant.Caller, in *publishInput, body events.PublishRequested) (Request, error) {
	source := Source(caller.UserID)
	id := events.PublishID(source, in.key).String()
	parent, state := telemetry.TraceContext(ctx)
	e, err := events.New(events.Meta{
		ID: in.key, Source: source, Subject: id, Time: time.Now(), PartitionKey: body.AccountID, CorrelationID: id,
		TraceParent: parent, TraceState: state,
	}, body)
	var invalid *events.ValidationError
	switch {
	case errors.As(err, &invalid):
		return Request{}, httpapi.Invalid(invalid.Violations...)
	case err != nil:
		return Request{}, fmt.Errorf("make publish.requested: %w", err)
	}
	return Request{
		Caller: caller, Source: source, ID: in.key, Provider: in.Provider,
		Data: e.Data(), SHA256: sha256.Sum256(e.Data()), Event: e,
	}, nil
}
