package connectors

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// ClientConfig configures a Client. The zero value works.
type ClientConfig struct {
	TracerProvider trace.TracerProvider // default: no spans
	Logger         *slog.Logger         // one debug line per call; default: discarded
	UserAgent      string               // default "postbus"
	Timeout        time.Duration        // of a Do, from dial to the last byte; default 30 s
	DialTimeout    time.Duration        // TCP and TLS, each call; default 10 s
	RootCAs        *x509.CertPool       // default: the system's, which SSL_CERT_FILE replaces
}

// Client makes the HTTP calls of all connectors. Neither of its two ways to
// call follows a redirect, goes through a proxy or tells a provider our trace
// context, and neither ever shows a query, a header or a body in a span, a log
// line or an error.
//
// It is safe for concurrent use.
type Client struct {
	http        *http.Client
	tracer      trace.Tracer
	log         *slog.Logger
	userAgent   string
	timeout     time.Duration
	dialTimeout time.Duration
	roots       *x509.CertPool
}

// NewClient returns a Client; Close it when it is no longer used.
func NewClient(cfg ClientConfig) *Client {
	if cfg.TracerProvider == nil {
		cfg.TracerProvider = noop.NewTracerProvider()
	}
	c := &Client{
		tracer:      cfg.TracerProvider.Tracer("postbus.dev/services/connectors"),
		log:         cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler)),
		userAgent:   cmp.Or(cfg.UserAgent, "postbus"),
		timeout:     cmp.Or(cfg.Timeout, 30*time.Second),
		dialTimeout: cmp.Or(cfg.DialTimeout, 10*time.Second),
		roots:       cfg.RootCAs,
	}
	c.http = &http.Client{Transport: c.transport(), CheckRedirect: refuseRedirect}
	return c
}

// Close closes the idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// transport serves Do. It has no proxy because Commit cannot have one: a
// machine on which only one of the two reaches the provider would prepare posts
// that it can never publish.
func (c *Client) transport() *http.Transport {
	return &http.Transport{
		DialContext:            (&net.Dialer{Timeout: c.dialTimeout}).DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: c.roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    c.dialTimeout,
		ForceAttemptHTTP2:      true,
		MaxIdleConnsPerHost:    64,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: maxHeader,
	}
}

// refuseRedirect hands the 3xx answer to the connector: following it could
// carry a token to another host.
func refuseRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Do makes a repeatable call and returns the provider's answer, whatever its
// status. It never retries. Go's transport sends a request without a body once
// more when a reused connection turns out to be dead, which a repeatable GET
// may suffer; a request with a body is never replayed.
//
// Every error is an *Error of KindRetry.
func (c *Client) Do(ctx context.Context, r Request) (*Response, error) {
	start := time.Now()
	ctx, span := c.startSpan(ctx, r)
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	resp, err := c.do(ctx, r)
	if err != nil {
		err = &Error{Kind: KindRetry, Code: codeOf(err), Err: opaque(err)}
	}
	return c.finish(ctx, span, r, start, resp, err)
}

func (c *Client) do(ctx context.Context, r Request) (*Response, error) {
	req, err := c.build(ctx, r)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := readBody(resp.Body)
	if err != nil {
		return nil, err
	}
	return &Response{Status: resp.StatusCode, Header: resp.Header, Body: body}, nil
}

// finish ends the span and tells answer and error which call they belong to.
func (c *Client) finish(ctx context.Context, span trace.Span, r Request, start time.Time, resp *Response, err error) (*Response, error) {
	call := Call{Name: r.Name, Duration: time.Since(start)}
	if resp != nil {
		call.Status = resp.Status
		resp.Call = call
	}
	var (
		e    *Error
		hook *hookError
	)
	switch {
	case errors.As(err, &e):
		e.Call = call
	case errors.As(err, &hook):
		err = hook.error
	}
	endSpan(span, call.Status, err)
	c.log.DebugContext(ctx, "provider call", "call", r.Name, "method", r.Method, "status", call.Status,
		"duration", call.Duration, "error", err)
	return resp, err
}
