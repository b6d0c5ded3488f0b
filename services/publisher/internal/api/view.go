package api

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"postbus.dev/events"
	"postbus.dev/services/internal/httpapi"
	"postbus.dev/services/internal/postgres"
	"postbus.dev/services/internal/tenant"
)

// PublishSummary is a publish as a list shows it.
type PublishSummary struct {
	PublishID string       `json:"publishId" format:"uuid"`
	State     string       `json:"state" enum:"accepted,ready,armed,unknown,confirming,unconfirmed,completed,failed,canceled" doc:"accepted: being prepared or waiting; ready: prepared, waits for its time; armed, unknown, confirming: at the provider; unconfirmed: nobody can tell whether it is live"`
	Code      string       `json:"code,omitempty" doc:"OUTCOME_UNKNOWN with unconfirmed"`
	Request   RequestView  `json:"request"`
	Provider  string       `json:"provider,omitempty"`
	AccountID string       `json:"accountId,omitempty"`
	MediaType string       `json:"mediaType,omitempty"`
	Waits     string       `json:"waits,omitempty" doc:"Why it waits"`
	Commits   int          `json:"commits" doc:"How often it was sent to be published; more than 1 only where the one before was proved not to have happened"`
	Times     TimesView    `json:"times"`
	Post      *Post        `json:"post,omitempty" doc:"With completed"`
	Problem   *ProblemView `json:"problem,omitempty" doc:"With failed and unconfirmed"`
	TraceID   string       `json:"traceId,omitempty" doc:"OpenTelemetry trace of the publish"`
}

// PublishView is the data of GET /api/publishes/{id}.
type PublishView struct {
	PublishSummary
	Attempts []AttemptView `json:"attempts" nullable:"false" doc:"What was tried, oldest first"`
}

// RequestView names the request that a publish came from.
type RequestView struct {
	Source string `json:"source" doc:"CloudEvents source"`
	ID     string `json:"id" doc:"CloudEvents id; over HTTP the Idempotency-Key"`
}

// TimesView are by the database's clock.
type TimesView struct {
	AcceptedAt *time.Time `json:"acceptedAt,omitempty"`
	DueAt      *time.Time `json:"dueAt,omitempty"`
	NextAt     *time.Time `json:"nextAt,omitempty" doc:"When the next step may run"`
	ArmedAt    *time.Time `json:"armedAt,omitempty" doc:"When the last commit was written down, before it was sent"`
	ExpiresAt  *time.Time `json:"expiresAt,omitempty"`
	EndedAt    *time.Time `json:"endedAt,omitempty"`
}

// ProblemView is why a publish failed or cannot be confirmed.
type ProblemView struct {
	Code              string             `json:"code"`
	Message           string             `json:"message"`
	ProviderCode      string             `json:"providerCode,omitempty"`
	ProviderRequestID string             `json:"providerRequestId,omitempty"`
	Violations        []events.Violation `json:"violations,omitempty" nullable:"false"`
}

// AttemptView is one entry of the attempt log.
type AttemptView struct {
	Attempt           int       `json:"attempt" doc:"The number of the commit that it belongs to"`
	Step              string    `json:"step" example:"prepare"`
	Call              string    `json:"call,omitempty" doc:"The provider call"`
	Outcome           string    `json:"outcome"`
	ProviderRequestID string    `json:"providerRequestId,omitempty"`
	ProviderCode      string    `json:"providerCode,omitempty"`
	HTTPStatus        int       `json:"httpStatus,omitempty"`
	Message           string    `json:"message,omitempty"`
	DurationMs        int64     `json:"durationMs"`
	At                time.Time `json:"at"`
}

// Target names a publish in a request.
type Target struct {
	ID     string `path:"id" format:"uuid" doc:"The publish id"`
	UserID string `query:"userId" maxLength:"255" doc:"Your own id of the user whose publish it is. Without it: the user of the API key. Another one needs the scope on_behalf"`
}

// get answers GET /api/publishes/{id}.
func (a *API) get(ctx context.Context, in *Target) (httpapi.Reply[PublishView], error) {
	p, err := a.own(ctx, *in, tenant.ScopePublish)
	return httpapi.Reply[PublishView]{Data: viewOf(p)}, err
}

// cancel answers POST /api/publishes/{id}/cancel.
func (a *API) cancel(ctx context.Context, in *Target) (httpapi.Reply[PublishView], error) {
	p, err := a.own(ctx, *in, tenant.ScopePublish)
	if err != nil {
		return httpapi.Reply[PublishView]{}, err
	}
	return a.change(ctx, func(ctx context.Context) (Publish, error) {
		return a.cfg.Publishes.Cancel(ctx, p.ID, httpapi.CallerOf(ctx))
	})
}

// change answers with what a publish has become. Once begun it goes on when the
// caller goes away.
func (a *API) change(ctx context.Context, do func(context.Context) (Publish, error)) (httpapi.Reply[PublishView], error) {
	own, stop := context.WithTimeout(context.WithoutCancel(ctx), acceptLimit)
	defer stop()
	p, err := do(own)
	if errors.Is(err, ErrTooLate) {
		return httpapi.Reply[PublishView]{}, &httpapi.Error{
			Code: httpapi.CodeConflict, Message: "it is too late for that: the publish is " + p.State,
			Details: Pending{PublishID: p.ID.String(), State: p.State},
		}
	}
	if err != nil {
		return httpapi.Reply[PublishView]{}, readError(err)
	}
	return httpapi.Reply[PublishView]{Data: viewOf(p)}, nil
}

// own reads a publish of the caller, or of the user whom the caller names. One
// of somebody else is answered exactly like one that does not exist.
func (a *API) own(ctx context.Context, t Target, scope tenant.Scope) (Publish, error) {
	if err := httpapi.Require(ctx, scope); err != nil {
		return Publish{}, err
	}
	user, err := a.user(ctx, t.UserID)
	if err != nil {
		return Publish{}, err
	}
	id, err := uuid.Parse(t.ID)
	if err != nil {
		return Publish{}, readError(ErrNotFound)
	}
	p, err := a.cfg.Publishes.Get(ctx, id)
	if err != nil {
		return Publish{}, readError(err)
	}
	if !p.reached(httpapi.CallerOf(ctx), user) {
		return Publish{}, readError(ErrNotFound)
	}
	return p, nil
}

// user is whose publishes a request is about: the caller's, or those of the user
// whom it names.
func (a *API) user(ctx context.Context, externalID string) (uuid.UUID, error) {
	c := httpapi.CallerOf(ctx)
	if externalID == "" || externalID == c.ExternalID {
		return c.UserID, nil
	}
	if !c.May(tenant.ScopeOnBehalf) {
		return uuid.Nil, namesAnother()
	}
	u, err := a.cfg.Users.User(ctx, externalID)
	if errors.Is(err, tenant.ErrNoUser) {
		return uuid.Nil, &httpapi.Error{Code: httpapi.CodeNotFound, Message: "there is no such user"}
	}
	if err != nil {
		return uuid.Nil, readError(err)
	}
	return u.ID, nil
}

func namesAnother() error {
	return &httpapi.Error{Code: httpapi.CodeMissingScope,
		Message: fmt.Sprintf("to name another user the API key needs the scope %q", tenant.ScopeOnBehalf)}
}

func readError(err error) error {
	switch {
	case errors.Is(err, ErrNotFound):
		return &httpapi.Error{Code: httpapi.CodeNotFound, Message: "there is no such publish"}
	case postgres.IsUnavailable(err), postgres.IsContention(err):
		return &httpapi.Error{Code: httpapi.CodeServiceUnavailable, Message: "the database is away; try again", Err: err}
	default:
		return err
	}
}

func viewOf(p Publish) PublishView {
	v := PublishView{PublishSummary: summaryOf(p), Attempts: make([]AttemptView, 0, len(p.Attempts))}
	for _, s := range p.Attempts {
		v.Attempts = append(v.Attempts, AttemptView{
			s.Attempt, s.Step, s.Call, s.Outcome, s.ProviderRequestID, s.ProviderCode, s.HTTPStatus, s.Message, s.Duration.Milliseconds(), s.At.UTC(),
		})
	}
	return v
}

func summaryOf(p Publish) PublishSummary {
	v := PublishSummary{
		PublishID: p.ID.String(), State: p.State, Request: RequestView{p.Source, p.RequestID}, Provider: p.Provider,
		AccountID: idOrEmpty(p.AccountID), MediaType: p.MediaType, Waits: p.DelayReason, Commits: p.Attempt, TraceID: p.TraceID,
		Times: TimesView{
			AcceptedAt: timeOrNull(p.AcceptedAt), DueAt: timeOrNull(p.DueAt), NextAt: timeOrNull(p.NextAt),
			ArmedAt: timeOrNull(p.ArmedAt), ExpiresAt: timeOrNull(p.ExpiresAt), EndedAt: timeOrNull(p.EndedAt),
		},
	}
	if p.State == stateUnconfirmed {
		v.Code = httpapi.OutcomeUnknown
	}
	if p.State == stateCompleted {
		post := postOf(p)
		v.Post = &post
	}
	if pr := p.Problem; pr != nil {
		v.Problem = &ProblemView{pr.Code, pr.Message, pr.ProviderCode, pr.ProviderRequestID, pr.Violations}
	}
	return v
}
