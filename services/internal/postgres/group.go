package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"
)

// GroupConfig says how a Group writes. T is one operation, R what became of it.
type GroupConfig[T, R any] struct {
	Name string // of the metrics' attribute "group"

	// Flush writes all operations in one transaction and returns one result
	// for each, in their order. An error means that none was written, or that
	// nobody knows (IsAmbiguous). It must not keep the slice.
	Flush func(ctx context.Context, ops []T) ([]R, error)

	Max     int           // operations in one Flush; default 1,000
	Writers int           // flushes at a time; default 2
	Timeout time.Duration // of one Flush; default 30 s

	// Size, where set, tells an operation's bytes: a flush ends before
	// MaxBytes (default 32 MiB) are passed, but holds one operation at least.
	Size     func(T) int
	MaxBytes int

	Meter metric.MeterProvider // nil: no metrics
}

// A Group writes what waits at the same moment together. There is no timer: a
// free writer takes whatever is there, so that one operation alone is written
// at once, and under load the operations that arrive during a commit share the
// next one. It is safe for concurrent use.
type Group[T, R any] struct {
	config  GroupConfig[T, R]
	metrics groupMetrics

	mu      sync.Mutex
	work    sync.Cond // signals a waiting operation, or closed
	waiting []*waiter[T, R]
	closed  bool
	writers sync.WaitGroup
}

type waiter[T, R any] struct {
	op        T
	answer    chan answer[R] // holds one, so that a writer never waits for its reader
	withdrawn bool           // guarded by Group.mu; its context ended before a writer came
}

type answer[R any] struct {
	result R
	err    error
}

// NewGroup starts the writers. Close ends them.
func NewGroup[T, R any](c GroupConfig[T, R]) (*Group[T, R], error) {
	if c.Name == "" || c.Flush == nil {
		return nil, errors.New("new group: it needs a name and a flush function")
	}
	if c.Max < 0 || c.Writers < 0 || c.Timeout < 0 || c.MaxBytes < 0 {
		return nil, fmt.Errorf("new group %s: a limit is negative", c.Name)
	}
	c.Max = cmp.Or(c.Max, 1000)
	c.Writers = cmp.Or(c.Writers, 2)
	c.Timeout = cmp.Or(c.Timeout, 30*time.Second)
	c.MaxBytes = cmp.Or(c.MaxBytes, 32<<20)
	m, err := newGroupMetrics(c.Meter, c.Name)
	if err != nil {
		return nil, fmt.Errorf("new group %s: %w", c.Name, err)
	}
	g := &Group[T, R]{config: c, metrics: m}
	g.work.L = &g.mu
	for range c.Writers {
		g.writers.Go(g.write)
	}
	return g, nil
}

// Do waits until op is written and returns its own result. When ctx ends
// first, an operation that no writer has taken is withdrawn; one that was
// taken is written all the same and its result dropped, so that the caller
// cannot tell (the error is ctx's, which IsAmbiguous counts as such).
func (g *Group[T, R]) Do(ctx context.Context, op T) (R, error) {
	w := &waiter[T, R]{op: op, answer: make(chan answer[R], 1)}
	var none R
	if err := ctx.Err(); err != nil {
		return none, err
	}
	if !g.enqueue(w) {
		return none, ErrClosed
	}
	select {
	case a := <-w.answer:
		return a.result, a.err
	case <-ctx.Done():
		g.withdraw(w)
		return none, ctx.Err()
	}
}

// Close lets the writers finish what was enqueued and waits for them.
// Operations that come later get ErrClosed.
func (g *Group[T, R]) Close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.work.Broadcast()
	g.writers.Wait()
}

func (g *Group[T, R]) enqueue(w *waiter[T, R]) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.waiting = append(g.waiting, w)
	g.work.Signal()
	return true
}

func (g *Group[T, R]) withdraw(w *waiter[T, R]) {
	g.mu.Lock()
	w.withdrawn = true
	g.mu.Unlock()
}

func (g *Group[T, R]) write() {
	for {
		ws := g.take()
		if ws == nil {
			return
		}
		g.settle(ws)
	}
}

// take waits for operations and removes at most Max of them, oldest first. Nil
// means closed and empty.
func (g *Group[T, R]) take() []*waiter[T, R] {
	g.mu.Lock()
	defer g.mu.Unlock()
	for {
		for len(g.waiting) == 0 {
			if g.closed {
				return nil
			}
			g.work.Wait()
		}
		g.yield()
		if ws := g.cut(); len(ws) > 0 {
			return ws
		}
	}
}

// yield lets those run first who are about to enqueue: where the processors are
// busy, a burst of operations is at hand when its first one wakes a writer.
// Where they are not, it takes no time.
func (g *Group[T, R]) yield() {
	g.mu.Unlock()
	runtime.Gosched()
	g.mu.Lock()
}

func (g *Group[T, R]) cut() []*waiter[T, R] {
	var ws []*waiter[T, R]
	n, bytes := 0, 0
	for ; n < len(g.waiting) && len(ws) < g.config.Max; n++ {
		w := g.waiting[n]
		if w.withdrawn {
			continue
		}
		if g.config.Size != nil {
			bytes += g.config.Size(w.op)
			if len(ws) > 0 && bytes > g.config.MaxBytes {
				break
			}
		}
		ws = append(ws, w)
	}
	rest := copy(g.waiting, g.waiting[n:])
	clear(g.waiting[rest:])
	g.waiting = g.waiting[:rest]
	return ws
}

// Waiting is the number of operations that no writer has taken yet.
func (g *Group[T, R]) Waiting() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.waiting)
}
