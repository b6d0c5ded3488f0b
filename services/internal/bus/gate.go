package bus

import "sync"

// gate stops the pulling of one subscription while something that every message
// needs is away. It is shut by the first message that finds out, which becomes
// the probe: the only one that is kept and tried again, and the only one whose
// success proves that the outage is over (what else is still in hand began
// before it).
type gate struct {
	mu      sync.Mutex
	probe   *delivery
	changed chan struct{} // closed at each change
	shut    bool
}

func newGate() *gate { return &gate{changed: make(chan struct{})} }

// close shuts the gate. It is true if d is the probe.
func (g *gate) close(d *delivery) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.probe == nil {
		g.probe = d
	}
	if !g.shut {
		g.shut = true
		g.signal()
	}
	return g.probe == d
}

// open lets pulling go on; only the probe may.
func (g *gate) open(d *delivery) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.probe != d {
		return
	}
	g.probe, g.shut = nil, false
	g.signal()
}

// state returns whether the gate is open, and a channel that tells of a change.
func (g *gate) state() (open bool, changed <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.shut, g.changed
}

func (g *gate) signal() {
	close(g.changed)
	g.changed = make(chan struct{})
}
