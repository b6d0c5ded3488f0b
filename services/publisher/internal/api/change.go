package api

import (
	"context"
	"errors"
	"net/url"
	"time"

	"postbus.dev/events"
	"postbus.dev/services/internal/httpapi"
	"postbus.dev/services/internal/tenant"
)

type rescheduleInput struct {
	Target
	RawBody []byte `contentType:"application/json"`
}

type rescheduleBody struct {
	_         struct{}  `additionalProperties:"false"`
	PublishAt time.Time `json:"publishAt" doc:"RFC 3339 with an offset, in the future"`
}

// reschedule answers PATCH /api/publishes/{id}.
func (a *API) reschedule(ctx context.Context, in *rescheduleInput) (httpapi.Reply[PublishView], error) {
	p, err := a.own(ctx, in.Target, tenant.ScopePublish)
	if err != nil {
		return httpapi.Reply[PublishView]{}, err
	}
	body, err := httpapi.ReadBody[rescheduleBody](a.http, in.RawBody)
	if err != nil {
		return httpapi.Reply[PublishView]{}, err
	}
	return a.change(ctx, func(ctx context.Context) (Publish, error) {
		return a.cfg.Publishes.Reschedule(ctx, p.ID, body.PublishAt)
	})
}

type resolveInput struct {
	Target
	RawBody []byte `contentType:"application/json"`
}

type resolveBody struct {
	_         struct{} `additionalProperties:"false"`
	Outcome   string   `json:"outcome" enum:"published,not_published"`
	PostID    string   `json:"postId,omitempty" minLength:"1" maxLength:"255" pattern:"^[!-~]+$" patternDescription:"printable ASCII without spaces" doc:"The provider's id of the post. Required with published, refused without"`
	Permalink string   `json:"permalink,omitempty" minLength:"1" maxLength:"2048" format:"uri" doc:"Where the post is, an absolute http(s) URL. Only with published"`
	Reason    string   `json:"reason,omitempty" minLength:"1" maxLength:"300" doc:"How it is known. Required with not_published, refused without"`
}

// verdict checks what belongs together.
func (b resolveBody) verdict() (Verdict, error) {
	var faults []events.Violation
	fault := func(is bool, field, rule, message string) {
		if is {
			faults = append(faults, events.Violation{Field: field, Rule: rule, Message: message})
		}
	}
	published := b.Outcome == "published"
	fault(published && b.PostID == "", "/postId", "required", "is missing: which post is it?")
	fault(published && b.Permalink != "" && !isWebURL(b.Permalink), "/permalink", "format", "must be an absolute http or https URL")
	fault(published && b.Reason != "", "/reason", "dependentSchemas", "belongs to not_published")
	fault(!published && b.Reason == "", "/reason", "required", "is missing: how is it known?")
	fault(!published && b.PostID != "", "/postId", "dependentSchemas", "belongs to published")
	fault(!published && b.Permalink != "", "/permalink", "dependentSchemas", "belongs to published")
	if len(faults) > 0 {
		return Verdict{}, httpapi.Invalid(faults...)
	}
	return Verdict{Published: published, PostID: b.PostID, Permalink: b.Permalink, Reason: b.Reason}, nil
}

func isWebURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && u.User == nil
}

// resolve answers POST /api/publishes/{id}/resolve.
func (a *API) resolve(ctx context.Context, in *resolveInput) (httpapi.Reply[PublishView], error) {
	p, err := a.own(ctx, in.Target, tenant.ScopeAdmin)
	if err != nil {
		return httpapi.Reply[PublishView]{}, err
	}
	body, err := httpapi.ReadBody[resolveBody](a.http, in.RawBody)
	if err != nil {
		return httpapi.Reply[PublishView]{}, err
	}
	v, err := body.verdict()
	if err != nil {
		return httpapi.Reply[PublishView]{}, err
	}
	return a.change(ctx, func(ctx context.Context) (Publish, error) {
		resolved, err := a.cfg.Publishes.Resolve(ctx, p.ID, v, httpapi.CallerOf(ctx))
		if taken, ok := errors.AsType[*TakenError](err); ok {
			return p, a.taken(ctx, in.Target, taken.Owner)
		}
		return resolved, err
	})
}

// taken names the publish that has the post to those who may know of it.
func (a *API) taken(ctx context.Context, t Target, owner Publish) error {
	e := &httpapi.Error{Code: httpapi.CodeConflict, Message: "another publish has this post"}
	user, err := a.user(ctx, t.UserID)
	if err != nil {
		return err
	}
	if owner.reached(httpapi.CallerOf(ctx), user) {
		e.Message = "the publish " + owner.ID.String() + " has this post"
		e.Details = Pending{PublishID: owner.ID.String(), State: owner.State}
	}
	return e
}
