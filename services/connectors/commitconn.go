package connectors

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"
)

const (
	maxHeader = 64 << 10
	max1xx    = 5
)

var (
	errWindow       = errors.New("arm hook gave no send window")
	errWindowClosed = errors.New("send window closed")
	errPeerClosed   = errors.New("provider closed the connection before the request")
	errNoEnd        = errors.New("answer without a marked end")
	errTooMany1xx   = errors.New("too many 1xx answers")
	errALPN         = errors.New("provider insists on another protocol than HTTP/1.1")
)

// commitConn is the connection of one Commit: guard is the TCP connection,
// stream is what HTTP is spoken on, the same or TLS over it.
type commitConn struct {
	guard  *guard
	stream net.Conn
}

// dialCommit connects and, for https, completes the handshake.
func (c *Client) dialCommit(ctx context.Context, r Request) (*commitConn, error) {
	u, err := parseURL(r)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.dialTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), strconv.Itoa(port(u))))
	if err != nil {
		return nil, err
	}
	g := &guard{Conn: conn, tcp: conn.(*net.TCPConn)}
	// What the kernel still holds when this process dies is thrown away.
	if err := g.tcp.SetLinger(0); err != nil {
		_ = conn.Close()
		return nil, err
	}
	cc := &commitConn{guard: g, stream: g}
	if u.Scheme == "https" {
		if err := cc.handshake(ctx, c.tlsConfig(u)); err != nil {
			_ = conn.Close()
			return nil, err
		}
	}
	return cc, nil
}

func (c *Client) tlsConfig(u *url.URL) *tls.Config {
	return &tls.Config{
		ServerName: u.Hostname(), RootCAs: c.roots, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
		// One record, one write for the whole request.
		DynamicRecordSizingDisabled: true,
	}
}

func (c *commitConn) handshake(ctx context.Context, cfg *tls.Config) error {
	conn := tls.Client(c.guard, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	if p := conn.ConnectionState().NegotiatedProtocol; p != "" && p != "http/1.1" {
		return errALPN
	}
	c.stream = conn
	return nil
}

// open starts the window: from here on the guard counts and refuses.
func (c *commitConn) open(w Window) error {
	if w.SendBy.IsZero() || w.UserTimeout <= 0 {
		return errWindow
	}
	if w.AnswerBy.IsZero() {
		w.AnswerBy = w.SendBy.Add(w.UserTimeout)
	}
	if err := setUserTimeout(c.guard.tcp, w.UserTimeout); err != nil {
		return err
	}
	if peerClosed(c.guard.tcp) {
		return errPeerClosed
	}
	if err := c.guard.SetReadDeadline(w.AnswerBy); err != nil {
		return err
	}
	return c.guard.open(w.SendBy)
}

func (c *commitConn) send(ctx context.Context, raw []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	_, err := c.stream.Write(raw)
	if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil {
		return errWindowClosed
	}
	return err
}

// sent is how many bytes left this process since open, TLS records included.
func (c *commitConn) sent() int64 { return c.guard.sent }

// answer reads one complete answer and skips 1xx ones before it.
func (c *commitConn) answer(method string) (*Response, error) {
	r := bufio.NewReader(io.LimitReader(c.stream, maxHeader+2*MaxResponse))
	for range max1xx + 1 {
		resp, err := http.ReadResponse(r, &http.Request{Method: method}) //nolint:bodyclose // whole closes it
		if err != nil {
			return nil, err
		}
		if resp.StatusCode >= 200 {
			return c.whole(resp)
		}
	}
	return nil, errTooMany1xx
}

func (c *commitConn) whole(resp *http.Response) (*Response, error) {
	defer func() { _ = resp.Body.Close() }()
	// A body that ends with the connection may have been cut. TLS does not tell
	// either: crypto/tls takes an end without the closing alert for an end.
	if resp.ContentLength < 0 && len(resp.TransferEncoding) == 0 {
		return nil, errNoEnd
	}
	body, err := readBody(resp.Body)
	if err != nil {
		return nil, err
	}
	// Nothing is left to throw away: end the connection without a reset.
	_ = c.guard.tcp.SetLinger(-1)
	return &Response{Status: resp.StatusCode, Header: resp.Header, Body: body}, nil
}

// abort makes every pending read and write fail.
func (c *commitConn) abort() { _ = c.guard.tcp.SetDeadline(time.Unix(1, 0)) }

// Close closes TCP below TLS: a closing alert would be a write.
func (c *commitConn) Close() { _ = c.guard.Close() }
