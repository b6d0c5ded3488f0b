package connectors

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

func newReader(b []byte) *bufio.Reader { return bufio.NewReader(bytes.NewReader(b)) }

func newConnReader(c net.Conn) *bufio.Reader { return bufio.NewReader(c) }

// testCA returns a server certificate for 127.0.0.1 and the pool that trusts it.
func testCA(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return s.TLS.Certificates[0], pool
}

// meter counts the raw bytes that arrive, below TLS.
type meter struct {
	net.Listener
	n atomic.Int64
}

func (m *meter) Accept() (net.Conn, error) {
	c, err := m.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &meteredConn{c, m}, nil
}

type meteredConn struct {
	net.Conn
	m *meter
}

func (c *meteredConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.m.n.Add(int64(n))
	return n, err
}

func listenTLS(t *testing.T, serve func(p *peer, c net.Conn), protos ...string) (*peer, *meter, *x509.CertPool) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cert, pool := testCA(t)
	m := &meter{Listener: l}
	p := serveOn(t, tls.NewListener(m, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: protos}), serve)
	return p, m, pool
}

func tlsRequest(p *peer) Request {
	r := commitRequest(p)
	r.URL = "https" + r.URL[len("http"):]
	return r
}

func TestCommitOverTLSSpeaksHTTP11(t *testing.T) {
	t.Parallel()
	var proto atomic.Value
	p, _, pool := listenTLS(t, func(p *peer, c net.Conn) {
		p.read(c, requestSeen)
		proto.Store(c.(*tls.Conn).ConnectionState().NegotiatedProtocol)
		respond(c, okAnswer)
	}, "h2", "http/1.1")
	resp, err := testClient(t, ClientConfig{RootCAs: pool}).Commit(armFor(5*time.Second), tlsRequest(p))
	if err != nil || resp.Status != 200 {
		t.Fatal(resp, err)
	}
	if proto.Load() != "http/1.1" {
		t.Errorf("negotiated %v", proto.Load())
	}
}

func TestCommitOverTLSRefusesAnUntrustedPeerBeforeArming(t *testing.T) {
	t.Parallel()
	p, _, _ := listenTLS(t, func(p *peer, c net.Conn) { p.read(c, never) })
	ctx := WithArm(context.Background(), func(context.Context) (Window, error) {
		t.Error("armed")
		return Window{}, nil
	})
	_, err := testClient(t, ClientConfig{RootCAs: x509.NewCertPool()}).Commit(ctx, tlsRequest(p))
	wantKind(t, err, KindRetry, true)
}

func TestCommitOverTLSWritesNoRecordAfterSendBy(t *testing.T) {
	t.Parallel()
	shaken, over := make(chan struct{}), make(chan struct{})
	p, m, pool := listenTLS(t, func(p *peer, c net.Conn) {
		_ = c.(*tls.Conn).Handshake()
		close(shaken)
		_, _ = io.Copy(io.Discard, c)
		close(over)
	})
	var before int64
	ctx := WithArm(context.Background(), func(context.Context) (Window, error) {
		<-shaken
		before = m.n.Load()
		return Window{SendBy: time.Now(), UserTimeout: time.Second}, nil
	})
	_, err := testClient(t, ClientConfig{RootCAs: pool}).Commit(ctx, tlsRequest(p))
	wantKind(t, err, KindRetry, true)
	<-over
	// Not even the alert that usually closes a TLS connection.
	if after := m.n.Load(); after != before {
		t.Errorf("%d bytes arrived after the window had closed", after-before)
	}
}

func TestCommitOverTLSAnswerThatOnlyEndsWithTheConnectionIsUnknown(t *testing.T) {
	t.Parallel()
	p, _, pool := listenTLS(t, func(p *peer, c net.Conn) {
		p.read(c, requestSeen)
		respond(c, "HTTP/1.1 200 OK\r\n\r\n"+`{"id":"1"}`)
		_ = c.(*tls.Conn).NetConn().Close()
	})
	_, err := testClient(t, ClientConfig{RootCAs: pool}).Commit(armFor(5*time.Second), tlsRequest(p))
	wantKind(t, err, KindUnknown, false)
}
