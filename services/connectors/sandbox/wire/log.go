// Package wire records what really came over the connections of a server: per
// connection how many bytes at what time, below TLS and above it. A test can
// prove with it that no byte of a request came from somewhere.
package wire

import (
	"slices"
	"sync"
	"time"
)

// Chunk is one read from a connection.
type Chunk struct {
	Time time.Time `json:"time"`
	N    int       `json:"n"`
}

// Conn is the record of one connection. Without TLS raw and application bytes
// are the same.
type Conn struct {
	ID         int64     `json:"id"`
	Remote     string    `json:"remote"` // address of the peer
	TLS        bool      `json:"tls"`
	Accepted   time.Time `json:"accepted"`
	Handshaken time.Time `json:"handshaken,omitzero"` // the TLS handshake was done
	Closed     time.Time `json:"closed,omitzero"`     // by us, or seen
	Ending     string    `json:"ending,omitempty"`    // the error of the last read: EOF, reset, ...

	RawBytes  int64     `json:"rawBytes"` // received, TLS records included
	FirstRaw  time.Time `json:"firstRaw,omitzero"`
	LastRaw   time.Time `json:"lastRaw,omitzero"`
	AppBytes  int64     `json:"appBytes"` // received, the request bytes themselves
	FirstApp  time.Time `json:"firstApp,omitzero"`
	LastApp   time.Time `json:"lastApp,omitzero"`
	SentBytes int64     `json:"sentBytes"` // application bytes sent

	Raw []Chunk `json:"raw,omitempty"` // the first reads, at most 64
	App []Chunk `json:"app,omitempty"` // the first reads, at most 64
}

const keepChunks = 64

// record is a Conn that is being written.
type record struct {
	mu sync.Mutex
	Conn
}

func (r *record) update(f func(*Conn)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.Conn)
}

func (r *record) snapshot() Conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.Conn
	c.Raw, c.App = slices.Clone(c.Raw), slices.Clone(c.App)
	return c
}

// Log is the record of connections; it keeps the newest.
type Log struct {
	mu    sync.Mutex
	keep  int
	last  int64
	conns []*record
}

// NewLog makes a log that keeps so many connections; 0 means 10,000.
func NewLog(keep int) *Log {
	if keep <= 0 {
		keep = 10_000
	}
	return &Log{keep: keep}
}

// List returns the records, oldest first.
func (l *Log) List() []Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]Conn, len(l.conns))
	for i, r := range l.conns {
		list[i] = r.snapshot()
	}
	return list
}

// Clear forgets the records; numbers go on.
func (l *Log) Clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns = nil
}

func (l *Log) open(remote string, tls bool) *record {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	r := &record{Conn: Conn{ID: l.last, Remote: remote, TLS: tls, Accepted: time.Now()}}
	if len(l.conns) == l.keep {
		l.conns = slices.Clone(l.conns[l.keep/10+1:])
	}
	l.conns = append(l.conns, r)
	return r
}
