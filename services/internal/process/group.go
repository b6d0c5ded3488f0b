package process

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// GroupConfig says how a Group stops.
type GroupConfig struct {
	Logger *slog.Logger  // default discards
	Limit  time.Duration // for stopping all parts together; default 30 s
}

// Group runs the named, long-lived parts of a process. They start in the order
// in which they were added and stop in reverse, each only when all that were
// added after it have ended: what others stand on is added first.
type Group struct {
	cfg   GroupConfig
	parts []part
}

type part struct {
	name string
	run  func(ctx context.Context) error
}

// NewGroup returns an empty group.
func NewGroup(cfg GroupConfig) *Group {
	cfg.Logger = cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))
	cfg.Limit = cmp.Or(cfg.Limit, 30*time.Second)
	return &Group{cfg: cfg}
}

// Add adds a part that runs until its context ends. Ending earlier, with or
// without an error, stops the group.
func (g *Group) Add(name string, run func(ctx context.Context) error) {
	g.parts = append(g.parts, part{name, run})
}

// OnStop adds a step that runs only while the group stops, in its place in the
// order; its context ends with the group's limit.
func (g *Group) OnStop(name string, stop func(ctx context.Context) error) {
	g.Add(name, func(ctx context.Context) error {
		<-ctx.Done()
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.cfg.Limit)
		defer cancel()
		return stop(limit)
	})
}

type running struct {
	part
	stop  context.CancelFunc
	ended chan struct{}
	err   error // set before ended is closed
}

// Run runs the parts until ctx ends or one of them does, stops the others and
// returns the first error. A part that does not stop within the limit is left
// behind, with an error: the process is about to end.
func (g *Group) Run(ctx context.Context) error {
	early := make(chan *running, len(g.parts))
	all := make([]*running, len(g.parts))
	for i, p := range g.parts {
		all[i] = start(ctx, p, early)
	}
	var failed *running
	select {
	case <-ctx.Done():
	case failed = <-early:
		g.cfg.Logger.Error("a part of the process ended; stopping the others", "part", failed.name, "error", failed.failure())
	}
	return g.stopAll(all, failed)
}

// start gives the part a context of its own, so that the end of ctx does not
// stop all parts at once.
func start(ctx context.Context, p part, early chan<- *running) *running {
	own, stop := context.WithCancel(context.WithoutCancel(ctx))
	r := &running{part: p, stop: stop, ended: make(chan struct{})}
	go func() {
		r.err = p.run(own)
		close(r.ended)
		if own.Err() == nil {
			early <- r
		}
	}()
	return r
}

// failure is what a part that ended without being asked stands for.
func (r *running) failure() error {
	if r.err == nil {
		return fmt.Errorf("%s: ended without being asked to", r.name)
	}
	return fmt.Errorf("%s: %w", r.name, r.err)
}

// stopAll stops the parts in reverse order. failed, which ended by itself, may
// be nil.
func (g *Group) stopAll(all []*running, failed *running) error {
	limit := time.NewTimer(g.cfg.Limit)
	defer limit.Stop()
	var first error
	if failed != nil {
		first = failed.failure()
	}
	for i := len(all) - 1; i >= 0; i-- {
		r := all[i]
		r.stop()
		err, ended := r.await(limit.C)
		if !ended {
			for _, rest := range all[:i] {
				rest.stop()
			}
		}
		if err != nil && r != failed {
			g.cfg.Logger.Error("a part of the process did not stop cleanly", "part", r.name, "error", err)
			if first == nil {
				first = err
			}
		}
		if !ended {
			break
		}
	}
	return first
}

// await waits for a part that was asked to stop. Its context's end is no error.
func (r *running) await(limit <-chan time.Time) (err error, ended bool) {
	select {
	case <-limit:
		return fmt.Errorf("%s: did not stop in time", r.name), false
	case <-r.ended:
	}
	if r.err == nil || errors.Is(r.err, context.Canceled) {
		return nil, true
	}
	return fmt.Errorf("%s: %w", r.name, r.err), true
}
