package api

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"postbus.dev/services/internal/httpapi"
)

// promise is what the document says of an operation.
type promise struct {
	path      *regexp.Regexp
	responses map[string]struct {
		Headers map[string]struct{ Required bool }
	}
}

// promises are the operations of the document by their methods.
type promises map[string][]promise

func readPromises(t *testing.T, h *httpapi.API) promises {
	t.Helper()
	raw, err := h.Document()
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Paths map[string]map[string]struct {
			Responses map[string]struct {
				Headers map[string]struct{ Required bool }
			}
		}
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	out := promises{}
	for path, methods := range doc.Paths {
		pattern := regexp.MustCompile("^" + regexp.MustCompile(`\{[a-z]+\}`).ReplaceAllString(path, "[^/]*") + "$")
		for method, op := range methods {
			m := strings.ToUpper(method)
			out[m] = append(out[m], promise{pattern, op.Responses})
		}
	}
	return out
}

// check holds an answer to what the document says of its operation: the status
// stands there, and every header field that it must have is there.
func (p promises) check(t testing.TB, r *http.Request, status int, header http.Header) {
	t.Helper()
	var fit *promise
	for _, one := range p[r.Method] {
		// The path without a parameter fits better: /import is no {id}.
		if one.path.MatchString(r.URL.EscapedPath()) && (fit == nil || !strings.Contains(one.path.String(), "[^/]*")) {
			fit = &one
		}
	}
	if fit == nil {
		return // no operation: the mux has refused it
	}
	told, ok := fit.responses[strconv.Itoa(status)]
	if !ok {
		t.Errorf("%s %s: %d is not documented", r.Method, r.URL.Path, status)
	}
	for name, h := range told.Headers {
		if h.Required && header.Get(name) == "" {
			t.Errorf("%s %s: %d lacks %s", r.Method, r.URL.Path, status, name)
		}
	}
}
