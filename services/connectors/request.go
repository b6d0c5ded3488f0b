package connectors

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// MaxResponse is the largest body, in bytes, that Client reads.
const MaxResponse = 1 << 20

// Request is one call to a provider.
type Request struct {
	Name   string      // the connector's own short name of it, such as "media_publish"
	Method string      // GET, POST, ...
	URL    string      // absolute http or https, without credentials
	Route  string      // URL's path with its variable parts named, such as "/{version}/{user}/media"; for spans
	Query  url.Values  // added to URL's own
	Header http.Header // added to the client's own
	Token  Secret      // sent as "Authorization: Bearer"; nothing is sent when it is empty
	Form   url.Values  // the body, as application/x-www-form-urlencoded
	Body   []byte      // the body as it is, when Form is nil; Header tells its Content-Type
}

// Response is a provider's whole answer, whatever its status.
type Response struct {
	Status int
	Header http.Header
	Body   []byte // at most MaxResponse bytes
	Call   Call   // RequestID is the connector's to fill in
}

var (
	errBadURL   = errors.New("not an absolute http or https URL without credentials")
	errTooLarge = errors.New("answer larger than 1 MiB")
)

// build makes the HTTP request. Its errors never quote the URL: a query may
// hold a token.
func (c *Client) build(ctx context.Context, r Request) (*http.Request, error) {
	u, err := parseURL(r)
	if err != nil {
		return nil, err
	}
	req := (&http.Request{
		Method: r.Method, URL: u, Host: u.Host, Header: c.header(r),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(ctx)
	if body := r.body(); len(body) > 0 {
		// Without GetBody Go's transport cannot replay a request whose
		// connection broke after a part of it was written.
		req.Body = io.NopCloser(bytes.NewReader(body))
		req.ContentLength = int64(len(body))
	}
	return req, nil
}

// IsHTTPURL says whether Request.URL can be raw, or begin with it.
func IsHTTPURL(raw string) bool {
	u, err := url.Parse(raw)
	return err == nil && u.Host != "" && u.User == nil && (u.Scheme == "http" || u.Scheme == "https")
}

// WithQuery adds parameters to those of an address, and takes their place where
// they have the same name.
func WithQuery(raw string, q url.Values) (string, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return "", errBadURL
	}
	addQuery(u, q)
	return u.String(), nil
}

func addQuery(u *url.URL, more url.Values) {
	if len(more) == 0 {
		return
	}
	q := u.Query()
	for k, v := range more {
		q[k] = v
	}
	u.RawQuery = q.Encode()
}

func parseURL(r Request) (*url.URL, error) {
	u, err := url.Parse(r.URL)
	if err != nil || !IsHTTPURL(r.URL) {
		return nil, errBadURL
	}
	addQuery(u, r.Query)
	u.Fragment, u.RawFragment = "", ""
	return u, nil
}

func (r Request) body() []byte {
	if r.Form != nil {
		return []byte(r.Form.Encode())
	}
	return r.Body
}

func (c *Client) header(r Request) http.Header {
	h := http.Header{"User-Agent": {c.userAgent}, "Accept": {"application/json"}}
	for k, v := range r.Header {
		h[http.CanonicalHeaderKey(k)] = v
	}
	if r.Form != nil {
		h.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if token := r.Token.Reveal(); token != "" {
		h.Set("Authorization", "Bearer "+token)
	}
	return h
}

// route is what a span may say of the URL: the template, never the path itself.
func (r Request) route() string {
	if r.Route != "" {
		return r.Route
	}
	return "/" + strings.TrimPrefix(r.Name, "/")
}

func readBody(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxResponse+1))
	if err == nil && len(b) > MaxResponse {
		err = errTooLarge
	}
	return b, err
}
