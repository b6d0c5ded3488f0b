package api

import (
	"context"
	"time"

	"github.com/google/uuid"

	"postbus.dev/events"
	"postbus.dev/services/internal/httpapi"
	"postbus.dev/services/internal/tenant"
)

type listInput struct {
	httpapi.PageInput
	State     string    `query:"state" enum:"accepted,ready,armed,unknown,confirming,unconfirmed,completed,failed,canceled" doc:"Only those in this state"`
	Provider  string    `query:"provider" maxLength:"64" doc:"Only those at this provider"`
	AccountID string    `query:"accountId" format:"uuid" doc:"Only those with this account"`
	From      time.Time `query:"from" doc:"Only those accepted then or later, RFC 3339"`
	To        time.Time `query:"to" doc:"Only those accepted before, RFC 3339"`
	UserID    string    `query:"userId" maxLength:"255" doc:"Your own id of the user whose publishes they are. Without it: the user of the API key. Another one needs the scope on_behalf"`
}

// place is where a page ended.
type place struct {
	At time.Time `json:"a"`
	ID uuid.UUID `json:"i"`
}

// list answers GET /api/publishes.
func (a *API) list(ctx context.Context, in *listInput) (httpapi.Reply[httpapi.Page[PublishSummary]], error) {
	var reply httpapi.Reply[httpapi.Page[PublishSummary]]
	f, err := a.filter(ctx, in)
	if err != nil {
		return reply, err
	}
	f.Limit++ // one more tells whether there is a next page
	found, err := a.cfg.Publishes.List(ctx, f)
	if err != nil {
		return reply, readError(err)
	}
	if len(found) > in.Limit {
		found = found[:in.Limit]
		last := found[in.Limit-1]
		if reply.Data.NextCursor, err = httpapi.Cursor(place{last.AcceptedAt, last.ID}); err != nil {
			return reply, err
		}
	}
	reply.Data.Items = make([]PublishSummary, len(found))
	for i, p := range found {
		reply.Data.Items[i] = summaryOf(p)
	}
	return reply, nil
}

func (a *API) filter(ctx context.Context, in *listInput) (Filter, error) {
	f := Filter{State: in.State, Provider: in.Provider, From: in.From, To: in.To, Limit: in.Limit}
	if err := httpapi.Require(ctx, tenant.ScopePublish); err != nil {
		return f, err
	}
	var at place
	if _, err := in.Place(&at); err != nil {
		return f, err
	}
	if !in.From.IsZero() && !in.To.IsZero() && !in.To.After(in.From) {
		return f, httpapi.Invalid(events.Violation{Field: "query.to", Rule: "after", Message: "must be after from"})
	}
	f.After, f.AfterID = at.At, at.ID
	if in.AccountID != "" {
		id, err := uuid.Parse(in.AccountID)
		if err != nil {
			return f, httpapi.Invalid(events.Violation{Field: "query.accountId", Rule: "format", Message: "must be a UUID"})
		}
		f.AccountID = id
	}
	var err error
	f.UserID, err = a.user(ctx, in.UserID)
	return f, err
}
