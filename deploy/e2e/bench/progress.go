package bench

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// progress prints where the run stands, every couple of seconds.
type progress struct {
	out   io.Writer
	began time.Time
	end   chan struct{}
	done  sync.WaitGroup
	once  sync.Once

	mu          sync.Mutex
	what, state string
}

func newProgress(out io.Writer) *progress {
	p := &progress{out: out, began: time.Now(), end: make(chan struct{})}
	p.done.Go(p.run)
	return p
}

func (p *progress) run() {
	t := time.NewTicker(2 * time.Second)
	defer t.Stop()
	for {
		select {
		case <-p.end:
			return
		case <-t.C:
			p.print()
		}
	}
}

func (p *progress) print() {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = fmt.Fprintf(p.out, "%4.0f s  %s: %s\n", time.Since(p.began).Seconds(), p.what, p.state)
}

// phase begins something.
func (p *progress) phase(what, state string) {
	p.mu.Lock()
	p.what, p.state = what, state
	p.mu.Unlock()
	p.print()
}

// at says how far it has come.
func (p *progress) at(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state = fmt.Sprintf(format, args...)
}

func (p *progress) close() {
	p.once.Do(func() { close(p.end) })
	p.done.Wait()
}
