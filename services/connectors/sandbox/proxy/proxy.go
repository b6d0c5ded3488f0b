// Package proxy is a TCP proxy that plays the network between a client and a
// sandbox: it passes, delays, holds back and heals, or cuts, for each direction,
// and can do so at a chosen byte of a connection.
//
// # What holding means
//
// It plays a network through which no packet comes. A real one leaves the bytes
// with the kernel of the sender, which sends them again until the network heals,
// and gives up when its socket is reset or TCP_USER_TIMEOUT has passed. Here the
// kernel of the proxy has already taken them, so the proxy keeps the same rules:
// what it holds is delivered on release if the sender's socket is still there,
// or was closed in order; it is thrown away when the sender has reset its
// connection (SO_LINGER 0), and, with Hold.UserTimeout, when it was held for
// longer than that.
package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Direction is one way through the proxy.
type Direction int

// The directions.
const (
	Up   Direction = iota // from the client to the target
	Down                  // from the target to the client
)

// Config is what a Proxy needs.
type Config struct {
	Target string // host:port
	Addr   string // to listen on; default 127.0.0.1:0
}

// Proxy forwards connections to a target.
type Proxy struct {
	target string
	ln     net.Listener
	cancel context.CancelFunc // of dials that are under way
	wg     sync.WaitGroup

	mu       sync.Mutex
	changed  *sync.Cond // anything below changed
	closed   bool
	refuse   bool
	rules    [2]rule
	triggers []*Trigger
	conns    []*conn
	last     int64
}

// rule is how one direction is treated, on every connection.
type rule struct {
	held        bool
	userTimeout time.Duration
	delay       time.Duration
}

// Start starts a proxy that passes everything.
func Start(cfg Config) (*Proxy, error) {
	if cfg.Target == "" {
		return nil, errors.New("start proxy: no target")
	}
	ctx, cancel := context.WithCancel(context.Background())
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", cmp.Or(cfg.Addr, "127.0.0.1:0"))
	if err != nil {
		cancel()
		return nil, fmt.Errorf("start proxy: %w", err)
	}
	p := &Proxy{target: cfg.Target, ln: ln, cancel: cancel}
	p.changed = sync.NewCond(&p.mu)
	p.wg.Go(func() { p.accept(ctx) })
	return p, nil
}

// Addr is the proxy's host:port.
func (p *Proxy) Addr() string { return p.ln.Addr().String() }

// Close stops the proxy and resets its connections.
func (p *Proxy) Close() error {
	err := p.ln.Close()
	p.cancel()
	p.change(func() {
		p.closed = true
		for _, c := range p.conns {
			c.reset()
		}
	})
	p.wg.Wait()
	return err
}

// change changes the state and wakes who waits for it.
func (p *Proxy) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	p.changed.Broadcast()
}

// Hold says how to hold.
type Hold struct {
	// UserTimeout plays the sender's TCP_USER_TIMEOUT: what was held for longer
	// is thrown away and the sender's connection reset. 0: never.
	UserTimeout time.Duration
}

// Hold holds both directions of all connections, present and future.
func (p *Proxy) Hold(h Hold) { p.HoldDirection(Up, h); p.HoldDirection(Down, h) }

// HoldDirection holds one direction of all connections.
func (p *Proxy) HoldDirection(d Direction, h Hold) {
	p.change(func() { p.rules[d].held, p.rules[d].userTimeout = true, h.UserTimeout })
}

// Release heals: what is held and still has a living sender is delivered.
func (p *Proxy) Release() {
	p.change(func() {
		p.rules[Up].held, p.rules[Down].held = false, false
		for _, c := range p.conns {
			c.pipes[Up].held, c.pipes[Down].held = false, false
		}
	})
}

// Delay makes every byte of a direction come so much later; 0 ends it.
func (p *Proxy) Delay(d Direction, by time.Duration) {
	p.change(func() { p.rules[d].delay = by })
}

// Refuse resets new connections at once; present ones stay.
func (p *Proxy) Refuse(on bool) { p.change(func() { p.refuse = on }) }

// Cut resets all present connections, on both sides, and returns how many. What
// they hold is lost.
func (p *Proxy) Cut() int {
	n := 0
	p.change(func() {
		for _, c := range p.conns {
			if !c.done() {
				n++
				c.reset()
			}
		}
	})
	return n
}

// Action is what a Trigger does to its connection.
type Action int

// The actions.
const (
	CutConn  Action = iota // reset it on both sides
	HoldConn               // hold both directions of it, until Release
)

// Trigger acts on a connection when so many bytes have gone through it in a
// direction since the trigger was set. The next byte does not get through: with
// Bytes 0 none does, with Direction Down and Bytes 0 the request arrives and the
// answer does not.
type Trigger struct {
	Direction Direction
	Bytes     int64
	Action    Action
	Count     int // how many connections it hits; 0 means 1

	fired int
}

// Set sets a trigger, for present and future connections. The function returned
// says how many connections it has hit.
func (p *Proxy) Set(t Trigger) (fired func() int) {
	t.Count, t.fired = cmp.Or(t.Count, 1), 0
	tr := &t
	p.change(func() {
		p.triggers = append(p.triggers, tr)
		for _, c := range p.conns {
			pi := c.pipes[t.Direction]
			pi.marks = append(pi.marks, mark{trigger: tr, at: pi.forwarded + t.Bytes})
		}
	})
	return func() int {
		p.mu.Lock()
		defer p.mu.Unlock()
		return tr.fired
	}
}

// Reset forgets rules and triggers, and releases what is held.
func (p *Proxy) Reset() {
	p.Release()
	p.change(func() {
		p.rules, p.refuse, p.triggers = [2]rule{}, false, nil
		for _, c := range p.conns {
			c.pipes[Up].marks, c.pipes[Down].marks = nil, nil
		}
	})
}

// Info is what the proxy knows of a connection.
type Info struct {
	ID       int64
	Client   string // address of the client
	Upstream string // our address towards the target: what the target sees as its peer
	Taken    [2]int64
	Passed   [2]int64 // of Taken, by Direction, delivered
	Lost     [2]int64 // of Taken, thrown away
	Held     [2]int64 // of Taken, waiting
	Done     bool
}

// Conns lists the connections since the start, oldest first.
func (p *Proxy) Conns() []Info {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]Info, len(p.conns))
	for i, c := range p.conns {
		list[i] = c.info()
	}
	return list
}
