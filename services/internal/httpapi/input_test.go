package httpapi

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

func (b bundle) list(t *testing.T, query string) answer {
	t.Helper()
	return b.do(t, request(http.MethodGet, "/things"+query, ""))
}

func (a answer) fields() []string {
	var out []string
	if a.body.Error != nil {
		for _, v := range a.body.Error.Details.Violations {
			out = append(out, v.Field)
		}
	}
	slices.Sort(out)
	return out
}

func TestACursorComesBackAsItWasGiven(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	cursor, err := Cursor("last one")
	if err != nil {
		t.Fatal(err)
	}
	if a := b.list(t, "?cursor="+cursor); a.status != 200 || string(a.body.Data) != `{"items":["last one"]}` {
		t.Errorf("%d %s", a.status, a.raw)
	}
	for _, odd := range []string{"!", "e30", strings.Repeat("a", 513)} {
		a := b.list(t, "?cursor="+odd)
		a.wants(t, 400, CodeValidation)
		if got := a.fields(); !slices.Equal(got, []string{"query.cursor"}) {
			t.Errorf("%s: %s", odd, a.raw)
		}
	}
}

func TestUnknownQueryParametersAreNamed(t *testing.T) {
	t.Parallel()
	a := setup(t, nil).list(t, "?limt=7")
	a.wants(t, 400, CodeValidation)
	if got := a.fields(); !slices.Equal(got, []string{"query.limt"}) {
		t.Errorf("%s", a.raw)
	}
}

func TestAnAddressThatIsNoTextIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	for _, path := range []string{"/things?cursor=%00", "/things?cursor=%ff", "/things?a%00=1", "/things?limit=%zz", "/things?limit=1;cursor=2"} {
		b.do(t, request(http.MethodGet, path, "")).wants(t, 400, CodeValidation)
	}
	b.do(t, request(http.MethodPost, "/things/%00", "{}")).wants(t, 400, CodeValidation)
}

func TestTheDocumentTellsTheHeadersOfEachAnswer(t *testing.T) {
	t.Parallel()
	doc := document(t, setup(t, nil).api)
	for _, c := range []struct {
		method, path, status, header string
		there, required              bool
	}{
		{"post", "/things/{id}", "200", "RateLimit", true, true},
		{"post", "/things/{id}", "409", "RateLimit-Policy", true, true},
		{"post", "/things/{id}", "503", "RateLimit", true, false},
		{"post", "/things/{id}", "401", "RateLimit", false, false},
		{"post", "/things/{id}", "413", "RateLimit", false, false},
		{"post", "/things/{id}", "401", "WWW-Authenticate", true, true},
		{"post", "/things/{id}", "429", "Retry-After", true, true},
		{"post", "/things/{id}", "415", "RateLimit", true, true},
		{"post", "/things/{id}", "413", "X-Request-Id", true, true},
		{"post", "/own", "200", "RateLimit", true, false},
		{"post", "/own", "400", "RateLimit", true, false},
		{"post", "/own", "429", "Retry-After", true, false},
		{"get", "/public", "200", "RateLimit", false, false},
		{"get", "/public", "200", "X-Request-Id", true, true},
	} {
		h, there := doc.Paths[c.path][c.method].Responses[c.status].Headers[c.header]
		if there != c.there || h.Required != c.required {
			t.Errorf("%s %s %s %s: there %v, required %v", c.method, c.path, c.status, c.header, there, h.Required)
		}
	}
}
