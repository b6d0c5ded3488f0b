package process

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

type diary struct {
	mu      sync.Mutex
	entries []string
}

func (d *diary) write(entry string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.entries = append(d.entries, entry)
}

// part runs until its context ends, then takes a while to stop.
func (d *diary) part(name string, err error) func(context.Context) error {
	return func(ctx context.Context) error {
		<-ctx.Done()
		time.Sleep(time.Second)
		d.write(name)
		return err
	}
}

func TestPartsStopInReverseOneAfterTheOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &diary{}
		g := NewGroup(GroupConfig{})
		g.OnStop("pool", func(context.Context) error { d.write("pool"); return nil })
		g.Add("bus", d.part("bus", context.Canceled))
		g.Add("http", d.part("http", nil))
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, cancel)
		if err := g.Run(ctx); err != nil {
			t.Error(err)
		}
		if want := []string{"http", "bus", "pool"}; !slices.Equal(d.entries, want) {
			t.Errorf("stopped %v, want %v", d.entries, want)
		}
	})
}

func TestThePartThatFailsFirstIsTheError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &diary{}
		boom, later := errors.New("boom"), errors.New("later")
		g := NewGroup(GroupConfig{})
		g.Add("pool", d.part("pool", later))
		g.Add("relay", func(context.Context) error { return boom })
		g.Add("http", d.part("http", nil))
		err := g.Run(t.Context())
		if !errors.Is(err, boom) || errors.Is(err, later) || !strings.HasPrefix(err.Error(), "relay: ") {
			t.Errorf("got %v", err)
		}
		if want := []string{"http", "pool"}; !slices.Equal(d.entries, want) {
			t.Errorf("stopped %v, want %v", d.entries, want)
		}
	})
}

func TestAPartThatEndsWithoutBeingAskedToIsAnError(t *testing.T) {
	t.Parallel()
	g := NewGroup(GroupConfig{})
	g.Add("relay", func(context.Context) error { return nil })
	if err := g.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "relay: ended without being asked") {
		t.Errorf("got %v", err)
	}
}

func TestAnErrorWhileStoppingIsReported(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	g := NewGroup(GroupConfig{})
	g.OnStop("pool", func(context.Context) error { return boom })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := g.Run(ctx); !errors.Is(err, boom) {
		t.Errorf("got %v", err)
	}
}

func TestAPartThatDoesNotStopIsLeftBehindAtTheLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		told := make(chan struct{})
		g := NewGroup(GroupConfig{Limit: 5 * time.Second})
		g.Add("pool", func(ctx context.Context) error { <-ctx.Done(); close(told); return nil })
		g.Add("stuck", func(context.Context) error { <-release; return nil })
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began := time.Now()
		err := g.Run(ctx)
		if err == nil || !strings.Contains(err.Error(), "stuck: did not stop in time") || time.Since(began) != 5*time.Second {
			t.Errorf("got %v after %v", err, time.Since(began))
		}
		<-told // the parts below it are told nevertheless
	})
}

func TestAGroupStopStepHasAContextThatIsNotOver(t *testing.T) {
	t.Parallel()
	g := NewGroup(GroupConfig{})
	g.OnStop("flush", func(ctx context.Context) error { return ctx.Err() })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := g.Run(ctx); err != nil {
		t.Error(err)
	}
}
