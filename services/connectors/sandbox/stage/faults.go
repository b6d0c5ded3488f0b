package stage

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Fault is a switch that somebody has set. Every filter that is empty matches
// everything; Call empty means the calls that the switch is made for.
type Fault struct {
	ID          int64   `json:"id,omitempty"`
	Switch      string  `json:"switch"`
	Provider    string  `json:"provider,omitempty"`
	Account     string  `json:"account,omitempty"`
	Call        string  `json:"call,omitempty"`
	Skip        int     `json:"skip,omitempty"`        // the first so many calls that match pass
	Count       int     `json:"count,omitempty"`       // then it hits so often; 0: until cleared
	Probability float64 `json:"probability,omitempty"` // of each of them; 0: always
	Seed        uint64  `json:"seed,omitempty"`        // of the probability
	Behind      int64   `json:"behind,omitempty"`      // calls match only once the fault with this id has hit

	Delay     Duration `json:"delay,omitempty"` // provider time: scaled by the sandbox's factor
	Status    int      `json:"status,omitempty"`
	Code      int      `json:"code,omitempty"`
	Subcode   int      `json:"subcode,omitempty"`
	Transient *bool    `json:"transient,omitempty"`
	Message   string   `json:"message,omitempty"`
	After     bool     `json:"after,omitempty"` // the call is carried out all the same
	Bytes     int      `json:"bytes,omitempty"`
	Body      string   `json:"body,omitempty"`

	Hits    int `json:"hits"`    // how often it has hit; not read from input
	Waiting int `json:"waiting"` // calls that it holds now; not read from input
}

// Switch is a kind of fault that can be set.
type Switch struct {
	Name     string            `json:"name"`
	Provider string            `json:"provider,omitempty"` // "" : every stand-in has it
	About    string            `json:"about"`
	Calls    []string          `json:"calls,omitempty"` // what it hits by default; none: every call
	Params   map[string]string `json:"params,omitempty"`
	// Plan says what happens to a call that the fault hits. Without it the
	// switch changes the stand-in's state, which asks for it by State.
	Plan func(Fault, Act) Plan `json:"-"`
}

// live is a set fault with its own counters.
type live struct {
	Fault
	sw      Switch
	rng     *rand.Rand
	skip    int
	left    int // -1: no limit
	cleared chan struct{}
}

// Faults is the set of faults that are on.
type Faults struct {
	on atomic.Int32 // how many are set: calls without faults take no lock

	mu       sync.Mutex
	seed     uint64
	last     int64
	set      []*live
	switches []Switch
	calls    []string
}

func newFaults(seed uint64) *Faults {
	return &Faults{seed: seed, switches: common()}
}

// Register makes the switches and calls of a provider known.
func (f *Faults) Register(p Provider) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.switches = append(f.switches, p.Switches()...)
	f.calls = append(f.calls, p.Calls()...)
}

// Switches lists every switch that can be set.
func (f *Faults) Switches() []Switch {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.switches)
}

// Add sets a fault and returns it with its id.
func (f *Faults) Add(ft Fault) (Fault, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	sw, err := f.find(ft)
	if err != nil {
		return Fault{}, err
	}
	if ft.Call != "" && !slices.Contains(f.calls, ft.Call) {
		return Fault{}, fmt.Errorf("no call %q: %s", ft.Call, strings.Join(f.calls, ", "))
	}
	if ft.Behind != 0 && !slices.ContainsFunc(f.set, func(l *live) bool { return l.ID == ft.Behind }) {
		return Fault{}, fmt.Errorf("no fault %d is set to be behind of", ft.Behind)
	}
	if ft.Probability < 0 || ft.Probability > 1 || ft.Count < 0 || ft.Skip < 0 || ft.Delay < 0 {
		return Fault{}, errors.New("probability is not within 0 and 1, or count, skip or delay is negative")
	}
	f.last++
	ft.ID, ft.Hits, ft.Waiting = f.last, 0, 0
	seed := ft.Seed
	if seed == 0 {
		seed = f.seed + uint64(ft.ID)
	}
	l := &live{Fault: ft, sw: sw, rng: rand.New(rand.NewPCG(seed, 1)), skip: ft.Skip, left: -1, cleared: make(chan struct{})}
	if ft.Count > 0 {
		l.left = ft.Count
	}
	f.set = append(f.set, l)
	f.on.Add(1)
	return ft, nil
}

func (f *Faults) find(ft Fault) (Switch, error) {
	for _, sw := range f.switches {
		if sw.Name == ft.Switch && (sw.Provider == "" || ft.Provider == "" || sw.Provider == ft.Provider) {
			return sw, nil
		}
	}
	return Switch{}, fmt.Errorf("no switch %q, see GET /_sandbox/switches", ft.Switch)
}

// Clear removes a fault, or all with id 0, and lets go what they hold. It
// returns how many there were.
func (f *Faults) Clear(id int64) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := len(f.set)
	f.set = slices.DeleteFunc(f.set, func(l *live) bool {
		gone := id == 0 || l.ID == id
		if gone {
			close(l.cleared)
		}
		return gone
	})
	n -= len(f.set)
	f.on.Add(-int32(n))
	return n
}

// List returns the faults that were set and not cleared, used up ones included.
func (f *Faults) List() []Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := make([]Fault, len(f.set))
	for i, l := range f.set {
		list[i] = l.Fault
	}
	return list
}

// State takes a fault of a switch that changes a stand-in's state.
func (f *Faults) State(name, provider, call, account string) (Fault, bool) {
	l := f.take(provider, call, account, func(l *live) bool { return l.sw.Plan == nil && l.Switch == name })
	if l == nil {
		return Fault{}, false
	}
	return l.Fault, true
}

// play takes the fault that decides how a call is answered; nil is none.
func (f *Faults) play(provider, call, account string) *live {
	return f.take(provider, call, account, func(l *live) bool { return l.sw.Plan != nil })
}

// take finds the first fault that matches and hits, and counts it.
func (f *Faults) take(provider, call, account string, want func(*live) bool) *live {
	if f.on.Load() == 0 {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.set {
		if want(l) && l.matches(provider, call, account) && f.hasHit(l.Behind) && l.hit() {
			snapshot := *l
			return &snapshot
		}
	}
	return nil
}

// hasHit says whether the fault id has hit; 0 is none to wait for.
func (f *Faults) hasHit(id int64) bool {
	return id == 0 || slices.ContainsFunc(f.set, func(l *live) bool { return l.ID == id && l.Hits > 0 })
}

func (l *live) matches(provider, call, account string) bool {
	if l.Provider != "" && l.Provider != provider || l.Account != "" && l.Account != account {
		return false
	}
	if l.sw.Provider != "" && l.sw.Provider != provider {
		return false
	}
	if l.Call != "" {
		return l.Call == call
	}
	return len(l.sw.Calls) == 0 || slices.Contains(l.sw.Calls, call)
}

func (l *live) hit() bool {
	if l.left == 0 {
		return false
	}
	if l.skip > 0 {
		l.skip--
		return false
	}
	if l.Probability > 0 && l.rng.Float64() >= l.Probability {
		return false
	}
	if l.left > 0 {
		l.left--
	}
	l.Hits++
	return true
}

// waiting counts a call that fault id holds.
func (f *Faults) waiting(id int64, by int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.set {
		if l.ID == id {
			l.Waiting += by
		}
	}
}
