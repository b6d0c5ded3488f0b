// Package disconnect takes accounts and users out, once their time has come.
//
// An account that is being disconnected has a time in its row: when its
// publishes have ended, and ten minutes after it began at the latest. From then
// on it is due. A job claims what is due for a while, has the grant revoked at
// the provider, and finishes: tokens shredded, or the row erased, and the event,
// in one transaction. The provider is asked before that, because afterwards
// nobody has the tokens; what it answers decides nothing, or a provider that is
// gone for good would keep them for ever.
//
// A user who is being deleted is found by her row. Her accounts are begun to be
// erased; when none is left, what is left of her is deleted.
//
// Nothing is kept in memory that is not in a row. A job that dies leaves claims
// that run out; whatever it did last is done again, which is why each of it is
// repeatable: a grant that is revoked already is no error, and a row that has
// moved is not moved again. Any number of jobs work side by side.
package disconnect

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/oauthaccount"
	"postbus.dev/services/internal/tenant"
)

// Config says what a Job works with.
type Config struct {
	Accounts   *oauthaccount.Store             // required
	Users      *tenant.Keys                    // required
	Connectors map[string]connectors.Connector // those that are a Revoker revoke

	Slots int           // accounts at once; 16
	Poll  time.Duration // between two looks; 1 s
	// Lease is how long an account is claimed. It is longer than Revoking takes; 2 min.
	Lease time.Duration
	// Revoking bounds all tries to revoke one account; 30 s.
	Revoking time.Duration
	Tries    int           // 3
	Backoff  time.Duration // after the first try, doubled after each; 1 s
	// Settle is how long a user who is being deleted stays, at the least: until no
	// process believes her keys any more, and what was asked with them is stored;
	// 20 s.
	Settle time.Duration

	Logger *slog.Logger
	Tracer trace.TracerProvider
	Meter  metric.MeterProvider
	// Failpoint is called with the name of each crash window as it is entered.
	Failpoint func(name string)
}

func (c *Config) defaults() error {
	if c.Accounts == nil || c.Users == nil {
		return errors.New("make disconnect job: Accounts and Users are required")
	}
	c.Slots = cmp.Or(c.Slots, 16)
	c.Poll = cmp.Or(c.Poll, time.Second)
	c.Lease = cmp.Or(c.Lease, 2*time.Minute)
	c.Revoking = cmp.Or(c.Revoking, 30*time.Second)
	c.Tries = cmp.Or(c.Tries, 3)
	c.Backoff = cmp.Or(c.Backoff, time.Second)
	c.Settle = cmp.Or(c.Settle, 20*time.Second)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	if c.Tracer == nil {
		c.Tracer = tracenoop.NewTracerProvider()
	}
	if c.Meter == nil {
		c.Meter = metricnoop.NewMeterProvider()
	}
	if c.Failpoint == nil {
		c.Failpoint = func(string) {}
	}
	return nil
}

// Job disconnects accounts and deletes users. See the package comment.
type Job struct {
	cfg     Config
	log     *slog.Logger
	tracer  trace.Tracer
	metrics *metrics
	poked   chan struct{}
	slots   chan struct{} // holds one for each account in hand
	working sync.WaitGroup
}

// New returns a Job that Run works.
func New(cfg Config) (*Job, error) {
	if err := cfg.defaults(); err != nil {
		return nil, err
	}
	j := &Job{
		cfg: cfg, log: cfg.Logger, tracer: cfg.Tracer.Tracer(scope),
		poked: make(chan struct{}, 1), slots: make(chan struct{}, cfg.Slots),
	}
	var err error
	if j.metrics, err = newMetrics(cfg.Meter); err != nil {
		return nil, err
	}
	return j, nil
}

// scope names this package to OpenTelemetry.
const scope = "postbus.dev/services/account/internal/disconnect"

// Poke makes the job look now: an account was drained, or a user is to be
// deleted. It never waits.
func (j *Job) Poke() {
	select {
	case j.poked <- struct{}{}:
	default: // it is going to look anyway
	}
}

// Run works until ctx ends. While the database is away it looks again; a revoke
// that is under way when ctx ends is given up, and made again by whoever comes
// next.
func (j *Job) Run(ctx context.Context) error {
	defer j.working.Wait()
	t := time.NewTicker(j.cfg.Poll)
	defer t.Stop()
	for failures := 0; ; {
		if err := j.look(ctx); err == nil {
			failures = 0
		} else if failures++; failures%10 == 1 && ctx.Err() == nil {
			j.log.WarnContext(ctx, "look for accounts and users to take out", "failures", failures, "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-j.poked:
		case <-t.C:
		}
	}
}

// formerAtOnce is how many accounts of before another user's one look erases.
const formerAtOnce = 10

func (j *Job) look(ctx context.Context) error {
	return errors.Join(j.takeUsersOut(ctx), j.takeAccountsOut(ctx), j.cfg.Accounts.BlankFormer(ctx, formerAtOnce), j.measure(ctx))
}

// takeAccountsOut claims as many accounts as there are free slots. Nobody else
// takes a slot, so that those it saw free stay so.
func (j *Job) takeAccountsOut(ctx context.Context) error {
	free := cap(j.slots) - len(j.slots)
	if free == 0 {
		return nil
	}
	due, err := j.cfg.Accounts.ClaimDisconnects(ctx, free, j.cfg.Lease)
	if err != nil {
		return err
	}
	for _, l := range due {
		j.slots <- struct{}{}
		j.working.Go(func() {
			defer j.Poke() // more may wait for the slot, or for this account's end
			defer func() { <-j.slots }()
			j.takeOut(ctx, l)
		})
	}
	return nil
}
