package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// attempts bounds how often a group is written again after a deadlock.
const attempts = 3

// settle writes ws and answers each. A group that holds an operation which the
// database refuses is halved until that one stands alone: the others are
// written, and only its waiter gets the error.
func (g *Group[T, R]) settle(ws []*waiter[T, R]) {
	results, err := g.flush(ws)
	if err != nil && len(ws) > 1 && isOneOperationsFault(err) {
		half := len(ws) / 2
		g.settle(ws[:half])
		g.settle(ws[half:])
		return
	}
	for i, w := range ws {
		a := answer[R]{err: err}
		if err == nil {
			a.result = results[i]
		}
		w.answer <- a
	}
}

func (g *Group[T, R]) flush(ws []*waiter[T, R]) ([]R, error) {
	ops := make([]T, len(ws))
	for i, w := range ws {
		ops[i] = w.op
	}
	start := time.Now()
	results, err := g.flushUncontended(ops)
	g.metrics.record(len(ops), time.Since(start), err)
	return results, err
}

func (g *Group[T, R]) flushUncontended(ops []T) ([]R, error) {
	for n := 1; ; n++ {
		results, err := g.flushOnce(ops)
		if n == attempts || !IsContention(err) {
			return results, err
		}
	}
}

// flushOnce runs on a context of its own: a group belongs to no single waiter,
// and none of them may end the others' write.
func (g *Group[T, R]) flushOnce(ops []T) (results []R, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), g.config.Timeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = &panicError{value: p}
		}
	}()
	results, err = g.config.Flush(ctx, ops)
	if err == nil && len(results) != len(ops) {
		return nil, fmt.Errorf("flush group %s: %d results for %d operations", g.config.Name, len(results), len(ops))
	}
	return results, err
}

// A panicError is a Flush that panicked. The values of one operation are the
// likely reason, and the other waiters' only hope is to be tried without it.
type panicError struct{ value any }

func (e *panicError) Error() string { return fmt.Sprintf("flush panicked: %v", e.value) }

func isOneOperationsFault(err error) bool {
	var p *panicError
	return IsDataError(err) || errors.As(err, &p)
}
