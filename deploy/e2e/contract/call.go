package contract

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"strings"
)

// Call is a call of an operation that is to be made.
type Call struct {
	Operation *Operation
	Path      map[string]string // its parameters, unescaped
	Query     url.Values
	Header    http.Header
	Key       string // "": none
	Body      string
}

// With returns a copy that change has been applied to.
func (c Call) With(change func(*Call)) Call {
	c.Path, c.Query, c.Header = maps.Clone(c.Path), maps.Clone(c.Query), c.Header.Clone()
	if c.Path == nil {
		c.Path = map[string]string{}
	}
	if c.Query == nil {
		c.Query = url.Values{}
	}
	if c.Header == nil {
		c.Header = http.Header{}
	}
	change(&c)
	return c
}

// Request is the call as it is sent to an API at base. A body is JSON unless a
// header field says otherwise.
func (c Call) Request(ctx context.Context, base string) (*http.Request, error) {
	path := c.Operation.Path
	for name, value := range c.Path {
		path = strings.ReplaceAll(path, "{"+name+"}", url.PathEscape(value))
	}
	if len(c.Query) > 0 {
		path += "?" + c.Query.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, c.Operation.Method, base+path, strings.NewReader(c.Body))
	if err != nil {
		return nil, err
	}
	if c.Body != "" || c.Operation.Body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.Key != "" {
		r.Header.Set("Authorization", "Bearer "+c.Key)
	}
	maps.Copy(r.Header, c.Header)
	return r, nil
}
