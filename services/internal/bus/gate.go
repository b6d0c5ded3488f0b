package bus

import (
	"sync"
	"time"
)

// gate stops the pulling of one subscription while something that every message
// needs is away. The first message that finds out shuts it and is kept as the
// probe: it is tried again until it gets through, and only that proves that the
// outage is over (what else is still in hand began before it).
//
// Should it be the probe alone that cannot get through, everything would wait for
// it. So once it has been kept for long, one more message is pulled, the witness:
// where that gets through the gate opens, and the probe is to blame.
type gate struct {
	mu       sync.Mutex
	patience time.Duration // how long the probe is alone
	changed  chan struct{} // closed at each change
	shutAt   time.Time     // zero while open
	trial    bool          // a witness was asked for
	probe    *delivery
	witness  *delivery
	passes   uint64 // how often a message in the gate got through
}

func newGate(patience time.Duration) *gate {
	return &gate{patience: patience, changed: make(chan struct{})}
}

// enter is called as the handling of d begins; it tells how many passes there
// were. If a witness was asked for, it is d.
func (g *gate) enter(d *delivery) (passes uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.trial && g.witness == nil {
		g.witness = d
	}
	return g.passes
}

// shut is called when d was unavailable. It tells whether d is kept, and whether
// it was the one that shut the gate.
func (g *gate) shut(d *delivery) (kept, first bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shutAt.IsZero() {
		g.shutAt, g.probe, first = time.Now(), d, true
		g.signal()
	}
	return d == g.probe || d == g.witness, first
}

// pass opens the gate because d got through, if d was kept in it. It tells for
// how long the gate was shut.
func (g *gate) pass(d *delivery) (was time.Duration, opened bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if d != g.probe && d != g.witness || g.shutAt.IsZero() {
		return 0, false
	}
	was = time.Since(g.shutAt)
	g.passes++
	g.open()
	return was, true
}

// passed is how often a message in the gate got through.
func (g *gate) passed() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.passes
}

// giveUp opens the gate without any proof.
func (g *gate) giveUp() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open()
}

func (g *gate) open() {
	g.shutAt, g.trial, g.probe, g.witness = time.Time{}, false, nil, nil
	g.signal()
}

// state returns whether the gate is open, a channel that tells of a change, and
// when a witness is wanted, if one is.
func (g *gate) state() (open bool, changed <-chan struct{}, witnessAt time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.shutAt.IsZero() && !g.trial {
		witnessAt = g.shutAt.Add(g.patience)
	}
	return g.shutAt.IsZero(), g.changed, witnessAt
}

// try begins (true) or calls off the wait for a witness.
func (g *gate) try(begin bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.trial = begin && !g.shutAt.IsZero()
}

func (g *gate) signal() {
	close(g.changed)
	g.changed = make(chan struct{})
}
