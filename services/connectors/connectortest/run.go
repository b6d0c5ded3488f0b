package connectortest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"postbus.dev/services/connectors"
)

// State is how a publish ended.
type State string

// The ends of a publish.
const (
	Completed   State = "completed"
	Failed      State = "failed"
	Unconfirmed State = "unconfirmed"
	// Waiting: it waits for a limit or a person, which Run does not.
	Waiting State = "waiting"
)

// Config is one publish for Run.
type Config struct {
	Publisher connectors.Publisher
	Account   connectors.Account
	Post      connectors.Post
	Wire      *Wire                          // told when a Commit begins and ends
	Posted    func() []connectors.RemotePost // what is really posted; looked at before Commit
	// Sleep waits; default time.Sleep. The times are those that the connector
	// states.
	Sleep func(time.Duration)
	// Repeat makes every repeatable step run twice from the same checkpoint, as
	// after a crash before it was stored.
	Repeat bool
	// Forget drops the answer of the first Commit, as a crash after it does.
	Forget bool
	// Longest is how long a step may take beyond its calls; 0 is not checked.
	Longest time.Duration
}

// Result is how a publish ended and how it got there.
type Result struct {
	State State
	Post  *connectors.RemotePost
	Err   *connectors.Error // the last one
	Arms  int               // how often it was armed
	Log   []string          // one line per step
}

// run is a publish under way: the cycle of the publisher in small, without
// lanes, gates and a database.
type run struct {
	Config
	t       testing.TB
	timing  connectors.Timing
	cp      connectors.Checkpoint
	attempt connectors.Attempt
	quietAt time.Time
	retries int
	next    func(context.Context) // the next phase; nil at the end
	result  Result
}

// Run publishes one post to its end. Whatever breaks the contract on the way is
// an error of t.
func Run(t testing.TB, cfg Config) Result {
	t.Helper()
	if cfg.Sleep == nil {
		cfg.Sleep = time.Sleep
	}
	r := &run{Config: cfg, t: t, timing: cfg.Publisher.Timing(cfg.Post)}
	r.next = r.prepare
	for steps := 0; r.next != nil; steps++ {
		if steps == 1000 {
			t.Fatalf("no end after %d steps:\n%s", steps, strings.Join(r.result.Log[:50], "\n"))
		}
		r.next(t.Context())
	}
	return r.result
}

func (r *run) prepare(ctx context.Context) {
	step, err := r.step(ctx, "prepare", r.Publisher.Prepare)
	if n := len(r.Posted()); n > 0 && r.result.Arms == 0 {
		r.t.Errorf("%d posts before the first commit", n)
	}
	if err != nil {
		r.stopped(err)
		return
	}
	switch step.Next {
	case connectors.Continue:
	case connectors.Wait:
		r.Sleep(step.Wait)
	case connectors.Ready:
		if step.FreshFor <= 0 {
			r.t.Error("ready without FreshFor")
		}
		r.next = r.commit
	default:
		r.t.Fatalf("prepare answered %+v", step)
	}
}

// commit makes the call under an Arm hook that writes nothing down but here.
func (r *run) commit(ctx context.Context) {
	armed := false
	ctx = connectors.WithArm(ctx, func(context.Context) (connectors.Window, error) {
		now := time.Now()
		sendBy := now.Add(r.timing.Commit)
		r.quietAt = sendBy.Add(r.timing.Settle)
		armed = true
		r.result.Arms++
		r.attempt = connectors.Attempt{Number: r.result.Arms, ArmedAt: now, QuietAt: r.quietAt}
		r.Wire.arm()
		return connectors.Window{SendBy: sendBy, UserTimeout: r.timing.UserTO}, nil
	})
	r.Wire.begin()
	before := time.Now()
	step, err := r.Publisher.Commit(ctx, r.Account, r.Post, r.cp)
	r.seen("commit", before, step.Checkpoint, step.Note, err)
	r.Wire.end()
	if err == nil && !armed {
		r.t.Fatal("commit answered without the commit client")
	}
	forget := r.Forget
	r.Forget = false
	switch {
	case err != nil:
		r.answered(connectors.AsError(err))
	case forget:
		r.next = r.find
	case step.Next == connectors.Done:
		r.done(step)
	case step.Next == connectors.Accepted:
		r.live(step.Post)
		r.save(step.Checkpoint)
		r.Sleep(step.Wait)
		r.next = r.confirm
	default:
		r.t.Fatalf("commit answered %+v", step)
	}
}

// live holds an accepted post that has a name to being there: it is completed by
// that name if nobody can read more of it.
func (r *run) live(post *connectors.RemotePost) {
	if post != nil && !slices.ContainsFunc(r.Posted(), func(p connectors.RemotePost) bool { return p.ID == post.ID }) {
		r.t.Errorf("accepted as post %q, which is not live", post.ID)
	}
}

// answered: only an unknown outcome leads to Find; everything else claims that
// nothing was posted.
func (r *run) answered(e *connectors.Error) {
	if e.Kind == connectors.KindUnknown {
		r.result.Err = e
		r.next = r.find
		return
	}
	r.next = r.prepare
	r.stopped(e)
}

func (r *run) confirm(ctx context.Context) {
	step, err := r.step(ctx, "confirm", r.Publisher.Confirm)
	switch {
	case err != nil:
		r.stopped(err)
	case step.Next == connectors.Done:
		r.done(step)
	case step.Next == connectors.Wait, step.Next == connectors.Continue:
		r.Sleep(step.Wait)
	default:
		r.t.Fatalf("confirm answered %+v", step)
	}
}

func (r *run) find(ctx context.Context) {
	r.attempt.Quiet = time.Now().After(r.quietAt)
	look := func() (connectors.Found, error) {
		before := time.Now()
		found, err := r.Publisher.Find(ctx, r.Account, r.Post, r.attempt, r.cp)
		r.seen("find", before, found.Checkpoint, found.Evidence, err)
		return found, err
	}
	found, err := look()
	if r.Repeat {
		found, err = look()
	}
	spent := time.Now().After(r.quietAt.Add(r.timing.Window))
	switch e := connectors.AsError(err); {
	case err != nil && (e.Kind == connectors.KindReject || e.Kind == connectors.KindUnknown):
		r.t.Fatalf("find answered an error of kind %v: %v", e.Kind, e)
	case err == nil && found.Verdict == connectors.Published:
		r.done(connectors.Step{Post: found.Post})
	case err == nil && found.Verdict == connectors.Absent && r.attempt.Quiet:
		r.save(found.Checkpoint)
		r.next = r.prepare
	case spent:
		r.end(Unconfirmed)
	default:
		r.save(found.Checkpoint)
		r.Sleep(max(found.LookAgain, r.timing.Look))
	}
}

// step runs a repeatable step and stores its checkpoint.
func (r *run) step(ctx context.Context, name string, f func(context.Context, connectors.Account, connectors.Post, connectors.Checkpoint) (connectors.Step, error)) (connectors.Step, error) {
	once := func() (connectors.Step, error) {
		before := time.Now()
		step, err := f(ctx, r.Account, r.Post, r.cp)
		r.seen(name, before, step.Checkpoint, step.Note, err)
		return step, err
	}
	step, err := once()
	if r.Repeat {
		step, err = once()
	}
	if err == nil {
		r.retries = 0
		r.save(step.Checkpoint)
	}
	return step, err
}

// stopped handles an error that proves that nothing was posted.
func (r *run) stopped(err error) {
	e := connectors.AsError(err)
	r.result.Err = e
	if e.Restart {
		r.cp = nil
	}
	switch e.Kind {
	case connectors.KindReject:
		r.end(Failed)
	case connectors.KindRetry:
		if r.retries++; r.retries > 20 {
			r.end(Waiting)
			return
		}
		r.Sleep(max(e.Wait, r.timing.Backoff))
	case connectors.KindUnknown:
		if r.result.Arms == 0 {
			r.t.Fatalf("an unknown outcome before anything was committed: %v", e)
		}
		r.next = r.find
	default:
		if e.Kind == connectors.KindWait && (e.Wait <= 0 || e.Scope == "" || e.Reason == "") {
			r.t.Errorf("a wait without time, scope or reason: %+v", e)
		}
		r.end(Waiting)
	}
}

func (r *run) done(step connectors.Step) {
	if step.Post == nil {
		r.t.Fatal("done without a post")
	}
	r.result.Post = step.Post
	r.end(Completed)
}

func (r *run) end(s State) {
	r.result.State = s
	r.next = nil
}

// save stores a checkpoint as a database would: through JSON, members in
// another order.
func (r *run) save(cp connectors.Checkpoint) {
	if cp == nil {
		return
	}
	dec := json.NewDecoder(bytes.NewReader(cp))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		r.t.Fatalf("checkpoint is no JSON: %v: %s", err, cp)
	}
	b, err := json.Marshal(v)
	if err != nil {
		r.t.Fatal(err)
	}
	r.cp = b
}

// seen logs a step and holds what came of it to the contract.
func (r *run) seen(name string, before time.Time, cp connectors.Checkpoint, note string, err error) {
	took := time.Since(before)
	r.result.Log = append(r.result.Log, fmt.Sprintf("%s: %s %v %s", name, note, err, cp))
	texts := map[string]string{"checkpoint": string(cp), "note": note}
	if err != nil {
		texts["error"] = fmt.Sprintf("%v %+v", err, err)
	}
	for what, text := range texts {
		if strings.Contains(text, r.Account.AccessToken.Reveal()) {
			r.t.Errorf("%s: the %s holds the token: %s", name, what, text)
		}
	}
	if len(cp) > 64<<10 {
		r.t.Errorf("%s: checkpoint of %d bytes", name, len(cp))
	}
	if inside := took - r.Wire.busy(); r.Longest > 0 && inside > r.Longest {
		r.t.Errorf("%s took %v beyond its calls", name, inside)
	}
}
