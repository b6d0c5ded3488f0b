package publish

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"postbus.dev/events"
	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/postgres"
	"postbus.dev/services/publisher/internal/job"
)

// turn is one publish doing its next step. p is the row as last written or
// read; a turn that finds the row moved by somebody else ends with gone set.
type turn struct {
	l     *lane
	r     *Runner
	it    *item
	p     job.Publish
	clock clock     // of p's times
	later time.Time // not before, whatever the row says; zero: as the row says
	gone  bool      // the lane may hold more than is known: read it again
	asks  int64     // the token version of which what is being written asks for a refresh; 0: none

	conn   connectors.Publisher
	timing connectors.Timing
	post   connectors.Post
	acct   Account
	heard  int64 // the newest version of the account that was known when acct was read
	span   trace.Span

	fault    error     // what is about to be written is not fit to be
	refusals int       // of what was written
	meant    job.State // where the first that was refused led to
}

// run dispatches over the stored state. A step never calls the next one, with
// one exception: a post that is prepared and due is committed in the same turn,
// because the arm write stores the checkpoint too.
func (t *turn) run() {
	ctx := t.start()
	defer t.span.End()
	if !t.p.BlankedAt.IsZero() {
		t.withoutAccount(ctx, "the account was removed")
		return
	}
	if err := t.open(); err != nil {
		t.unfit(ctx, err)
		return
	}
	if t.p.State.Open() && !t.local(t.p.ExpiresAt).After(time.Now()) {
		t.expire(ctx)
		return
	}
	if !t.ready(ctx) {
		return
	}
	switch t.p.State {
	case job.Armed:
		t.forget(ctx)
	case job.Unknown, job.Unconfirmed:
		t.find(ctx)
	case job.Confirming:
		t.confirm(ctx)
	case job.Ready:
		if time.Now().Before(t.local(t.p.FreshUntil)) {
			t.commit(ctx)
			return
		}
		t.prepare(ctx)
	case job.Accepted:
		t.prepare(ctx)
	}
}

// errNoConnector says that this process cannot speak to the publish's provider.
var errNoConnector = errors.New("no connector for the provider in this process")

// unfit ends what cannot be worked on. Only what was never at the provider has
// failed for sure.
func (t *turn) unfit(ctx context.Context, why error) {
	if errors.Is(why, errNoConnector) && t.p.State.Open() {
		// Another process may have it: while versions are rolled out, old ones run
		// beside new ones. It expires if none does.
		t.park(ctx, connectors.ReasonProviderDown, t.r.cfg.Recheck, why.Error())
		return
	}
	if t.p.State.Open() {
		t.fail(ctx, &connectors.Error{Kind: connectors.KindReject, Code: connectors.CodeInternal, Message: why.Error()}, "")
		return
	}
	t.giveUp(ctx, why.Error())
}

// giveUp ends the search for an outcome that nothing can be read of any more,
// but not before the call has come to rest.
func (t *turn) giveUp(ctx context.Context, why string) {
	if wait := time.Until(t.local(t.p.QuietAt)); wait > 0 && (t.p.State == job.Armed || t.p.State == job.Unknown) {
		tr := t.transition(job.Unknown)
		tr.NextIn, tr.HasNext = wait, true
		t.write(ctx, tr)
		return
	}
	t.untold(ctx, why+": nothing can be read back")
}

func (t *turn) local(at time.Time) time.Time { return t.clock.local(at) }

// linkAfter: a step that starts this long after the last one opens a trace of
// its own, linked to the publish's.
const linkAfter = 10 * time.Minute

func (t *turn) start() context.Context {
	origin := remoteContext(t.p.TraceParent, t.p.TraceState)
	ctx := t.l.ctx
	opts := []trace.SpanStartOption{trace.WithAttributes(
		attribute.String("postbus.publish_id", t.p.ID.String()),
		attribute.String("postbus.provider", t.p.Provider),
		attribute.String("postbus.state", string(t.p.State)),
		attribute.Int("postbus.attempt", t.p.Attempt),
	)}
	if !t.p.StepAt.IsZero() && time.Since(t.local(t.p.StepAt)) > linkAfter {
		opts = append(opts, trace.WithNewRoot(), trace.WithLinks(trace.Link{SpanContext: origin}))
	} else if origin.IsValid() {
		ctx = trace.ContextWithRemoteSpanContext(ctx, origin)
	}
	ctx, t.span = t.r.tracer.Start(ctx, t.phase()+" "+t.p.Provider, opts...)
	return ctx
}

func (t *turn) phase() string {
	switch t.p.State {
	case job.Armed, job.Unknown, job.Unconfirmed:
		return "find"
	case job.Confirming:
		return "confirm"
	case job.Ready:
		if time.Now().Before(t.local(t.p.FreshUntil)) {
			return "commit"
		}
	}
	return "prepare"
}

// open reads the request and finds its connector.
func (t *turn) open() error {
	conn, ok := t.r.cfg.Connectors[t.p.Provider]
	if !ok {
		return fmt.Errorf("%w: %s", errNoConnector, t.p.Provider)
	}
	req, err := events.ReadPublishRequested(t.p.Request)
	if err != nil {
		return errors.New("the stored request cannot be read")
	}
	t.conn, t.post = conn, PostOf(t.p.ID.String(), req)
	t.timing = conn.Timing(t.post)
	return nil
}

// accountAge is how old a cached account may be when a step starts.
const accountAge = 10 * time.Second

// ready checks what every call needs: a live account and open gates. False: the
// publish is parked or ended.
func (t *turn) ready(ctx context.Context) bool {
	acct, heard, err := t.l.current(ctx, accountAge)
	if errors.Is(err, ErrNoAccount) {
		return t.withoutAccount(ctx, "the account was removed")
	}
	if err != nil {
		t.stumble(ctx, fmt.Errorf("read account: %w", err))
		return false
	}
	t.acct, t.heard = acct, heard
	switch acct.Status {
	case "active":
	case "reauth_required":
		if t.p.State.Open() {
			t.park(ctx, connectors.ReasonReauth, t.r.cfg.Recheck, "the account must be reconnected by its owner")
			return false
		}
	default:
		return t.withoutAccount(ctx, "the account is "+acct.Status)
	}
	if g, closed := t.r.gated(t.p); closed && t.p.State.Open() {
		wait := t.r.cfg.Recheck // a gate may be opened by hand at any time
		if !g.Until.IsZero() {
			wait = min(wait, time.Until(g.Until))
		}
		t.park(ctx, g.Reason, wait, "gate closed for "+string(g.Scope))
		return false
	}
	return true
}

// withoutAccount ends what was not armed; what was goes on as long as it can.
func (t *turn) withoutAccount(ctx context.Context, why string) bool {
	if t.p.State.Open() {
		t.fail(ctx, notConnected(why), "")
		return false
	}
	if t.acct.AccessToken.Empty() {
		t.giveUp(ctx, why)
		return false
	}
	return true
}

// write moves the publish. False: it did not move, and the turn ends.
func (t *turn) write(ctx context.Context, tr *job.Transition) bool {
	tr.Fence = t.l.fence
	w, err := t.try(ctx, tr)
	switch {
	case isRefusal(err):
		t.writeLess(ctx, tr, err)
	case err != nil:
		t.stumble(ctx, err)
	case !w.Moved:
		t.moved(ctx)
	default:
		t.wrote(ctx, w.Publish)
		return true
	}
	return false
}

func (t *turn) wrote(ctx context.Context, p job.Publish) {
	t.p, t.clock, t.asks = p, clock{db: p.StepAt, here: time.Now()}, 0
	if p.State.Ended() {
		t.r.ended(ctx, p.Provider, p.State)
	}
}

// pause between looks at a row that this process could not move.
const afterMiss = 250 * time.Millisecond

// moved handles a row that is not as it was read: somebody else moved it, or
// the lane is lost.
func (t *turn) moved(ctx context.Context) {
	if err := t.r.renewOnce(ctx, []*lane{t.l}); err != nil {
		t.stumble(ctx, err)
		return
	}
	cur, err := t.r.store.Get(ctx, t.p.ID)
	if errors.Is(err, job.ErrNotFound) {
		t.p.NextAt = time.Time{}
		return
	}
	if err != nil {
		t.stumble(ctx, err)
		return
	}
	t.p, t.later, t.gone = cur, time.Now().Add(afterMiss), true
}

// stumble is for errors of our own side: nothing is written, the same step runs
// again a little later while the lane is held.
func (t *turn) stumble(ctx context.Context, err error) {
	t.span.RecordError(err)
	t.span.SetStatus(codes.Error, "not written")
	if t.l.ctx.Err() == nil && !postgres.IsUnavailable(err) {
		t.r.log.ErrorContext(ctx, "publish step", "publish", t.p.ID, "state", t.p.State, "error", err)
	}
	t.later = time.Now().Add(time.Second)
}

// transition starts one from the row as it stands.
func (t *turn) transition(state job.State) *job.Transition {
	tr := &job.Transition{Publish: t.p}
	tr.Publish.State = state
	return tr
}

// step notes a provider call in the attempt log.
func (t *turn) step(name, outcome string, c connectors.Call, e *connectors.Error) job.Step {
	st := job.Step{Attempt: t.p.Attempt, Step: name, Call: c.Name, Outcome: outcome, RequestID: c.RequestID, HTTPStatus: c.Status, Duration: c.Duration}
	if e != nil {
		st.Code, st.Message = e.ProviderCode, e.Message
		if st.Message == "" && e.Err != nil {
			st.Message = e.Err.Error()
		}
	}
	t.span.SetAttributes(attribute.String("postbus.outcome", outcome))
	return st
}

// noted carries what a step saw into the attempt log.
func noted(step connectors.Step) *connectors.Error { return &connectors.Error{Message: step.Note} }

// backoff doubles from the connector's first wait to its limit, with jitter.
func (t *turn) backoff() time.Duration {
	d := t.timing.Backoff
	for range min(t.p.Failures, 20) {
		d = min(2*d, t.timing.BackoffTo)
	}
	return time.Duration(float64(d) * (0.75 + rand.Float64()/2))
}

func keep(cp connectors.Checkpoint, old []byte) []byte {
	if cp == nil {
		return old
	}
	return cp
}

// PostOf turns a request into what a connector publishes.
func PostOf(publishID string, r events.PublishRequested) connectors.Post {
	p := connectors.Post{
		PublishID: publishID, MediaType: connectors.MediaType(r.MediaType), MediaURL: r.MediaURL, Caption: r.Caption, Title: r.Title,
		AltText: r.AltText, CoverURL: r.CoverURL, LocationID: r.LocationID, LinkURL: r.LinkURL, Options: r.Options,
	}
	for _, c := range r.Children {
		p.Children = append(p.Children, connectors.Child{MediaType: connectors.MediaType(c.MediaType), MediaURL: c.MediaURL, AltText: c.AltText})
	}
	return p
}
