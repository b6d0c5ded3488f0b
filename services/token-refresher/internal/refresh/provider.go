package refresh

import (
	"sync"
	"time"

	"postbus.dev/services/connectors"
)

// uncallable is the time that an account takes whose provider is not called.
const uncallable = 10 * time.Second

// provider is what this process knows of one.
type provider struct {
	name      string
	refresher connectors.Refresher // nil: nothing can be refreshed
	checker   connectors.Checker   // nil: nothing to look at

	mu    sync.Mutex
	under int       // accounts under way
	until time.Time // it rests until then; on the monotonic clock
}

func newProvider(name string, c connectors.Connector) *provider {
	p := &provider{name: name}
	p.refresher, _ = c.(connectors.Refresher)
	p.checker, _ = c.(connectors.Checker)
	return p
}

func (p *provider) rotates() bool { return p.refresher != nil && p.refresher.RefreshRule().Rotates }

// call is how long one account takes at most.
func (p *provider) call() time.Duration {
	if p.refresher == nil {
		return uncallable
	}
	rule := p.refresher.RefreshRule()
	if rule.Rotates {
		return rule.Call + rule.UserTO
	}
	return rule.Call
}

func (p *provider) enter() { p.change(1) }
func (p *provider) leave() { p.change(-1) }

func (p *provider) change(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.under += n
}

func (p *provider) inFlight() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.under
}

// rest takes nobody for d.
func (p *provider) rest(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if until := time.Now().Add(d); until.After(p.until) {
		p.until = until
	}
}

func (p *provider) resting() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Now().Before(p.until)
}
