package tiktok

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"postbus.dev/services/connectors"
	"postbus.dev/services/connectors/internal/answer"
)

// The calls, as spans and errors name them.
const (
	callCode    = "token_code"
	callRefresh = "token_refresh"
	callRevoke  = "token_revoke"
	callUser    = "user_info"
	callCreator = "creator_info"
)

// form is a call of the OAuth endpoints: the client's credentials are in it.
func (c *Connector) form(name, path string, more url.Values) connectors.Request {
	more.Set("client_key", c.app.key)
	more.Set("client_secret", c.app.secret.Reveal())
	return connectors.Request{Name: name, Method: http.MethodPost, URL: c.base + path, Route: path, Form: more}
}

// apiError is an answer that is not the success that was asked for.
type apiError struct {
	Status int
	Name   string // TikTok's word for it; "" where it has none or cannot be read
	Header http.Header
	Call   connectors.Call
}

// envelope is what answers have in common. The OAuth endpoints have an error's
// name at "error", the others an object whose code is "ok" in a success; a
// front end may answer flat.
type envelope struct {
	Data  json.RawMessage `json:"data"`
	Error fault           `json:"error"`
	Code  answer.ID       `json:"code"`
	LogID string          `json:"log_id"`
}

// fault is an error in both forms.
type fault struct {
	Code  answer.ID `json:"code"`
	LogID string    `json:"log_id"`
}

// UnmarshalJSON reads a name or an object.
func (f *fault) UnmarshalJSON(b []byte) error {
	if err := json.Unmarshal(b, (*string)(&f.Code)); err == nil {
		return nil
	}
	type object fault
	return json.Unmarshal(b, (*object)(f))
}

// read reads an answer into out and tells the call its request id. A name counts
// more than the status: errors come with 200, too.
func read(resp *connectors.Response, out any) *apiError {
	resp.Call.RequestID = resp.Header.Get("X-Tt-Logid")
	failure := &apiError{Status: resp.Status, Header: resp.Header}
	defer func() { failure.Call = resp.Call }()
	var body envelope
	if trimmed := bytes.TrimSpace(resp.Body); len(trimmed) == 0 || trimmed[0] != '{' || json.Unmarshal(trimmed, &body) != nil {
		return failure
	}
	if id := body.Error.LogID + body.LogID; resp.Call.RequestID == "" {
		resp.Call.RequestID = id
	}
	name := string(body.Error.Code)
	if name == "" {
		name = string(body.Code)
	}
	if name != "" && name != "ok" {
		failure.Name = word(name)
		return failure
	}
	if resp.Status/100 != 2 || json.Unmarshal(body.content(resp.Body), out) != nil {
		return failure
	}
	return nil
}

// content is what a success says: by itself, as TikTok's pages have it now, or
// in "data".
func (e envelope) content(whole []byte) []byte {
	if trimmed := bytes.TrimSpace(e.Data); len(trimmed) > 2 && trimmed[0] == '{' {
		return trimmed
	}
	return whole
}

// word is a name if it looks like one of TikTok's: what an answer repeats of a
// request is not passed on.
func word(name string) string {
	odd := func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' }
	if len(name) > 64 || strings.ContainsFunc(name, odd) {
		return "an_error_that_is_no_word"
	}
	return name
}

func (e *apiError) providerCode() string {
	if e.Name == "" {
		return fmt.Sprintf("HTTP %d", e.Status)
	}
	return e.Name
}
