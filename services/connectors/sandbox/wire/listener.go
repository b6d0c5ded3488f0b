package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"
)

// Listener returns a listener that writes every connection of l into the log.
// With cfg it speaks TLS; the connections then look plain to an http.Server,
// which serves them with HTTP/1.1.
func (l *Log) Listener(inner net.Listener, cfg *tls.Config) net.Listener {
	return &listener{Listener: inner, log: l, cfg: cfg}
}

type listener struct {
	net.Listener
	log *Log
	cfg *tls.Config
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	rec := l.log.open(c.RemoteAddr().String(), l.cfg != nil)
	raw := &rawConn{Conn: c, rec: rec}
	if l.cfg == nil {
		return &appConn{Conn: raw, rec: rec}, nil
	}
	return &appConn{Conn: tls.Server(raw, l.cfg), rec: rec}, nil
}

// rawConn counts what comes from the network.
type rawConn struct {
	net.Conn
	rec *record
}

// NetConn returns the connection below.
func (c *rawConn) NetConn() net.Conn { return c.Conn }

func (c *rawConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	now := time.Now()
	c.rec.update(func(r *Conn) {
		count(n, now, &r.RawBytes, &r.FirstRaw, &r.LastRaw, &r.Raw)
		if err != nil && r.Closed.IsZero() && !isTimeout(err) {
			r.Closed, r.Ending = now, err.Error()
		}
	})
	return n, err
}

func (c *rawConn) Close() error {
	now := time.Now()
	c.rec.update(func(r *Conn) {
		if r.Closed.IsZero() {
			r.Closed = now
		}
	})
	return c.Conn.Close()
}

// appConn counts what the application gets: the bytes of requests.
type appConn struct {
	net.Conn // *tls.Conn or *rawConn
	rec      *record
}

// NetConn returns the connection below.
func (c *appConn) NetConn() net.Conn { return c.Conn }

// ID is the number of the connection in the log.
func (c *appConn) ID() int64 { return c.rec.ID }

func (c *appConn) Read(p []byte) (int, error) {
	if t, ok := c.Conn.(*tls.Conn); ok {
		if err := c.handshake(t); err != nil {
			return 0, err
		}
	}
	n, err := c.Conn.Read(p)
	now := time.Now()
	c.rec.update(func(r *Conn) { count(n, now, &r.AppBytes, &r.FirstApp, &r.LastApp, &r.App) })
	return n, err
}

func (c *appConn) handshake(t *tls.Conn) error {
	if t.ConnectionState().HandshakeComplete {
		return nil
	}
	if err := t.HandshakeContext(context.Background()); err != nil {
		return err
	}
	now := time.Now()
	c.rec.update(func(r *Conn) { r.Handshaken = now })
	return nil
}

func (c *appConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.rec.update(func(r *Conn) { r.SentBytes += int64(n) })
	return n, err
}

func count(n int, now time.Time, total *int64, first, last *time.Time, chunks *[]Chunk) {
	if n == 0 {
		return
	}
	*total += int64(n)
	if first.IsZero() {
		*first = now
	}
	*last = now
	if len(*chunks) < keepChunks {
		*chunks = append(*chunks, Chunk{Time: now, N: n})
	}
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// ID returns the number of a connection that came from a Listener, or 0.
func ID(c net.Conn) int64 {
	if app, ok := c.(*appConn); ok {
		return app.ID()
	}
	return 0
}
