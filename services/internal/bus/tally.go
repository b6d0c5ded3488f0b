package bus

import (
	"sync"
	"time"
)

// tally remembers, by stream sequence, how often a message failed by itself and
// how many of its deliveries are excused. It forgets what has not been touched
// for a while: another process then finished that message.
type tally struct {
	mu    sync.Mutex
	marks map[uint64]mark
	swept time.Time
}

type mark struct {
	failures, excused uint64
	suspect           bool
	touched           time.Time
}

const (
	tallyKeep  = time.Hour
	tallySweep = time.Minute
)

func newTally() *tally { return &tally{marks: map[uint64]mark{}} }

// fail counts a failure and returns how many there are now.
func (t *tally) fail(seq uint64) uint64 {
	return t.change(seq, func(m *mark) { m.failures++ }).failures
}

// excuse takes the current delivery of a message out of the count.
func (t *tally) excuse(seq uint64) { t.change(seq, func(m *mark) { m.excused++ }) }

// excused is how many deliveries of a message are out of the count.
func (t *tally) excused(seq uint64) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.marks[seq].excused
}

// suspect notes that a message alone finds something unavailable.
func (t *tally) suspect(seq uint64) { t.change(seq, func(m *mark) { m.suspect = true }) }

func (t *tally) suspected(seq uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.marks[seq].suspect
}

// forget drops a message that is done.
func (t *tally) forget(seq uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.marks, seq)
}

// reset drops all: the sequences may be those of a new stream.
func (t *tally) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.marks)
}

func (t *tally) change(seq uint64, f func(*mark)) mark {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	t.sweep(now)
	m := t.marks[seq]
	f(&m)
	m.touched = now
	t.marks[seq] = m
	return m
}

func (t *tally) sweep(now time.Time) {
	if now.Sub(t.swept) < tallySweep {
		return
	}
	t.swept = now
	for seq, m := range t.marks {
		if now.Sub(m.touched) > tallyKeep {
			delete(t.marks, seq)
		}
	}
}
