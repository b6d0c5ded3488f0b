package publish

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"postbus.dev/events"
	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/telemetry"
	"postbus.dev/services/publisher/internal/job"
)

// Target names an account the way a request does.
type Target struct {
	AccountID  string
	Provider   string
	ExternalID string // the upstream's own id of the user
}

// Found is what a target came to.
type Found struct {
	Account  Account
	Many     []string // ids of the accounts, when the target fits several
	NotFound bool
}

// Directory finds the account of a target.
type Directory interface {
	Find(ctx context.Context, t Target) (Found, error)
}

// Request is a publish to accept, from the bus or the HTTP API.
type Request struct {
	Source, ID string // CloudEvents source and id: together they are the publish
	Data       []byte // data of publish.requested
	// Also is appended when the request is new: the API tells the bus so.
	Also []event.Event
	// UserID is whose publish it is where it reaches no account.
	UserID uuid.UUID
	// Allowed, if set, refuses accounts of others; they are answered as unknown.
	Allowed func(Account) bool
}

// Accept stores a request and, where it is due and the account's lane is free,
// starts on it. It returns when the row is committed. An invalid request is
// stored too, as failed, so that its repeat changes nothing.
func (r *Runner) Accept(ctx context.Context, req Request) (job.Taken, error) {
	for range 3 {
		n, acct, err := r.assess(ctx, req)
		if err != nil {
			return job.Taken{}, err
		}
		r.cfg.Failpoint("publish.before_insert")
		// Once begun, it is waited for: a row that was stored must reach its lane.
		taken, err := r.store.Store(context.WithoutCancel(ctx), n)
		if err != nil {
			return job.Taken{}, fmt.Errorf("store request: %w", err)
		}
		if taken.Stale {
			continue // read again, the account says itself that it is disconnecting
		}
		r.cfg.Failpoint("publish.inserted")
		r.stored(ctx, n, taken, acct)
		return taken, nil
	}
	return job.Taken{}, errors.New("store request: its account drains, and does not say that it is disconnecting")
}

// stored hands a new publish to its lane, or tells who holds that.
func (r *Runner) stored(ctx context.Context, n *job.New, taken job.Taken, acct Account) {
	if !taken.Stored {
		r.metrics.repeated.Add(ctx, 1)
		if !taken.Same {
			r.metrics.differing.Add(ctx, 1)
			r.log.WarnContext(ctx, "a request came again with other data; the first one stands", "publish", n.Publish.ID, "source", n.Publish.EventSource, "id", n.Publish.EventID)
		}
		return
	}
	r.metrics.accepted.Add(ctx, 1, metric.WithAttributes(attribute.String("state", string(taken.Publish.State))))
	switch {
	case taken.Publish.State != job.Accepted || !n.Want:
	case taken.Fence != 0:
		// The lease was taken by the statement that stored the publish, so it
		// counts from before it.
		if ln := r.lane(acct.key(), taken.Fence, taken.Until); ln == nil || !ln.offer(taken.Publish, taken.More, acct) {
			r.Poke()
		}
	case taken.Owner != uuid.Nil:
		r.cfg.PokeOwner(taken.Owner)
	}
}

func (a Account) key() uuid.UUID {
	id, err := uuid.Parse(a.ID)
	if err != nil {
		return uuid.Nil
	}
	return id
}

// assess turns a request into the row that it shall be.
func (r *Runner) assess(ctx context.Context, req Request) (*job.New, Account, error) {
	data, err := events.ParsePublishRequested(req.Data)
	violations := toViolations(events.Violations(err))
	sum := sha256.Sum256(req.Data)
	n := &job.New{Publish: job.Publish{
		ID: events.PublishID(req.Source, req.ID), EventSource: req.Source, EventID: req.ID, State: job.Accepted,
		Provider: data.Provider, MediaType: data.MediaType, Request: req.Data, RequestSum: sum[:], Version: 1,
	}}
	n.Publish.TraceParent, n.Publish.TraceState = telemetry.TraceContext(ctx)
	acct, problem, err := r.target(ctx, data, req, len(violations) > 0)
	if err != nil {
		return nil, acct, err
	}
	n.Publish.UserID = req.UserID
	r.place(&n.Publish, data, acct, &violations)
	if len(violations) > 0 {
		problem = &connectors.Error{Kind: connectors.KindReject, Code: connectors.CodeValidation, Message: summary(violations), Violations: violations}
	}
	n.AccountVersion = acct.Version
	return n, acct, r.complement(ctx, n, req, problem)
}

// target finds the account that a request names. A request that is invalid
// anyway is not looked up by what may be wrong in it.
func (r *Runner) target(ctx context.Context, d events.PublishRequested, req Request, invalid bool) (Account, *connectors.Error, error) {
	if d.AccountID == "" && (d.Provider == "" || d.UserID == "") {
		return Account{}, nil, nil
	}
	found, err := r.cfg.Directory.Find(ctx, Target{AccountID: d.AccountID, Provider: d.Provider, ExternalID: d.UserID})
	if err != nil {
		return Account{}, nil, fmt.Errorf("find account: %w", err)
	}
	if invalid && found.NotFound {
		return Account{}, nil, nil
	}
	switch {
	case len(found.Many) > 0:
		return Account{}, reject("CONFLICT", "the user has several accounts at this provider; name one as accountId: "+strings.Join(found.Many, ", ")), nil
	case found.NotFound || (req.Allowed != nil && !req.Allowed(found.Account)):
		return Account{}, notConnected(nowhere(d)), nil
	case found.Account.Status == "disconnecting" || found.Account.Status == "disconnected":
		return found.Account, notConnected("the account is " + found.Account.Status), nil
	case d.Provider != "" && d.Provider != found.Account.Provider:
		return found.Account, reject(connectors.CodeValidation, "the account belongs to "+found.Account.Provider), nil
	}
	return found.Account, nil, nil
}

// nowhere is the same for an account that there is not and one that is not the
// caller's.
func nowhere(d events.PublishRequested) string {
	if d.AccountID != "" {
		return "no account with this accountId is connected"
	}
	return "the user is not known here or has no connected account at this provider"
}

func reject(code, message string) *connectors.Error {
	return &connectors.Error{Kind: connectors.KindReject, Code: code, Message: message}
}

func notConnected(message string) *connectors.Error {
	return reject("ACCOUNT_NOT_CONNECTED", message)
}

// How long after its due time a publish may wait: where the request does not
// say, and at most.
const (
	defaultLife = 24 * time.Hour
	maxLife     = 30 * 24 * time.Hour
)

// place fills in what follows from the account: provider, times, the
// connector's own rules.
func (r *Runner) place(p *job.Publish, d events.PublishRequested, acct Account, violations *[]connectors.Violation) {
	if id := acct.key(); id != uuid.Nil {
		p.AccountID, p.Provider = id, acct.Provider
		p.UserID, _ = uuid.Parse(acct.UserID)
	}
	content := sha256.Sum256([]byte(d.MediaType + "\x00" + strings.Join(strings.Fields(d.Caption), " ")))
	p.ContentSum = content[:]
	p.DueAt, _ = d.PublishTime()
	p.ExpiresAt, _ = d.ExpiryTime()
	from := p.DueAt
	if from.IsZero() {
		from = time.Now()
	} else if p.ExpiresAt.IsZero() {
		p.ExpiresAt = from.Add(defaultLife)
	}
	if p.ExpiresAt.After(from.Add(maxLife + time.Minute)) {
		*violations = append(*violations, connectors.Violation{Field: "/expiresAt", Rule: "maximum", Message: "is more than 30 days after the post is due"})
	}
	conn, ok := r.cfg.Connectors[p.Provider]
	if !ok {
		if p.Provider != "" && d.MediaType != "" {
			*violations = append(*violations, connectors.Violation{Field: "/provider", Rule: "enum", Message: "is no provider that this installation knows"})
		}
		return
	}
	post := PostOf(p.ID.String(), d)
	if v, ok := conn.(connectors.Validator); ok {
		*violations = append(*violations, unreported(v.Validate(post), *violations)...)
	}
	if p.DueAt.After(time.Now()) {
		p.NextAt = p.DueAt.Add(-conn.Timing(post).Lead)
		p.Scheduled = true
	}
}

// unreported leaves out fields that have a violation already.
func unreported(more, have []connectors.Violation) []connectors.Violation {
	var out []connectors.Violation
	for _, m := range more {
		known := false
		for _, h := range have {
			known = known || h.Field == m.Field || strings.HasPrefix(h.Field, m.Field+"/") || h.Field == ""
		}
		if !known {
			out = append(out, m)
		}
	}
	return out
}

// complement adds what is told along with the row.
func (r *Runner) complement(ctx context.Context, n *job.New, req Request, problem *connectors.Error) error {
	p := &n.Publish
	var data events.Data
	switch {
	case problem != nil:
		body, err := events.EncodeJSON(Problem{Code: problem.Code, Message: problem.Message, Violations: problem.Violations})
		if err != nil {
			return fmt.Errorf("describe problem: %w", err)
		}
		p.State, p.Error, p.NextAt, p.Scheduled = job.Failed, body, time.Time{}, false
		data = failedData(refOf(*p), problem, 0)
	case p.Scheduled:
		data = events.PublishScheduled{PublishRef: refOf(*p), DueAt: p.DueAt, ExpiresAt: p.ExpiresAt}
	}
	if data != nil {
		e, err := tell(ctx, *p, 1, data)
		if err != nil {
			return err
		}
		n.Events = append(n.Events, e)
	}
	n.Events = append(n.Events, req.Also...)
	canceled, err := tell(ctx, *p, 2, events.PublishCanceled{PublishRef: refOf(*p), Reason: "canceled before its request came"})
	if err != nil {
		return err
	}
	n.Canceled = append([]event.Event{canceled}, req.Also...)
	n.Want = p.State == job.Accepted && time.Until(p.NextAt) < r.cfg.Hold && r.held.Load() < int64(r.cfg.Held)
	return nil
}

func toViolations(vs []events.Violation) []connectors.Violation {
	out := make([]connectors.Violation, len(vs))
	for i, v := range vs {
		out[i] = connectors.Violation(v)
	}
	return out
}

func summary(vs []connectors.Violation) string {
	list := make([]events.Violation, len(vs))
	for i, v := range vs {
		list[i] = events.Violation(v)
	}
	return events.Summary(list)
}

// ErrTooLate says that the publish cannot be canceled or rescheduled any more.
var ErrTooLate = errors.New("the publish is armed or has ended")

// Cancel stops a publish that is not armed. One that is not known yet gets a
// tombstone, which its request will meet; known says whether there was one.
func (r *Runner) Cancel(ctx context.Context, id uuid.UUID, source, eventID, reason string) (p job.Publish, known bool, err error) {
	for {
		p, err = r.store.Get(ctx, id)
		if errors.Is(err, job.ErrNotFound) {
			var buried bool
			if buried, err = r.store.Bury(ctx, job.Publish{ID: id, EventSource: source, EventID: eventID}); err != nil || buried {
				return p, false, err
			}
			continue // its request came in between
		}
		if err != nil || p.State == job.Canceled || p.State == job.Tombstone {
			return p, p.State == job.Canceled, err
		}
		if !p.State.Open() {
			return p, true, ErrTooLate
		}
		e, err := tell(ctx, p, p.Version+1, events.PublishCanceled{PublishRef: refOf(p), Reason: reason})
		if err != nil {
			return p, true, err
		}
		tr := &job.Transition{Publish: p, Events: []event.Event{e}}
		tr.Publish.State, tr.Publish.DelayReason = job.Canceled, ""
		w, err := r.store.Write(ctx, tr)
		if err != nil {
			return p, true, fmt.Errorf("cancel publish: %w", err)
		}
		if w.Moved {
			return w.Publish, true, nil
		}
	}
}
