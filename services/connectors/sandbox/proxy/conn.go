package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"time"
)

// conn is one connection through the proxy.
type conn struct {
	id     int64
	p      *Proxy
	client *net.TCPConn
	target *net.TCPConn
	pipes  [2]*pipe
}

// pipe is one direction of a connection. Its fields are guarded by the proxy's
// lock.
type pipe struct {
	c         *conn
	d         Direction
	src, dst  *net.TCPConn
	queue     []chunk
	held      bool // by a trigger, for this connection alone
	eof       bool // the sender closed in order
	dead      bool // reset: nothing more is delivered
	over      bool // the writer has ended
	marks     []mark
	taken     int64
	forwarded int64
	lost      int64
}

type chunk struct {
	data []byte
	at   time.Time
}

// mark is the byte at which a trigger acts.
type mark struct {
	trigger *Trigger
	at      int64
}

func (p *Proxy) accept(ctx context.Context) {
	for {
		nc, err := p.ln.Accept()
		if err != nil {
			return
		}
		client, ok := nc.(*net.TCPConn)
		if !ok {
			_ = nc.Close()
			continue
		}
		p.wg.Go(func() { p.serve(ctx, client) })
	}
}

// serve forwards one connection.
func (p *Proxy) serve(ctx context.Context, client *net.TCPConn) {
	var d net.Dialer
	up, err := d.DialContext(ctx, "tcp", p.target)
	p.mu.Lock()
	target, ok := up.(*net.TCPConn)
	if err != nil || !ok || p.refuse || p.closed {
		p.mu.Unlock()
		hardClose(client)
		if ok {
			hardClose(target)
		}
		return
	}
	c := p.join(client, target)
	p.mu.Unlock()
	for _, pi := range c.pipes {
		p.wg.Go(pi.read)
		p.wg.Go(pi.write)
	}
}

// join makes the two pipes; the lock is held.
func (p *Proxy) join(client, target *net.TCPConn) *conn {
	p.last++
	c := &conn{id: p.last, p: p, client: client, target: target}
	c.pipes[Up] = &pipe{c: c, d: Up, src: client, dst: target}
	c.pipes[Down] = &pipe{c: c, d: Down, src: target, dst: client}
	for _, t := range p.triggers {
		pi := c.pipes[t.Direction]
		pi.marks = append(pi.marks, mark{trigger: t, at: t.Bytes})
	}
	p.conns = append(p.conns, c)
	return c
}

// read takes bytes from the sender, also while they are held: a reset or an end
// must be seen.
func (pi *pipe) read() {
	buf := make([]byte, 32<<10)
	for {
		n, err := pi.src.Read(buf)
		pi.c.p.change(func() {
			if n > 0 {
				pi.taken += int64(n)
				pi.queue = append(pi.queue, chunk{data: slices.Clone(buf[:n]), at: time.Now()})
				pi.watch()
			}
			switch {
			case err == nil:
			case errors.Is(err, io.EOF):
				pi.eof = true
			default:
				pi.drop()
			}
		})
		if err != nil {
			return
		}
	}
}

// watch ends the connection of a sender whose bytes are held for too long.
func (pi *pipe) watch() {
	p := pi.c.p
	limit := p.rules[pi.d].userTimeout
	if !p.rules[pi.d].held || limit <= 0 {
		return
	}
	at := pi.queue[0].at
	time.AfterFunc(limit, func() {
		p.change(func() {
			if p.rules[pi.d].held && !pi.dead && len(pi.queue) > 0 && !pi.queue[0].at.After(at) {
				pi.drop()
				hardClose(pi.src)
			}
		})
	})
}

// drop throws away what is held; the lock is held.
func (pi *pipe) drop() {
	for _, ch := range pi.queue {
		pi.lost += int64(len(ch.data))
	}
	pi.queue, pi.dead = nil, true
}

// write delivers, when it may.
func (pi *pipe) write() {
	for {
		data, more := pi.next()
		if !more {
			return
		}
		if len(data) == 0 {
			continue
		}
		if _, err := pi.dst.Write(data); err != nil {
			pi.c.p.change(pi.c.reset)
		}
	}
}

// next waits for the bytes to be written next; false when there will be none.
func (pi *pipe) next() ([]byte, bool) {
	p := pi.c.p
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case pi.dead && !pi.blocked():
			return nil, pi.end(hardClose)
		case pi.blocked():
			p.changed.Wait()
		case len(pi.queue) > 0 && pi.due():
			return pi.take(), true
		case len(pi.queue) > 0 || !pi.eof:
			p.changed.Wait()
		default:
			return nil, pi.end(func(c *net.TCPConn) { _ = c.CloseWrite() })
		}
	}
}

// blocked says whether nothing gets through now; a reset does not either.
func (pi *pipe) blocked() bool {
	return !pi.c.p.closed && !pi.over && (pi.held || pi.c.p.rules[pi.d].held)
}

// due says whether the delay of the first chunk is over, and else has it looked
// at again in time.
func (pi *pipe) due() bool {
	wait := time.Until(pi.queue[0].at.Add(pi.c.p.rules[pi.d].delay))
	if wait <= 0 {
		return true
	}
	time.AfterFunc(wait, func() { pi.c.p.change(func() {}) })
	return false
}

// take removes what may be written: the first chunk, up to the next mark.
func (pi *pipe) take() []byte {
	data := pi.queue[0].data
	for i, m := range pi.marks {
		if m.trigger.fired >= m.trigger.Count || m.at-pi.forwarded >= int64(len(data)) {
			continue
		}
		if n := max(m.at-pi.forwarded, 0); n > 0 {
			data = data[:n]
			continue // a mark further on may be nearer
		}
		pi.marks = slices.Delete(pi.marks, i, i+1)
		pi.fire(m.trigger)
		return nil
	}
	if len(data) == len(pi.queue[0].data) {
		pi.queue = pi.queue[1:]
	} else {
		pi.queue[0].data = pi.queue[0].data[len(data):]
	}
	pi.forwarded += int64(len(data))
	return data
}

// fire does what the trigger says; the lock is held.
func (pi *pipe) fire(t *Trigger) {
	t.fired++
	if t.Action == HoldConn {
		pi.c.pipes[Up].held, pi.c.pipes[Down].held = true, true
		return
	}
	pi.c.reset()
}

// end ends the writer.
func (pi *pipe) end(how func(*net.TCPConn)) bool {
	pi.over = true
	how(pi.dst)
	other := pi.c.pipes[1-pi.d]
	if other.over {
		_ = pi.src.Close()
		_ = pi.dst.Close()
	}
	return false
}

// reset ends the connection on both sides at once; the lock is held.
func (c *conn) reset() {
	for _, pi := range c.pipes {
		pi.drop()
		pi.held = false
	}
	hardClose(c.client)
	hardClose(c.target)
	for _, pi := range c.pipes {
		pi.over = true
	}
	c.p.changed.Broadcast()
}

func (c *conn) done() bool { return c.pipes[Up].over && c.pipes[Down].over }

func (c *conn) info() Info {
	i := Info{ID: c.id, Client: c.client.RemoteAddr().String(), Upstream: c.target.LocalAddr().String(), Done: c.done()}
	for d, pi := range c.pipes {
		i.Taken[d], i.Passed[d], i.Lost[d] = pi.taken, pi.forwarded, pi.lost
		for _, ch := range pi.queue {
			i.Held[d] += int64(len(ch.data))
		}
	}
	return i
}

// hardClose sends a reset.
func hardClose(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}
