package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"postbus.dev/deploy/e2e/bench/onecall"
	"postbus.dev/services/connectors"
)

// hammer calls f in n goroutines for a time and counts what succeeded.
func hammer(ctx context.Context, n int, d time.Duration, f func(ctx context.Context, worker int) error) (done int64, err error) {
	var counted atomic.Int64
	var first error
	var once sync.Once
	var workers sync.WaitGroup
	deadline := time.Now().Add(d)
	for w := range n {
		workers.Go(func() {
			for time.Now().Before(deadline) && ctx.Err() == nil {
				if err := f(ctx, w); err != nil {
					once.Do(func() { first = err })
					return
				}
				counted.Add(1)
			}
		})
	}
	workers.Wait()
	return counted.Load(), errors.Join(first, ctx.Err())
}

// commits measures transactions of one row each.
func (b *bench) commits(ctx context.Context) error {
	if err := b.stand.renew(ctx); err != nil {
		return err
	}
	for _, clients := range []int{1, 8, 32} {
		b.progress.at("%d clients", clients)
		if err := b.commitsOf(ctx, clients); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) commitsOf(ctx context.Context, clients int) error {
	conns := make([]*pgx.Conn, clients)
	for i := range conns {
		var err error
		if conns[i], err = pgx.Connect(ctx, b.stand.dsn); err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		defer func() { _ = conns[i].Close(context.WithoutCancel(ctx)) }()
	}
	if _, err := conns[0].Exec(ctx, `CREATE TABLE IF NOT EXISTS one_row (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text NOT NULL)`); err != nil {
		return fmt.Errorf("make table: %w", err)
	}
	start := b.stand.usage(nil)
	done, err := hammer(ctx, clients, b.sizes.commits, func(ctx context.Context, w int) error {
		_, err := conns[w].Exec(ctx, `INSERT INTO one_row (body) VALUES ($1)`, caption)
		return err
	})
	used := start.until(b.stand.usage(nil))
	if err != nil {
		return err
	}
	b.add(used, fmt.Sprintf("commits_per_s_%d", clients), fmt.Sprintf("single-row commits/s, %d clients", clients), "/s", float64(done)/used.elapsed.Seconds())
	return nil
}

// callers is how many calls are under way at a time.
const callers = 64

// calls measures the one call by itself, with the client that the publisher has:
// on connections that are kept, and as Commit makes it, on one of its own.
func (b *bench) calls(ctx context.Context) error {
	if err := b.stand.forget(ctx); err != nil {
		return err
	}
	client := connectors.NewClient(connectors.ClientConfig{})
	defer client.Close()
	req := onecall.PostRequest(onecall.Base(b.stand.sandbox.url), "", connectors.NewSecret("token"), []byte(caption))
	kept, err := b.callsBy(ctx, "kept connections", func(ctx context.Context, _ int) error {
		_, err := client.Do(ctx, req)
		return err
	})
	if err != nil {
		return err
	}
	b.add(kept.spent, "calls_per_s_do", fmt.Sprintf("bare calls/s, %d at a time, connections kept", callers), "/s", kept.rate)
	own, err := b.callsBy(ctx, "a connection each", func(ctx context.Context, _ int) error {
		_, err := client.Commit(connectors.WithArm(ctx, armNothing), req)
		return err
	})
	if err != nil {
		return err
	}
	b.add(own.spent, "calls_per_s_commit", fmt.Sprintf("bare calls/s, %d at a time, as Commit: a connection each", callers), "/s", own.rate)
	return b.stand.forget(ctx)
}

func armNothing(context.Context) (connectors.Window, error) {
	return connectors.Window{SendBy: time.Now().Add(30 * time.Second), UserTimeout: 20 * time.Second}, nil
}

type rated struct {
	spent
	rate float64
}

func (b *bench) callsBy(ctx context.Context, how string, call func(context.Context, int) error) (rated, error) {
	b.progress.at("%s", how)
	start := b.stand.usage(nil)
	done, err := hammer(ctx, callers, b.sizes.calls, call)
	used := start.until(b.stand.usage(nil))
	return rated{used, float64(done) / used.elapsed.Seconds()}, err
}
