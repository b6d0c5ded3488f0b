package outbox

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	lockRetry  = 500 * time.Millisecond // a standby asks for the lock
	minBackoff = 50 * time.Millisecond
	maxBackoff = 5 * time.Second
)

// Run relays until ctx ends. It returns early only if the bus refuses the
// subscription for pokes; whatever else fails is tried again.
func (r *Relay) Run(ctx context.Context) error {
	stop, err := r.config.Bus.OnPoke(r.pokeSubject(), func([]byte) {
		if r.holding.Load() {
			r.wake()
		}
	})
	if err != nil {
		return fmt.Errorf("subscribe to relay pokes: %w", err)
	}
	defer stop()
	for failures := 0; ctx.Err() == nil; {
		start := time.Now()
		err := r.term(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(start) > time.Minute {
			failures = 0
		}
		failures++
		if failures%10 == 1 {
			r.log.WarnContext(ctx, "relay interrupted", "failures", failures, "error", err)
		}
		pause(ctx, backoff(failures))
	}
	return nil
}

// term holds the lock as long as it can, and relays meanwhile.
func (r *Relay) term(ctx context.Context) error {
	s, err := r.acquire(ctx)
	if err != nil {
		return err
	}
	defer s.close(ctx)
	r.log.InfoContext(ctx, "relay holds the lock")
	r.holding.Store(true)
	defer r.holding.Store(false)

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	run := func(f func(context.Context, *session) error) {
		wg.Go(func() { cancel(f(ctx, s)) })
	}
	run(r.keep)
	run(r.maintain)
	for _, st := range r.streams {
		run(st.run)
	}
	wg.Wait()
	return context.Cause(ctx)
}

// keep touches the lock's session, so that it lives as long as this process
// runs and no longer.
func (r *Relay) keep(ctx context.Context, s *session) error {
	for pause(ctx, r.config.IdleLimit/3) {
		if err := s.touch(ctx); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// pause waits for d. It is false if ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func backoff(failures int) time.Duration {
	d := minBackoff << min(failures-1, 10)
	d = min(d, maxBackoff)
	return d/2 + rand.N(d/2)
}
