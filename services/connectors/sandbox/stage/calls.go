package stage

import (
	"sync"
	"time"
)

// Call is one request to a stand-in. It holds names of parameters, never their
// values, and no header: so there is no secret in it.
type Call struct {
	N        int64     `json:"n"` // order of arrival, from 1
	Time     time.Time `json:"time"`
	Provider string    `json:"provider"`
	Name     string    `json:"name"` // such as media_publish; "" when the path is unknown
	Account  string    `json:"account,omitempty"`
	Method   string    `json:"method"`
	Path     string    `json:"path"`             // without the query
	Params   []string  `json:"params,omitempty"` // names, sorted
	Unknown  []string  `json:"unknown,omitempty"`
	Open     bool      `json:"open,omitempty"`   // still being served
	Executed bool      `json:"executed"`         // carried out, whatever was answered
	Status   int       `json:"status"`           // 0: no answer was given
	Code     string    `json:"code,omitempty"`   // the provider's error code
	Switch   string    `json:"switch,omitempty"` // the fault that hit it
	Fault    int64     `json:"fault,omitempty"`
	TookMS   float64   `json:"tookMs"`
	Conn     int64     `json:"conn,omitempty"` // number in the connection log
}

// Calls is the log of calls.
type Calls struct {
	mu    sync.Mutex
	calls ring[*Call]
	n     int64
}

func newCalls(keep int) *Calls {
	return &Calls{calls: ring[*Call]{keep: keep}}
}

// begin writes c down as open and returns its entry.
func (l *Calls) begin(c Call) *Call {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n++
	c.N, c.Time, c.Open = l.n, time.Now(), true
	entry := &c
	l.calls.add(entry)
	return entry
}

// update changes an entry under the lock.
func (l *Calls) update(entry *Call, f func(*Call)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(entry)
}

func (l *Calls) end(entry *Call, f func(*Call)) {
	l.update(entry, func(c *Call) {
		c.Open = false
		c.TookMS = float64(time.Since(c.Time).Microseconds()) / 1000
		f(c)
	})
}

// CallFilter selects calls; empty fields select all.
type CallFilter struct {
	Provider string
	Name     string
	Account  string
	After    int64 // only those with a higher N
	Limit    int   // at most the newest Limit
}

func (f CallFilter) match(c *Call) bool {
	return (f.Provider == "" || f.Provider == c.Provider) &&
		(f.Name == "" || f.Name == c.Name) &&
		(f.Account == "" || f.Account == c.Account) && c.N > f.After
}

// List returns the calls that match, in the order of arrival.
func (l *Calls) List(f CallFilter) []Call {
	l.mu.Lock()
	defer l.mu.Unlock()
	found := []Call{}
	l.calls.each(func(c *Call) bool {
		if f.match(c) {
			found = append(found, *c)
		}
		return true
	})
	if f.Limit > 0 && len(found) > f.Limit {
		found = found[len(found)-f.Limit:]
	}
	return found
}

// Total counts all calls ever made.
func (l *Calls) Total() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}

// goOn makes the next call follow number n.
func (l *Calls) goOn(n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n = n
}

// Clear forgets the calls; numbers go on.
func (l *Calls) Clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls.clear()
}
