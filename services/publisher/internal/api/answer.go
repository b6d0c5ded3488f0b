package api

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"postbus.dev/events"
	"postbus.dev/services/internal/httpapi"
)

// Post is the data of a publish that is live.
type Post struct {
	PublishID string    `json:"publishId" format:"uuid"`
	PostID    *string   `json:"postId" doc:"The provider's id of the post; null where the provider never tells it"`
	Platform  string    `json:"platform" example:"instagram"`
	Type      string    `json:"type" example:"IMAGE" doc:"The media type"`
	URL       *string   `json:"url" doc:"Where the post is; null where the provider never tells it"`
	Permalink *string   `json:"permalink" doc:"The same as url"`
	Timestamp time.Time `json:"timestamp" doc:"When it was published, by the provider's clock where it tells"`
	Caption   string    `json:"caption" doc:"As published"`
	Status    string    `json:"status" enum:"PUBLISHED"`
	Metadata  Object    `json:"metadata" doc:"An object with what else the provider tells"`
}

// Pending is the data of a publish that has no outcome yet, or whose outcome is
// not known.
type Pending struct {
	PublishID string     `json:"publishId" format:"uuid"`
	State     string     `json:"state" example:"accepted"`
	Code      string     `json:"code,omitempty" enum:"OUTCOME_UNKNOWN" doc:"OUTCOME_UNKNOWN: the provider's answer was lost and looking at the account could not tell whether the post is live. It is not tried again"`
	Message   string     `json:"message,omitempty" doc:"With a code: the evidence"`
	Waits     string     `json:"waits,omitempty" doc:"Why it waits" example:"rate_limit"`
	DueAt     *time.Time `json:"dueAt,omitempty"`
}

// Object is a JSON object as it came; nothing is an empty one.
type Object json.RawMessage

// MarshalJSON writes it as it is.
func (o Object) MarshalJSON() ([]byte, error) {
	if len(o) == 0 {
		return []byte("{}"), nil
	}
	return o, nil
}

// Schema documents it; huma asks for it.
func (Object) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}
}

// failureDetails are the details of the error that a failed publish is answered
// with.
type failureDetails struct {
	PublishID         string             `json:"publishId"`
	ProviderCode      string             `json:"providerCode,omitempty"`
	ProviderRequestID string             `json:"providerRequestId,omitempty"`
	Violations        []events.Violation `json:"violations,omitempty"`
}

// answer says what a publish came to.
func (a *API) answer(ctx context.Context, p Publish) (httpapi.Reply[any], error) {
	switch p.State {
	case stateCompleted:
		return httpapi.Reply[any]{Status: http.StatusOK, Data: postOf(p)}, nil
	case stateFailed:
		return httpapi.Reply[any]{}, failed(p)
	case stateCanceled, stateTombstone:
		return httpapi.Reply[any]{}, &httpapi.Error{Code: httpapi.CodeCanceled, Message: "the publish was canceled",
			Details: failureDetails{PublishID: p.ID.String()}}
	}
	httpapi.Header(ctx).Set("Location", "/api/publishes/"+p.ID.String())
	return httpapi.Reply[any]{Status: http.StatusAccepted, Data: pendingOf(p)}, nil
}

func postOf(p Publish) Post {
	r := p.Result
	if r == nil {
		r = &Result{}
	}
	at := r.Timestamp
	if at.IsZero() {
		at = p.EndedAt
	}
	return Post{
		PublishID: p.ID.String(), PostID: orNull(r.PostID), Platform: p.Provider, Type: p.MediaType,
		URL: orNull(r.Permalink), Permalink: orNull(r.Permalink), Timestamp: at.UTC(), Caption: r.Caption,
		Status: "PUBLISHED", Metadata: Object(r.Metadata),
	}
}

func pendingOf(p Publish) Pending {
	d := Pending{PublishID: p.ID.String(), State: p.State, Waits: p.DelayReason, DueAt: timeOrNull(p.DueAt)}
	if p.State == stateUnconfirmed {
		d.Code, d.Message = httpapi.OutcomeUnknown, "the outcome is not known"
		if p.Problem != nil {
			d.Message = cmp.Or(p.Problem.Message, d.Message)
		}
	}
	return d
}

// failed is the error of a failed publish: its code stands for the HTTP status.
func failed(p Publish) *httpapi.Error {
	problem := p.Problem
	if problem == nil {
		problem = &Problem{Code: string(httpapi.CodeInternal)}
	}
	return &httpapi.Error{
		Code: httpapi.Code(problem.Code), Message: problem.Message, Retryable: problem.Retryable,
		Details: failureDetails{
			PublishID: p.ID.String(), ProviderCode: problem.ProviderCode, ProviderRequestID: problem.ProviderRequestID, Violations: problem.Violations,
		},
	}
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func idOrEmpty(id uuid.UUID) string {
	if id == uuid.Nil {
		return ""
	}
	return id.String()
}
