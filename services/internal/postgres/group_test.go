package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"postbus.dev/services/internal/postgres"
)

// gate is a Flush that reports what it was given and waits to be let through.
type gate struct {
	groups chan []int
	pass   chan error
}

func newGate() *gate { return &gate{groups: make(chan []int, 100), pass: make(chan error)} }

func (g *gate) flush(_ context.Context, ops []int) ([]string, error) {
	g.groups <- append([]int(nil), ops...)
	if err := <-g.pass; err != nil {
		return nil, err
	}
	return results(ops), nil
}

func results(ops []int) []string {
	out := make([]string, len(ops))
	for i, op := range ops {
		out[i] = fmt.Sprint("r", op)
	}
	return out
}

func newGroup(t *testing.T, c postgres.GroupConfig[int, string]) *postgres.Group[int, string] {
	t.Helper()
	c.Name = "test"
	g, err := postgres.NewGroup(c)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

type outcome struct {
	op     int
	result string
	err    error
}

// send enqueues ops in order and returns where their outcomes arrive.
func send(ctx context.Context, g *postgres.Group[int, string], ops ...int) <-chan outcome {
	out := make(chan outcome, len(ops))
	for _, op := range ops {
		go func() {
			r, err := g.Do(ctx, op)
			out <- outcome{op, r, err}
		}()
	}
	return out
}

func TestOperationsThatArriveDuringAFlushShareTheNextOne(t *testing.T) {
	t.Parallel()
	gate := newGate()
	g := newGroup(t, postgres.GroupConfig[int, string]{Flush: gate.flush, Writers: 1})
	first := send(t.Context(), g, 1)
	if got := <-gate.groups; len(got) != 1 {
		t.Fatalf("the first operation waited for others: %v", got)
	}
	rest := send(t.Context(), g, 2, 3, 4, 5)
	waitQueued(t, g, 4)
	gate.pass <- nil
	if got := <-gate.groups; len(got) != 4 {
		t.Fatalf("second flush holds %v, want the four that waited", got)
	}
	gate.pass <- nil
	for _, ch := range []<-chan outcome{first, rest} {
		for range cap(ch) {
			if o := <-ch; o.err != nil || o.result != fmt.Sprint("r", o.op) {
				t.Fatalf("operation %d got %q, %v", o.op, o.result, o.err)
			}
		}
	}
	g.Close()
}

func TestAGroupIsBoundedByCountAndByBytes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]postgres.GroupConfig[int, string]{
		"count": {Max: 2},
		"bytes": {Size: func(int) int { return 10 }, MaxBytes: 25},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gate := newGate()
			c.Flush, c.Writers = gate.flush, 1
			g := newGroup(t, c)
			send(t.Context(), g, 0)
			<-gate.groups
			send(t.Context(), g, 1, 2, 3, 4, 5)
			waitQueued(t, g, 5)
			gate.pass <- nil
			for _, want := range []int{2, 2, 1} {
				if got := <-gate.groups; len(got) != want {
					t.Fatalf("flush holds %d operations, want %d", len(got), want)
				}
				gate.pass <- nil
			}
			g.Close()
		})
	}
}

func TestOneBadOperationFailsAloneAndTheOthersAreWritten(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func() error{
		"data error": func() error { return &pgconn.PgError{Severity: "ERROR", Code: "22021"} },
		"panic":      func() error { panic("nil map") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const bad = 7
			var written sync.Map
			started, hold := make(chan struct{}), make(chan struct{})
			g := newGroup(t, postgres.GroupConfig[int, string]{Writers: 1, Flush: func(_ context.Context, ops []int) ([]string, error) {
				if ops[0] == 0 {
					close(started)
					<-hold
				}
				for _, op := range ops {
					if op == bad {
						return nil, fail()
					}
				}
				for _, op := range ops {
					if _, twice := written.LoadOrStore(op, true); twice {
						t.Errorf("operation %d was written twice", op)
					}
				}
				return results(ops), nil
			}})
			send(t.Context(), g, 0)
			<-started
			out := send(t.Context(), g, 1, 2, 3, 4, 5, 6, bad, 8, 9, 10)
			waitQueued(t, g, 10)
			close(hold)
			for range cap(out) {
				o := <-out
				if (o.err != nil) != (o.op == bad) {
					t.Errorf("operation %d got error %v", o.op, o.err)
				}
				if o.err == nil && o.result != fmt.Sprint("r", o.op) {
					t.Errorf("operation %d got the result %q of another", o.op, o.result)
				}
			}
			g.Close()
		})
	}
}

func TestAnUnavailableDatabaseFailsTheWholeGroupOnce(t *testing.T) {
	t.Parallel()
	gate := newGate()
	g := newGroup(t, postgres.GroupConfig[int, string]{Flush: gate.flush, Writers: 1})
	send(t.Context(), g, 0)
	<-gate.groups
	out := send(t.Context(), g, 1, 2, 3)
	waitQueued(t, g, 3)
	gate.pass <- nil
	<-gate.groups
	gate.pass <- &pgconn.PgError{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: "57P01"}
	for range cap(out) {
		if o := <-out; !postgres.IsUnavailable(o.err) {
			t.Errorf("operation %d got %v, want the flush's error", o.op, o.err)
		}
	}
	g.Close()
}

func TestADeadlockedGroupIsWrittenAgain(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	g := newGroup(t, postgres.GroupConfig[int, string]{Flush: func(_ context.Context, ops []int) ([]string, error) {
		if calls.Add(1) == 1 {
			return nil, &pgconn.PgError{Severity: "ERROR", Code: "40P01"}
		}
		return results(ops), nil
	}})
	if r, err := g.Do(t.Context(), 1); err != nil || r != "r1" {
		t.Fatalf("got %q, %v", r, err)
	}
	g.Close()
}

func TestAWaiterThatLeavesDoesNotPoisonTheGroup(t *testing.T) {
	t.Parallel()
	gate := newGate()
	g := newGroup(t, postgres.GroupConfig[int, string]{Flush: gate.flush, Writers: 1})
	ctx, cancel := context.WithCancel(t.Context())
	taken := send(ctx, g, 1)
	<-gate.groups
	queued := send(ctx, g, 2)
	waitQueued(t, g, 1)
	stays := send(t.Context(), g, 3)
	waitQueued(t, g, 2)
	cancel()
	for _, ch := range []<-chan outcome{taken, queued} {
		if o := <-ch; !errors.Is(o.err, context.Canceled) {
			t.Fatalf("operation %d got %v, want its own context's end", o.op, o.err)
		}
	}
	gate.pass <- nil // operation 1 was taken: it is written all the same
	if got := <-gate.groups; len(got) != 1 || got[0] != 3 {
		t.Fatalf("flush holds %v, want only the operation whose waiter stayed", got)
	}
	gate.pass <- nil
	if o := <-stays; o.err != nil {
		t.Fatal(o.err)
	}
	g.Close()
}

func TestCloseWritesWhatWaitsAndTakesNothingMore(t *testing.T) {
	t.Parallel()
	gate := newGate()
	g := newGroup(t, postgres.GroupConfig[int, string]{Flush: gate.flush, Writers: 1})
	send(t.Context(), g, 1)
	<-gate.groups
	out := send(t.Context(), g, 2, 3)
	waitQueued(t, g, 2)
	closed := make(chan struct{})
	go func() { g.Close(); close(closed) }()
	gate.pass <- nil
	<-gate.groups
	select {
	case <-closed:
		t.Fatal("Close returned while a flush was running")
	default:
	}
	gate.pass <- nil
	for range cap(out) {
		if o := <-out; o.err != nil {
			t.Errorf("operation %d, enqueued before Close, got %v", o.op, o.err)
		}
	}
	<-closed
	if _, err := g.Do(t.Context(), 4); !errors.Is(err, postgres.ErrClosed) {
		t.Fatalf("Do after Close: %v", err)
	}
}

func TestAFlushWithTheWrongNumberOfResultsIsAnError(t *testing.T) {
	t.Parallel()
	g := newGroup(t, postgres.GroupConfig[int, string]{Flush: func(context.Context, []int) ([]string, error) { return nil, nil }})
	if _, err := g.Do(t.Context(), 1); err == nil {
		t.Fatal("no error for a missing result")
	}
	g.Close()
}

func TestAFlushIsEndedByItsTimeoutNotByAWaiter(t *testing.T) {
	t.Parallel()
	g := newGroup(t, postgres.GroupConfig[int, string]{Timeout: time.Millisecond, Flush: func(ctx context.Context, _ []int) ([]string, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}})
	if _, err := g.Do(t.Context(), 1); !errors.Is(err, context.DeadlineExceeded) || !postgres.IsAmbiguous(err) {
		t.Fatalf("got %v, want an ambiguous deadline", err)
	}
	g.Close()
}

// waitQueued waits until n operations wait in the group.
func waitQueued(t *testing.T, g *postgres.Group[int, string], n int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); g.Waiting() != n; {
		if time.Now().After(deadline) {
			t.Fatalf("%d operations wait, want %d", g.Waiting(), n)
		}
		time.Sleep(100 * time.Microsecond)
	}
}
