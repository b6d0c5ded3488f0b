package reddit

import (
	"bytes"
	"encoding/base64"
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
	callMe      = "me"
)

// form is a call of the OAuth endpoints, which know us by basic authentication.
func (c *Connector) form(name, path string, form url.Values) connectors.Request {
	basic := base64.StdEncoding.EncodeToString([]byte(c.app.id + ":" + c.app.secret.Reveal()))
	return connectors.Request{
		Name: name, Method: http.MethodPost, URL: c.oauth + path, Route: path, Form: form,
		Header: http.Header{"Authorization": {"Basic " + basic}, "User-Agent": {c.userAgent}},
	}
}

// apiError is an answer that is not the success that was asked for.
type apiError struct {
	Status int
	Name   string // Reddit's word for it; "" where it has none or cannot be read
	Number int    // its error as a number, which is the status once more; 0 where there is none
	Header http.Header
	Call   connectors.Call
}

// read reads an answer into out. A success is an object without an error: what a
// front end says is HTML, and errors of the token endpoint come with 200 too.
func read(resp *connectors.Response, out any) *apiError {
	failure := &apiError{Status: resp.Status, Header: resp.Header, Call: resp.Call}
	var body struct {
		Error json.RawMessage `json:"error"`
	}
	if trimmed := bytes.TrimSpace(resp.Body); len(trimmed) == 0 || trimmed[0] != '{' || json.Unmarshal(trimmed, &body) != nil {
		return failure
	}
	if told := string(body.Error); told != "" && told != "null" {
		if json.Unmarshal(body.Error, &failure.Number) != nil {
			failure.Name = word(body.Error)
		}
		return failure
	}
	if resp.Status/100 != 2 || json.Unmarshal(resp.Body, out) != nil {
		return failure
	}
	return nil
}

// word is a name if it looks like one: what an answer repeats of a request is
// not passed on.
func word(raw json.RawMessage) string {
	var name answer.ID
	odd := func(r rune) bool { return (r < 'a' || r > 'z') && r != '_' }
	if json.Unmarshal(raw, &name) != nil || name == "" || len(name) > 64 || strings.ContainsFunc(string(name), odd) {
		return "an_error_that_is_no_word"
	}
	return string(name)
}

func (e *apiError) providerCode() string {
	if e.Name == "" {
		return fmt.Sprintf("HTTP %d", e.Status)
	}
	return e.Name
}
