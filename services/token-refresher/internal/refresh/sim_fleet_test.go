package refresh_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace/noop"

	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/oauthaccount"
	"postbus.dev/services/token-refresher/internal/refresh"
)

// process is one refresher of the fleet, from its start to its end.
type process struct {
	w      *world
	runner *refresh.Runner
	cancel context.CancelFunc
	skew   time.Duration // of its clock, from the database's

	mu     sync.Mutex
	rng    *rand.Rand
	dead   bool
	frozen time.Time // it stands still until then
	stood  time.Time // the end of the last time that it stood still for long
	calls  int       // at providers that rotate
	rests  map[string]time.Time
}

// start starts a process, as a service does.
func (w *world) start() *process {
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{w: w, cancel: cancel, rng: w.source(), rests: map[string]time.Time{}}
	p.skew = time.Duration(p.rng.Int64N(int64(6*time.Hour))) - 3*time.Hour
	all := map[string]connectors.Connector{}
	for name, prov := range w.providers {
		all[name] = prov.connector(p)
	}
	runner, err := refresh.New(refresh.Config{
		Store: simStore{p}, Connectors: all, Poll: w.cfg.poll, Rotating: simRotating, Jitter: p.float,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Tracer: noop.NewTracerProvider(), Meter: w.cfg.meter, Failpoint: p.failpoint,
	})
	if err != nil {
		w.faulty("start a process: %v", err)
		cancel()
		return p
	}
	p.runner = runner
	w.running.Go(func() {
		if err := runner.Run(ctx); err != nil {
			w.faulty("run a process: %v", err)
		}
	})
	return p
}

// kill ends a process where it stands: what it does next, it does not do.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead = true
	p.cancel()
}

func (p *process) gone() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead
}

// freeze lets a process stand still, as a machine that is paused.
func (p *process) freeze(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frozen = time.Now().Add(d)
	p.stood = p.frozen
}

// stoodSince says whether p stood still at some time after t.
func (p *process) stoodSince(t time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stood.After(t)
}

// step is where whatever a process does meets the world: it goes on, waits, or
// ends there with all its goroutines.
func (p *process) step() {
	for {
		p.mu.Lock()
		dead, wait := p.dead, time.Until(p.frozen)
		p.mu.Unlock()
		if dead {
			runtime.Goexit()
		}
		if wait <= 0 {
			return
		}
		time.Sleep(wait)
	}
}

func (p *process) float() float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rng.Float64()
}

// failpoint is a moment at which a process may die, or the database may fail: at
// worst when an answer has come that exists nowhere else.
func (p *process) failpoint(name string) {
	p.step()
	if name == "refresh.answered" && p.float() < p.w.cfg.deaths {
		p.w.fail(p.w.between(time.Second, 10*time.Minute))
	}
	if p.float() < p.w.cfg.deaths {
		p.kill()
		p.w.replace(p)
		p.step()
	}
}

// simRotating is how many calls that rotate a process may have under way.
const simRotating = 8

func (p *process) enter() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.calls++; p.calls > simRotating {
		p.w.faulty("%d refreshes that rotate are under way in one process", p.calls)
	}
}

func (p *process) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls--
}

// sleep waits as a call does that takes so long.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

var (
	errDown = errors.New("the database is down")
	errLost = errors.New("the answer to the commit is lost")
)

// simStore is the database as a process sees it: over a network, by a clock that
// is not its own, and not always.
type simStore struct{ p *process }

// through makes a call to the database and says whether its answer came.
func (s simStore) through(ctx context.Context, do func() error) error {
	s.p.step()
	if err := sleep(ctx, s.p.w.cfg.latency(s.p.float())); err != nil {
		return err
	}
	s.p.step()
	if s.p.w.failing() {
		return errDown
	}
	if err := do(); err != nil {
		return err
	}
	s.p.step()
	if s.p.float() < s.p.w.cfg.lostCommits {
		return errLost
	}
	return nil
}

func (s simStore) Claim(ctx context.Context, c oauthaccount.RefreshClaim) (out []oauthaccount.Refreshing, err error) {
	err = s.through(ctx, func() error {
		out, err = s.p.w.store.Claim(ctx, c)
		return err
	})
	if err != nil {
		return nil, err
	}
	for i := range out {
		open := out[i].Open
		out[i].Open = func() (connectors.Account, connectors.Secret, error) {
			a, refresh, err := open()
			if !a.ExpiresAt.IsZero() {
				a.ExpiresAt = a.ExpiresAt.Add(s.p.skew)
			}
			return a, refresh, err
		}
	}
	return out, nil
}

func (s simStore) Write(ctx context.Context, w *oauthaccount.RefreshWrite) (out oauthaccount.RefreshOutcome, err error) {
	err = s.through(ctx, func() error {
		out, err = s.p.w.store.Write(ctx, w)
		return err
	})
	return out, err
}

func (s simStore) MakeDue(ctx context.Context, id uuid.UUID, tokenVersion int64, rest time.Duration) (out bool, err error) {
	err = s.through(ctx, func() error {
		out, err = s.p.w.store.MakeDue(ctx, id, tokenVersion, rest)
		return err
	})
	return out, err
}

func (s simStore) Due(ctx context.Context, overdue time.Duration) ([]oauthaccount.DueRefreshes, error) {
	return s.p.w.store.Due(ctx, overdue)
}
