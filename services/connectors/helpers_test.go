package connectors

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

const testToken = "token-that-nobody-may-see"

// peer is a raw TCP server: serve handles each connection by itself, on the
// plain bytes.
type peer struct {
	addr string
	mu   sync.Mutex
	got  []byte
	wg   sync.WaitGroup
}

func listen(t *testing.T, serve func(p *peer, c net.Conn)) *peer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, l, serve)
}

func serveOn(t *testing.T, l net.Listener, serve func(p *peer, c net.Conn)) *peer {
	t.Helper()
	p := &peer{addr: l.Addr().String()}
	p.wg.Add(1)
	go func() {
		defer p.wg.Done()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.wg.Add(1)
			go func() {
				defer p.wg.Done()
				defer c.Close()
				serve(p, c)
			}()
		}
	}()
	t.Cleanup(func() { l.Close(); p.wg.Wait() })
	return p
}

// read records what comes until the peer's condition holds or the connection
// ends.
func (p *peer) read(c net.Conn, until func(got []byte) bool) {
	buf := make([]byte, 4096)
	for {
		n, err := c.Read(buf)
		p.mu.Lock()
		p.got = append(p.got, buf[:n]...)
		done := err != nil || until(p.got)
		p.mu.Unlock()
		if done {
			return
		}
	}
}

func (p *peer) bytes() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]byte(nil), p.got...)
}

// request is complete when its one-line body has arrived.
func requestSeen(got []byte) bool { return bytes.HasSuffix(got, []byte(testBody)) }

func never([]byte) bool { return false }

const testBody = "creation_id=17889455560051444"

func commitRequest(p *peer) Request {
	return Request{
		Name: "media_publish", Method: "POST", URL: "http://" + p.addr + "/v25.0/17840001/media_publish",
		Route: "/{version}/{user}/media_publish", Token: NewSecret(testToken),
		Body: []byte(testBody), Header: map[string][]string{"Content-Type": {"application/x-www-form-urlencoded"}},
	}
}

func testClient(t *testing.T, cfg ClientConfig) *Client {
	t.Helper()
	c := NewClient(cfg)
	t.Cleanup(c.Close)
	return c
}

// armFor returns a context whose hook opens a window of d.
func armFor(d time.Duration) context.Context {
	return WithArm(context.Background(), func(context.Context) (Window, error) {
		return Window{SendBy: time.Now().Add(d), UserTimeout: time.Second}, nil
	})
}

func wantKind(t *testing.T, err error, kind Kind, notSent bool) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want an *Error", err)
	}
	if e.Kind != kind || e.NotSent != notSent {
		t.Fatalf("got %v (not sent: %v), want %v (not sent: %v)", e, e.NotSent, kind, notSent)
	}
	return e
}

func respond(c net.Conn, s string) { _, _ = io.WriteString(c, s) }
