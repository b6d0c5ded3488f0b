package instagram

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"postbus.dev/services/connectors"
)

// The calls, as spans, the attempt log and errors name them.
const (
	callCreate    = "media"
	callContainer = "container"
	callPublish   = "media_publish"
	callMedia     = "media_read"
	callList      = "media_list"
	callStories   = "stories_list"
	callQuota     = "content_publishing_limit"
	callCode      = "token_code"
	callExchange  = "token_exchange"
	callMe        = "me"
	callRevoke    = "permissions_delete"
	callRefresh   = "token_refresh"
)

// request is one call of the API. The token travels in a header: a query ends
// up in the logs of whoever stands between.
func (c *Connector) request(a connectors.Account, name, method, route string, segments ...string) connectors.Request {
	path := c.base
	for _, s := range segments {
		path += "/" + url.PathEscape(s)
	}
	return connectors.Request{Name: name, Method: method, URL: path, Route: "/{version}" + route, Token: a.AccessToken}
}

func (c *Connector) get(ctx context.Context, r connectors.Request, fields string, out any) (connectors.Call, *apiError, error) {
	if r.Query == nil {
		r.Query = url.Values{}
	}
	r.Query.Set("fields", fields)
	return c.do(ctx, r, out)
}

// do makes a repeatable call and reads its answer into out. An answer that is
// no success is an *apiError; an error is the client's, of KindRetry.
func (c *Connector) do(ctx context.Context, r connectors.Request, out any) (connectors.Call, *apiError, error) {
	resp, err := c.client.Do(ctx, r)
	if err != nil {
		return connectors.AsError(err).Call, nil, err
	}
	failure := read(resp, out)
	return resp.Call, failure, nil
}

// apiError is an answer that is not the success that was asked for.
type apiError struct {
	Status     int
	Code       int
	Subcode    int
	Transient  bool
	Message    string // Meta's text
	Unreadable bool   // neither a success nor Meta's error envelope
	OAuth      bool   // the envelope of the code endpoint; Code is the HTTP status there
	Header     http.Header
	Call       connectors.Call
}

// read reads an answer into out and tells the call its request id.
func read(resp *connectors.Response, out any) *apiError {
	resp.Call.RequestID = firstOf(resp.Header, "X-Fb-Request-Id", "X-Fb-Trace-Id")
	failure := &apiError{Status: resp.Status, Header: resp.Header}
	defer func() { failure.Call = resp.Call }()
	var body struct {
		Error *struct {
			Code    json.Number `json:"code"`
			Subcode json.Number `json:"error_subcode"`
			Trace   string      `json:"fbtrace_id"`
			Message string      `json:"message"`
			// A pointer, since null is seen.
			Transient *bool `json:"is_transient"`
		} `json:"error"`
	}
	if json.Unmarshal(resp.Body, &body) != nil {
		failure.Unreadable = true
		return failure
	}
	if e := body.Error; e != nil {
		failure.Code, failure.Subcode = number(e.Code), number(e.Subcode)
		failure.Transient = e.Transient != nil && *e.Transient
		failure.Message = e.Message
		if resp.Call.RequestID == "" {
			resp.Call.RequestID = e.Trace
		}
		return failure
	}
	if resp.Status/100 != 2 || unmarshal(resp.Body, out) != nil {
		failure.Unreadable = true
		return failure
	}
	return nil
}

// unmarshal reads an object that stands by itself or as the only item of
// "data": Meta's pages and its servers do not agree on which.
func unmarshal(body []byte, out any) error {
	if _, isList := out.(*mediaPage); !isList {
		var wrapped struct {
			Data []json.RawMessage `json:"data"`
		}
		if json.Unmarshal(body, &wrapped) == nil && len(wrapped.Data) == 1 {
			body = wrapped.Data[0]
		}
	}
	if trimmed := bytes.TrimSpace(body); len(trimmed) == 0 || trimmed[0] != '{' {
		return errNotObject
	}
	return json.Unmarshal(body, out)
}

func number(n json.Number) int {
	i, err := n.Int64()
	if err != nil {
		return 0
	}
	return int(i)
}

func firstOf(h http.Header, names ...string) string {
	for _, name := range names {
		if v := h.Get(name); v != "" {
			return v
		}
	}
	return ""
}
