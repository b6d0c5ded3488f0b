// Package publish turns stored requests into posts. README.md of the service
// tells the cycle step by step; this package is that page as code: accept.go
// stores a request, runner.go and lane.go decide what runs when, and one file
// each holds Prepare, Commit, Find and what they end in.
//
// A Runner keeps no truth of its own. What it holds in memory - lanes that it
// leased, the publishes due on them, timers - is read from the database, can be
// lost at any instant and is found again by whoever takes the lane next.
package publish

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/semaphore"

	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/limit"
	"postbus.dev/services/publisher/internal/job"
)

// Account is a connected account as a step needs it.
type Account struct {
	connectors.Account
	Status  string // active, reauth_required, disconnecting, disconnected
	Version int64  // raised with each change
}

// ErrNoAccount says that the account does not exist any more.
var ErrNoAccount = errors.New("account does not exist")

// Accounts reads accounts with their tokens.
type Accounts interface {
	Load(ctx context.Context, id uuid.UUID) (Account, error)
}

// Gates are shared by all processes.
type Gates interface {
	Active(ctx context.Context) ([]limit.Gate, error)
	Close(ctx context.Context, gates ...limit.Gate) error
	Sweep(ctx context.Context) (int, error)
}

// Config says what a Runner works with.
type Config struct {
	Store      *job.Store
	Accounts   Accounts
	Gates      Gates
	Directory  Directory
	Connectors map[string]connectors.Publisher

	Slots   int           // steps at once; 1,024
	Held    int           // publishes in memory before intake stops taking lanes; 4 x Slots
	PerLane int           // steps at once of one account, of which one commit; 4
	Poll    time.Duration // between two looks for due lanes; 200 ms
	Hold    time.Duration // a lane whose next step is further away is given back; 3 s
	Grace   time.Duration // how long a shutdown waits for running steps; 1 min, longer than a commit waits for its answer
	// Recheck is how often a publish that waits for a token, a person or an
	// operator looks again by itself.
	Recheck time.Duration // 1 min
	// Drain is how long what is at the provider may take to settle when its account
	// is disconnected, before it is unconfirmed.
	Drain time.Duration // 5 min

	Logger *slog.Logger
	Tracer trace.TracerProvider
	Meter  metric.MeterProvider
	// PokeOwner tells the process that holds a lane that work came for it.
	PokeOwner func(owner uuid.UUID)
	Failpoint func(name string)
}

func (c *Config) defaults() error {
	if c.Store == nil || c.Accounts == nil || c.Directory == nil || c.Gates == nil || len(c.Connectors) == 0 {
		return errors.New("publish runner: Store, Accounts, Directory, Gates and Connectors are required")
	}
	if c.Tracer == nil || c.Meter == nil || c.Logger == nil {
		return errors.New("publish runner: Logger, Tracer and Meter are required")
	}
	c.Slots = cmp.Or(c.Slots, 1024)
	c.Held = cmp.Or(c.Held, 4*c.Slots)
	c.PerLane = cmp.Or(c.PerLane, 4)
	c.Poll = cmp.Or(c.Poll, 200*time.Millisecond)
	c.Hold = cmp.Or(c.Hold, 3*time.Second)
	c.Grace = cmp.Or(c.Grace, time.Minute)
	c.Recheck = cmp.Or(c.Recheck, time.Minute)
	c.Drain = cmp.Or(c.Drain, 5*time.Minute)
	if c.PokeOwner == nil {
		c.PokeOwner = func(uuid.UUID) {}
	}
	if c.Failpoint == nil {
		c.Failpoint = func(string) {}
	}
	return nil
}

// Runner runs the publishes of the lanes that it holds.
type Runner struct {
	cfg     Config
	store   *job.Store
	log     *slog.Logger
	tracer  trace.Tracer
	metrics *metrics
	slots   *semaphore.Weighted
	wake    chan struct{} // holds one: look for work now
	leaving chan struct{} // holds one: look for draining accounts now
	held    atomic.Int64  // publishes in memory
	gates   atomic.Pointer[[]limit.Gate]

	mu       sync.Mutex
	lanes    map[uuid.UUID]*lane
	stopping bool
	steps    sync.WaitGroup

	// over is closed when Run returns. It outlives the shutdown signal: an answer
	// of a provider is stored for as long as the process lives.
	over chan struct{}
}

// New checks cfg.
func New(cfg Config) (*Runner, error) {
	if err := cfg.defaults(); err != nil {
		return nil, err
	}
	m, err := newMetrics(cfg.Meter)
	if err != nil {
		return nil, fmt.Errorf("publish runner: %w", err)
	}
	r := &Runner{
		cfg: cfg, store: cfg.Store, log: cfg.Logger, metrics: m,
		tracer: cfg.Tracer.Tracer("postbus.dev/services/publisher"),
		slots:  semaphore.NewWeighted(int64(cfg.Slots)),
		wake:   make(chan struct{}, 1), leaving: make(chan struct{}, 1),
		lanes: map[uuid.UUID]*lane{},
		over:  make(chan struct{}),
	}
	r.gates.Store(&[]limit.Gate{})
	return r, m.observe(r)
}

// Run works until ctx ends; then it starts nothing more, waits for running
// steps at most Config.Grace and gives its lanes back. Call it once.
func (r *Runner) Run(ctx context.Context) error {
	defer close(r.over)
	var loops sync.WaitGroup
	loops.Go(func() { r.look(ctx) })
	held, letGo := context.WithCancel(context.WithoutCancel(ctx))
	defer letGo()
	loops.Go(func() { r.renew(held) }) // running steps need their lanes while they end
	loops.Go(func() { r.forget(ctx) })
	loops.Go(func() { r.drains(ctx) })
	<-ctx.Done()
	r.drain()
	letGo()
	loops.Wait()
	return r.handOver(context.WithoutCancel(ctx))
}

// Poke makes the runner look for work at once.
func (r *Runner) Poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// claimLimit is how many lanes are claimed by one statement.
const claimLimit = 500

// look claims due lanes and loads what was brought to held ones.
func (r *Runner) look(ctx context.Context) {
	t := time.NewTicker(r.cfg.Poll)
	defer t.Stop()
	for failures := 0; ctx.Err() == nil; {
		err := r.lookOnce(ctx)
		if err != nil && ctx.Err() == nil {
			r.log.WarnContext(ctx, "look for due publishes", "error", err)
			failures++
			if !pause(ctx, min(time.Duration(failures)*time.Second, 5*time.Second)) {
				return
			}
			continue
		}
		failures = 0
		select {
		case <-ctx.Done():
		case <-r.wake:
		case <-t.C:
		}
	}
}

// pause waits; false: ctx has ended.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

func (r *Runner) lookOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	gates, err := r.cfg.Gates.Active(ctx)
	if err != nil {
		return err
	}
	for i, g := range gates { // their end by this process's clock
		if g.For > 0 {
			gates[i].Until = time.Now().Add(g.For)
		}
	}
	r.gates.Store(&gates)
	room := (r.cfg.Held - int(r.held.Load())) / 2
	lanes, err := r.store.Claim(ctx, min(max(room, 0), claimLimit))
	if err != nil {
		return err
	}
	if len(lanes) > 0 {
		r.cfg.Failpoint("publish.claimed")
	}
	for _, l := range lanes {
		r.take(l)
	}
	if len(lanes) >= claimLimit {
		r.Poke() // there may be more
	}
	return nil
}

// take puts loaded work on its lane.
func (r *Runner) take(l job.Lane) {
	if ln := r.lane(l.Account, l.Fence, l.Until); ln != nil {
		ln.loaded(l)
	} else if !l.Until.IsZero() {
		newLane(r, l.Account, l.Fence, l.Until).giveBack() // claimed while shutting down
	}
}

// lane returns the lane if this process holds it under the fence; until is not
// zero when it was taken just now. Nil: it is not known here, the lease will
// run out or a release is on its way.
func (r *Runner) lane(account uuid.UUID, fence int64, until time.Time) *lane {
	r.mu.Lock()
	defer r.mu.Unlock()
	ln := r.lanes[account]
	if ln != nil && ln.fence == fence {
		return ln
	}
	if until.IsZero() || r.stopping || (ln != nil && ln.fence > fence) {
		return nil
	}
	if ln != nil {
		go ln.drop()
	}
	ln = newLane(r, account, fence, until)
	r.lanes[account] = ln
	return ln
}

func (r *Runner) unlink(ln *lane) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lanes[ln.account] == ln {
		delete(r.lanes, ln.account)
	}
}

func (r *Runner) snapshot() []*lane {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]*lane, 0, len(r.lanes))
	for _, ln := range r.lanes {
		out = append(out, ln)
	}
	return out
}

// renew extends the leases of all held lanes three times a lease.
func (r *Runner) renew(ctx context.Context) {
	t := time.NewTicker(r.store.Lease() / 3)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if err := r.renewOnce(ctx, r.snapshot()); err != nil && ctx.Err() == nil {
			r.log.WarnContext(ctx, "renew lanes", "error", err)
		}
	}
}

func (r *Runner) renewOnce(ctx context.Context, lanes []*lane) error {
	if len(lanes) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.store.Lease()/3)
	defer cancel()
	held := make([]job.Lane, len(lanes))
	for i, ln := range lanes {
		held[i] = job.Lane{Account: ln.account, Fence: ln.fence}
	}
	kept, err := r.store.Renew(ctx, held)
	if err != nil {
		return err
	}
	until := make(map[uuid.UUID]job.Lane, len(kept))
	for _, k := range kept {
		until[k.Account] = k
	}
	for _, ln := range lanes {
		if k, ok := until[ln.account]; ok && k.Fence == ln.fence {
			ln.extend(k.Until)
		} else {
			r.metrics.lost.Add(ctx, 1)
			ln.drop()
		}
	}
	return nil
}

// forget deletes publishes that are older than they are kept, and gates that
// are open.
func (r *Runner) forget(ctx context.Context) {
	t := time.NewTicker(10 * time.Minute)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if _, err := r.cfg.Gates.Sweep(ctx); err != nil && ctx.Err() == nil {
			r.log.WarnContext(ctx, "forget open gates", "error", err)
		}
		for {
			n, err := r.store.Forget(ctx, 1000)
			if err != nil && ctx.Err() == nil {
				r.log.WarnContext(ctx, "forget old publishes", "error", err)
			}
			if err != nil || n < 1000 {
				break
			}
		}
	}
}

// drain lets running steps end. A commit that is on its way is waited for: its
// answer is the proof.
func (r *Runner) drain() {
	r.mu.Lock()
	r.stopping = true
	r.mu.Unlock()
	for _, ln := range r.snapshot() {
		ln.stop()
	}
	done := make(chan struct{})
	go func() { r.steps.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(r.cfg.Grace):
		r.log.Warn("steps still running at shutdown: the next holder of their lanes looks for their outcome", "grace", r.cfg.Grace)
	}
}

func (r *Runner) handOver(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var held []job.Lane
	for _, ln := range r.snapshot() {
		held = append(held, job.Lane{Account: ln.account, Fence: ln.fence})
		ln.drop()
	}
	if len(held) == 0 {
		return nil
	}
	return r.store.Release(ctx, held)
}
