package refresh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/semaphore"

	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/oauthaccount"
)

// Store is where accounts are claimed and what became of them is written;
// *oauthaccount.Refreshes is one.
type Store interface {
	Claim(ctx context.Context, c oauthaccount.RefreshClaim) ([]oauthaccount.Refreshing, error)
	Write(ctx context.Context, w *oauthaccount.RefreshWrite) (oauthaccount.RefreshOutcome, error)
	MakeDue(ctx context.Context, id uuid.UUID, tokenVersion int64, rest time.Duration) (bool, error)
	Due(ctx context.Context, overdue time.Duration) ([]oauthaccount.DueRefreshes, error)
}

// Config says what a Runner works with.
type Config struct {
	Store Store
	// Connectors by provider. Those that are neither a connectors.Refresher nor a
	// connectors.Checker have grants that nothing can prolong: when they end,
	// account.expiring and account.reauth_required tell.
	Connectors map[string]connectors.Connector

	Slots    int           // accounts of one provider at a time; 256
	Rotating int           // of them, those at a provider that rotates, over all; 64
	Poll     time.Duration // between two looks for what is due; 500 ms
	Margin   time.Duration // from the end of a call's time to the end of its lease; 30 s

	Backoff   time.Duration // after the first failure in a row; doubles, with jitter; 15 s
	BackoffTo time.Duration // its limit; 1 h
	Refused   time.Duration // a provider that refuses our client rests so long; 5 min
	Rest      time.Duration // after a failure, before somebody's asking is heard again; 30 s
	Ahead     time.Duration // how long before a grant's end account.expiring tells; 7 days
	Overdue   time.Duration // after which what is due counts as overdue; 5 min

	// Jitter draws from 0 to 1; default random.
	Jitter    func() float64
	Logger    *slog.Logger
	Tracer    trace.TracerProvider
	Meter     metric.MeterProvider
	Failpoint func(name string)
}

func (c *Config) defaults() error {
	if c.Store == nil || len(c.Connectors) == 0 || c.Logger == nil || c.Tracer == nil || c.Meter == nil {
		return errors.New("token refresher: Store, Connectors, Logger, Tracer and Meter are required")
	}
	c.Slots = cmp.Or(c.Slots, 256)
	c.Rotating = cmp.Or(c.Rotating, 64)
	c.Poll = cmp.Or(c.Poll, 500*time.Millisecond)
	c.Margin = cmp.Or(c.Margin, 30*time.Second)
	c.Backoff = cmp.Or(c.Backoff, 15*time.Second)
	c.BackoffTo = cmp.Or(c.BackoffTo, time.Hour)
	c.Refused = cmp.Or(c.Refused, 5*time.Minute)
	c.Rest = cmp.Or(c.Rest, 30*time.Second)
	c.Ahead = cmp.Or(c.Ahead, 7*24*time.Hour)
	c.Overdue = cmp.Or(c.Overdue, 5*time.Minute)
	if c.Jitter == nil {
		c.Jitter = random
	}
	if c.Failpoint == nil {
		c.Failpoint = func(string) {}
	}
	return nil
}

// Runner refreshes what is due.
type Runner struct {
	cfg       Config
	log       *slog.Logger
	tracer    trace.Tracer
	metrics   *metrics
	providers map[string]*provider
	rotating  *semaphore.Weighted
	wake      chan struct{} // holds one: look for work now
	turns     sync.WaitGroup
	askers    askers
}

// New checks cfg.
func New(cfg Config) (*Runner, error) {
	if err := cfg.defaults(); err != nil {
		return nil, err
	}
	r := &Runner{
		cfg: cfg, log: cfg.Logger, tracer: cfg.Tracer.Tracer("postbus.dev/services/token-refresher"),
		providers: map[string]*provider{}, rotating: semaphore.NewWeighted(int64(cfg.Rotating)), wake: make(chan struct{}, 1),
	}
	for name, c := range cfg.Connectors {
		r.providers[name] = newProvider(name, c)
	}
	var err error
	if r.metrics, err = newMetrics(cfg.Meter, r); err != nil {
		return nil, fmt.Errorf("token refresher: %w", err)
	}
	return r, nil
}

// Run works until ctx ends. Then it starts nothing more and waits for what is under
// way, however long it takes: the answer of a provider that rotates exists nowhere
// but in this process until it is stored. Call it once.
func (r *Runner) Run(ctx context.Context) error {
	defer r.metrics.close()
	r.look(ctx)
	r.waitForTurns(ctx)
	return nil
}

// waitForTurns says what a shutdown waits for.
func (r *Runner) waitForTurns(ctx context.Context) {
	ended := make(chan struct{})
	go func() { r.turns.Wait(); close(ended) }()
	for {
		select {
		case <-ended:
			return
		case <-time.After(5 * time.Second):
			r.log.WarnContext(ctx, "shutdown waits for refreshes under way", "accounts", r.inFlight(), "answers_not_stored", r.metrics.unstored.Load())
		}
	}
}

// Request makes it an account's turn now, if it has the tokens of tokenVersion
// still; 0 means whichever it has. Asking many times causes one refresh.
func (r *Runner) Request(ctx context.Context, account uuid.UUID, tokenVersion int64) error {
	r.askers.add(ctx, account) // before it can be claimed
	changed, err := r.cfg.Store.MakeDue(ctx, account, tokenVersion, r.cfg.Rest)
	if err != nil {
		return err
	}
	if changed {
		r.Poke()
	}
	return nil
}

// Poke makes the runner look for work at once.
func (r *Runner) Poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *Runner) look(ctx context.Context) {
	t := time.NewTicker(r.cfg.Poll)
	defer t.Stop()
	for ctx.Err() == nil {
		if err := r.lookOnce(ctx); err != nil && ctx.Err() == nil {
			r.log.WarnContext(ctx, "look for due accounts", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-r.wake:
		case <-t.C:
		}
	}
}

// lookOnce claims for each provider what it has room for. Providers with the same
// room share a statement: mostly there is one.
func (r *Runner) lookOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	byRoom := map[int][]string{}
	for name, p := range r.providers {
		if room := r.room(p); room > 0 {
			byRoom[room] = append(byRoom[room], name)
		}
	}
	for _, room := range slices.Sorted(maps.Keys(byRoom)) {
		names := byRoom[room]
		slices.Sort(names)
		due, err := r.cfg.Store.Claim(ctx, oauthaccount.RefreshClaim{Providers: names, Limit: room, Lease: r.lease(names)})
		if err != nil {
			return err
		}
		if len(due) > 0 {
			r.cfg.Failpoint("refresh.claimed")
		}
		for _, d := range due {
			r.start(context.WithoutCancel(ctx), d)
		}
		for _, name := range names {
			r.providers[name].claimed(due, room)
		}
	}
	return nil
}

// room is how many accounts of a provider can be taken now. A provider that has
// told us to wait gets nobody; the turn of its accounts stays.
func (r *Runner) room(p *provider) int {
	if p.resting() {
		return 0
	}
	room := r.cfg.Slots - p.inFlight()
	if p.rotates() {
		room = min(room, r.cfg.Rotating-p.inFlight())
	}
	return max(room, 0)
}

// lease covers the longest call of the providers, the wait for its place included.
func (r *Runner) lease(names []string) time.Duration {
	longest := time.Duration(0)
	for _, name := range names {
		longest = max(longest, r.providers[name].call())
	}
	return 2*longest + r.cfg.Margin
}

func (r *Runner) start(ctx context.Context, d oauthaccount.Refreshing) {
	p := r.providers[d.Provider]
	if p == nil {
		return // its lease runs out
	}
	p.enter()
	r.turns.Go(func() {
		defer func() {
			if p.leave() {
				r.Poke()
			}
		}()
		t := &turn{r: r, p: p, d: d}
		t.run(ctx)
	})
}

func (r *Runner) inFlight() (n int) {
	for _, p := range r.providers {
		n += p.inFlight()
	}
	return n
}
