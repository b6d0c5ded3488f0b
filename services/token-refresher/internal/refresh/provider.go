package refresh

import (
	"sync"
	"time"

	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/oauthaccount"
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
	more  int       // so many were taken last, and there may be more; else 0
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

func (p *provider) enter() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.under++
}

// leave says whether to look for more now: where as many were due as there was room
// for, once half of those have gone, so that a claim takes many.
func (p *provider) leave() (more bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.under--
	return p.more > 0 && p.under <= p.more/2
}

// claimed notes whether a claim left accounts behind.
func (p *provider) claimed(due []oauthaccount.Refreshing, room int) {
	n := 0
	for _, d := range due {
		if d.Provider == p.name {
			n++
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.more = 0
	if n == room {
		p.more = n
	}
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
