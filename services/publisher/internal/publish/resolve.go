package publish

import (
	"context"
	"errors"
	"fmt"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"

	"postbus.dev/events"
	"postbus.dev/services/connectors"
	"postbus.dev/services/publisher/internal/job"
)

// Verdict is what a person found out about an unconfirmed publish.
type Verdict struct {
	Published bool
	PostID    string // with Published
	Permalink string // with Published; "": not known
	Reason    string // without Published
	By        string // who says so
}

// ErrNotUnconfirmed says that there is nothing for a person to decide.
var ErrNotUnconfirmed = errors.New("the publish is not unconfirmed")

// TakenError says that another publish owns the remote post.
type TakenError struct{ Owner uuid.UUID }

func (e *TakenError) Error() string { return "publish " + e.Owner.String() + " owns this post" }

// Resolve ends an unconfirmed publish as a person decides. Of that and what the
// watch finds one counts. ErrNotUnconfirmed, job.ErrNotFound, *TakenError.
func (r *Runner) Resolve(ctx context.Context, id uuid.UUID, v Verdict) (job.Publish, error) {
	for {
		p, err := r.store.Get(ctx, id)
		if err != nil {
			return p, err
		}
		if p.State != job.Unconfirmed {
			return p, ErrNotUnconfirmed
		}
		tr, err := v.on(ctx, p)
		if err != nil {
			return p, fmt.Errorf("resolve publish: %w", err)
		}
		w, err := r.store.Write(ctx, tr)
		if job.IsRemoteTaken(err) {
			return p, r.takenBy(ctx, p, v.PostID)
		}
		if err != nil {
			return p, fmt.Errorf("resolve publish: %w", err)
		}
		if w.Moved {
			r.ended(ctx, w.Publish.Provider, w.Publish.State)
			return w.Publish, nil
		}
	}
}

func (r *Runner) takenBy(ctx context.Context, p job.Publish, remoteID string) error {
	owner, err := r.store.RemoteOwner(ctx, p.Provider, p.AccountID, remoteID)
	if err != nil {
		return err
	}
	return &TakenError{Owner: owner}
}

// on makes the transition that the verdict is. Who said so stands in the
// attempt log.
func (v Verdict) on(ctx context.Context, p job.Publish) (*job.Transition, error) {
	tr := &job.Transition{Publish: p, Lane: job.Free}
	step := job.Step{Attempt: p.Attempt, Step: "resolve", Outcome: "published", Message: "decided by " + v.By}
	var data events.Data
	var err error
	if v.Published {
		post := &connectors.RemotePost{ID: v.PostID, URL: v.Permalink}
		tr.Publish.State, tr.Publish.RemoteID, tr.Publish.Error = job.Completed, v.PostID, nil
		tr.Publish.Result, err = resultOf(post)
		data = completedData(p, post)
	} else {
		e := &connectors.Error{Kind: connectors.KindReject, Code: connectors.CodeUnavailable, Message: "a person decided that no post was made: " + v.Reason}
		tr.Publish.State, tr.Publish.Error = job.Failed, problem(e)
		step.Outcome, step.Message = "not_published", step.Message+": "+v.Reason
		data = failedData(refOf(p), e, p.Attempt)
	}
	if err != nil {
		return nil, err
	}
	e, err := tell(ctx, tr.Publish, p.Version+1, data)
	tr.Events, tr.Steps = []event.Event{e}, []job.Step{step}
	return tr, err
}
