package httpapi

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
)

const form = "application/x-www-form-urlencoded"

// page answers with who called and what the body is.
func page(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = io.WriteString(w, "<p>"+CallerOf(r.Context()).ExternalID+" "+string(body))
}

func withPage(t *testing.T, security []map[string][]string) bundle {
	t.Helper()
	b := setup(t, nil)
	Handle(b.api, huma.Operation{
		OperationID: "post-page", Method: http.MethodPost, Path: "/page/{id}", Security: security,
		RequestBody: &huma.RequestBody{Content: map[string]*huma.MediaType{form: {}}},
		Responses: map[string]*huma.Response{
			"303": {Description: "Elsewhere"},
			"400": {Description: "A page", Content: map[string]*huma.MediaType{"text/html": {}}},
		},
	}, []Code{CodeConflict}, page)
	return b
}

func (b bundle) page(key, contentType, body string) *httptest.ResponseRecorder {
	r := request(http.MethodPost, "/page/1", body)
	r.Header.Set("Content-Type", contentType)
	r.Header.Del("Authorization")
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	rec := httptest.NewRecorder()
	b.api.ServeHTTP(rec, r)
	return rec
}

func TestAPageIsWrittenByItsHandlerWithinTheChain(t *testing.T) {
	t.Parallel()
	rec := withPage(t, Public()).page("", form, "a=1")
	if rec.Code != 200 || rec.Body.String() != "<p> a=1" || rec.Header().Get("X-Request-Id") == "" {
		t.Errorf("answered %d %v %s", rec.Code, rec.Header(), rec.Body)
	}
}

func TestAPageAsksForAKeyUnlessItIsPublicOrOptional(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, key string
		security  []map[string][]string
		status    int
		body      string
	}{
		{"required and missing", "", nil, 401, "UNAUTHORIZED"},
		{"required and good", "pb_good", nil, 200, "<p>demo "},
		{"optional and missing", "", OptionalKey(), 200, "<p> "},
		{"optional and good", "pb_good", OptionalKey(), 200, "<p>demo "},
		{"optional and wrong", "pb_bad", OptionalKey(), 401, "UNAUTHORIZED"},
		{"public and wrong", "pb_bad", Public(), 200, "<p> "},
	} {
		if rec := withPage(t, c.security).page(c.key, form, "a=1"); rec.Code != c.status || !strings.Contains(rec.Body.String(), c.body) {
			t.Errorf("%s: answered %d %s", c.name, rec.Code, rec.Body)
		}
	}
}

func TestAPageTakesTheMediaTypesOfItsDocumentOnly(t *testing.T) {
	t.Parallel()
	b := withPage(t, Public())
	rec := b.page("", "application/json", "{}")
	check(t, rec.Code, rec.Header(), rec.Body.Bytes()).wants(t, 415, CodeValidation)
	if rec := b.page("", "", "a=1"); rec.Code != 200 {
		t.Errorf("a body that does not tell its type: %d", rec.Code)
	}
}

func TestTheDocumentTellsBothFormsOfAnAnswer(t *testing.T) {
	t.Parallel()
	raw, err := withPage(t, OptionalKey()).api.Document()
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Paths map[string]map[string]struct {
			Security  []map[string][]string
			Responses map[string]struct {
				Description string
				Content     map[string]any
			}
		}
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	op := doc.Paths["/page/{id}"]["post"]
	var statuses []string
	for status := range op.Responses {
		statuses = append(statuses, status)
	}
	slices.Sort(statuses)
	if want := []string{"303", "400", "401", "408", "409", "413", "415", "429", "500", "503"}; !slices.Equal(statuses, want) {
		t.Errorf("documents %v, want %v", statuses, want)
	}
	bad := op.Responses["400"]
	if bad.Content["text/html"] == nil || bad.Content["application/json"] == nil || bad.Description != "A page; VALIDATION_ERROR" {
		t.Errorf("400 is %+v", bad)
	}
	if len(op.Security) != 2 || op.Security[0]["bearer"] == nil || len(op.Security[1]) != 0 {
		t.Errorf("security is %v", op.Security)
	}
}
