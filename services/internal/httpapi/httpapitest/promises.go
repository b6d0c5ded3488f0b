// Package httpapitest holds what a service answers to what its OpenAPI document
// says.
package httpapitest

import (
	"encoding/json"
	"mime"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Promises are the operations of a document by their methods.
type Promises map[string][]promise

// promise is what the document says of an operation.
type promise struct {
	path      *regexp.Regexp
	responses map[string]response
}

type response struct {
	Headers map[string]struct{ Required bool }
	Content map[string]any
}

// Read reads a document.
func Read(t testing.TB, document []byte) Promises {
	t.Helper()
	var doc struct {
		Paths map[string]map[string]struct{ Responses map[string]response }
	}
	if err := json.Unmarshal(document, &doc); err != nil {
		t.Fatal(err)
	}
	out := Promises{}
	for path, methods := range doc.Paths {
		pattern := regexp.MustCompile("^" + regexp.MustCompile(`\{[a-z]+\}`).ReplaceAllString(path, "[^/]*") + "$")
		for method, op := range methods {
			m := strings.ToUpper(method)
			out[m] = append(out[m], promise{pattern, op.Responses})
		}
	}
	return out
}

// Check holds an answer to what the document says of its operation: the status
// stands there, and so does the media type, and every header field that it must
// have is there.
func (p Promises) Check(t testing.TB, r *http.Request, status int, header http.Header) {
	t.Helper()
	fit := p.fit(r)
	if fit == nil {
		return // no operation: the mux has refused it
	}
	told, ok := fit.responses[strconv.Itoa(status)]
	if !ok {
		t.Errorf("%s %s: %d is not documented", r.Method, r.URL.Path, status)
		return
	}
	for name, h := range told.Headers {
		if h.Required && header.Get(name) == "" {
			t.Errorf("%s %s: %d lacks %s", r.Method, r.URL.Path, status, name)
		}
	}
	media, _, _ := mime.ParseMediaType(header.Get("Content-Type"))
	if _, ok := told.Content[media]; !ok && (media != "" || len(told.Content) > 0) {
		t.Errorf("%s %s: %d is %q, which is not documented", r.Method, r.URL.Path, status, media)
	}
}

// fit finds the operation. A path without a parameter fits better: /import is no
// {id}.
func (p Promises) fit(r *http.Request) *promise {
	var fit *promise
	for _, one := range p[r.Method] {
		if one.path.MatchString(r.URL.EscapedPath()) && (fit == nil || !strings.Contains(one.path.String(), "[^/]*")) {
			fit = &one
		}
	}
	return fit
}
