package httpapi

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"postbus.dev/events"
)

func TestASuccessHasTheEnvelope(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	a := b.do(t, request(http.MethodPost, thing, `{"a":1}`))
	var got echo
	if err := json.Unmarshal(a.body.Data, &got); err != nil || a.status != http.StatusCreated {
		t.Fatalf("%d %s", a.status, a.raw)
	}
	if got.Caller != "demo" || got.Body != `{"a":1}` || !strings.HasSuffix(thing, got.ID) {
		t.Errorf("the handler saw %+v", got)
	}
}

func TestEveryKindOfErrorHasTheEnvelope(t *testing.T) {
	t.Parallel()
	with := func(r *http.Request, name, value string) *http.Request { r.Header.Set(name, value); return r }
	cases := []struct {
		name   string
		r      *http.Request
		status int
		code   Code
	}{
		{"no such path", request(http.MethodGet, "/nothing", ""), 404, CodeNotFound},
		{"wrong method", request(http.MethodDelete, thing, ""), 405, CodeValidation},
		{"no key", with(request(http.MethodPost, thing, "{}"), "Authorization", ""), 401, CodeUnauthorized},
		{"another scheme", with(request(http.MethodPost, thing, "{}"), "Authorization", "Basic pb_good"), 401, CodeUnauthorized},
		{"unknown key", with(request(http.MethodPost, thing, "{}"), "Authorization", "Bearer pb_bad"), 401, CodeUnauthorized},
		{"keys cannot be checked", with(request(http.MethodPost, thing, "{}"), "Authorization", "Bearer pb_down"), 503, CodeServiceUnavailable},
		{"parameter of the wrong form", request(http.MethodPost, "/things/7", "{}"), 400, CodeValidation},
		{"no body", request(http.MethodPost, thing, ""), 400, CodeValidation},
		{"body too large", request(http.MethodPost, thing, strings.Repeat(" ", MaxBodyBytes+1)), 413, CodeValidation},
		{"form", with(request(http.MethodPost, thing, "a=1"), "Content-Type", "application/x-www-form-urlencoded"), 415, CodeValidation},
		{"compressed", with(request(http.MethodPost, thing, "x"), "Content-Encoding", "gzip"), 415, CodeValidation},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			setup(t, nil).do(t, c.r).wants(t, c.status, c.code)
		})
	}
}

func TestABodyOfTheLargestSizeIsTaken(t *testing.T) {
	t.Parallel()
	a := setup(t, nil).do(t, request(http.MethodPost, thing, strings.Repeat(" ", MaxBodyBytes)))
	if a.status != http.StatusCreated {
		t.Errorf("%d", a.status)
	}
}

func TestTheBodyOfAGetIsNotRead(t *testing.T) {
	t.Parallel()
	r := request(http.MethodGet, "/public", strings.Repeat("x", MaxBodyBytes+1))
	r.Header.Set("Content-Type", "text/plain")
	r.Header.Set("Content-Encoding", "gzip")
	if a := setup(t, nil).do(t, r); a.status != http.StatusOK {
		t.Errorf("%d %s", a.status, a.raw)
	}
}

func TestABodyOfUnknownLengthIsLimitedToo(t *testing.T) {
	t.Parallel()
	r := request(http.MethodPost, thing, "x")
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(strings.Repeat(" ", MaxBodyBytes+1))), -1
	setup(t, nil).do(t, r).wants(t, 413, CodeValidation)
}

func TestAWrongMethodLearnsWhichOnesThereAre(t *testing.T) {
	t.Parallel()
	a := setup(t, nil).do(t, request(http.MethodDelete, thing, ""))
	if a.header.Get("Allow") != "POST" {
		t.Errorf("Allow is %q", a.header.Get("Allow"))
	}
}

func TestAllWrongParametersAreNamedWithoutTheirValues(t *testing.T) {
	t.Parallel()
	a := setup(t, nil).do(t, request(http.MethodPost, "/things/hunter2?limit=11", "{}"))
	var fields []string
	for _, v := range a.body.Error.Details.Violations {
		fields = append(fields, v.Field)
	}
	if !slices.Equal(fields, []string{"path.id", "query.limit"}) || strings.Contains(a.raw, "hunter2") {
		t.Errorf("answered %s", a.raw)
	}
}

func TestAnUnauthorizedCallerIsToldTheScheme(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	r := request(http.MethodPost, thing, "{}")
	r.Header.Del("Authorization")
	if got := b.do(t, r).header.Get("WWW-Authenticate"); got != `Bearer realm="postbus"` {
		t.Errorf("without a key: %q", got)
	}
	r = request(http.MethodPost, thing, "{}")
	r.Header.Set("Authorization", "Bearer pb_old")
	if got := b.do(t, r).header.Get("WWW-Authenticate"); !strings.Contains(got, "invalid_token") {
		t.Errorf("with a wrong key: %q", got)
	}
}

func TestTwoAuthorizationHeadersAreNotGuessedAt(t *testing.T) {
	t.Parallel()
	r := request(http.MethodPost, thing, "{}")
	r.Header.Add("Authorization", "Bearer pb_good")
	setup(t, nil).do(t, r).wants(t, 401, CodeUnauthorized)
}

func TestAPublicOperationAsksForNoKey(t *testing.T) {
	t.Parallel()
	r := request(http.MethodGet, "/public", "")
	r.Header.Del("Authorization")
	if a := setup(t, nil).do(t, r); a.status != 200 {
		t.Errorf("%d %s", a.status, a.raw)
	}
}

func TestARequestIDOfTheCallerIsKeptIfItIsHarmless(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	for id, kept := range map[string]bool{"order-7/a": true, "a b": false, "x\"y": false, strings.Repeat("x", 129): false} {
		r := request(http.MethodPost, thing, "{}")
		r.Header.Set("X-Request-Id", id)
		if got := b.do(t, r).body.Meta.RequestID; (got == id) != kept {
			t.Errorf("%q became %q", id, got)
		}
	}
}

func TestAnErrorOfAHandlerSaysHowToAnswer(t *testing.T) {
	t.Parallel()
	yes := true
	b := setup(t, func(context.Context, *echoInput) error {
		return fmt.Errorf("wrapped: %w", &Error{
			Code: CodeConflict, Message: "taken", Details: Violations{[]events.Violation{{Field: "/a", Rule: "unique", Message: "is taken"}}},
			Retryable: &yes, RetryAfter: 1500 * time.Millisecond, Header: http.Header{"Location": {"/x"}},
		})
	})
	a := b.do(t, request(http.MethodPost, thing, "{}"))
	a.wants(t, 409, CodeConflict)
	e := a.body.Error
	if e.Message != "taken" || !e.Retryable || e.RetryAfter != 2 || len(e.Details.Violations) != 1 {
		t.Errorf("answered %s", a.raw)
	}
	if a.header.Get("Retry-After") != "2" || a.header.Get("Location") != "/x" {
		t.Errorf("headers are %v", a.header)
	}
}

func TestAnUnknownErrorIsLoggedAndNotShown(t *testing.T) {
	t.Parallel()
	b := setup(t, func(context.Context, *echoInput) error { return errors.New("relation publishes does not exist") })
	a := b.do(t, request(http.MethodPost, thing, "{}"))
	a.wants(t, 500, CodeInternal)
	if strings.Contains(a.raw, "relation") {
		t.Errorf("shown: %s", a.raw)
	}
	if logs := b.logs.String(); !strings.Contains(logs, "relation publishes") || !strings.Contains(logs, a.body.Meta.RequestID) {
		t.Errorf("logged: %s", logs)
	}
}

func TestAPanicIsAnsweredAndLogged(t *testing.T) {
	t.Parallel()
	b := setup(t, func(context.Context, *echoInput) error { panic("boom") })
	a := b.do(t, request(http.MethodPost, thing, "{}"))
	a.wants(t, 500, CodeInternal)
	if strings.Contains(a.raw, "boom") || !strings.Contains(b.logs.String(), "httpapi_test.go") {
		t.Errorf("answered %s, logged %s", a.raw, b.logs)
	}
}

func TestTheServerSpanHasTheRouteAndTheCallersTrace(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	r := request(http.MethodPost, thing, "{}")
	r.Pattern = "/" // as a mux around the API leaves it
	r.Header.Set("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	a := b.do(t, r)
	spans := b.spans.GetSpans()
	if len(spans) != 1 || spans[0].Name != "POST /things/{id}" {
		t.Fatalf("spans: %v", spans)
	}
	const trace = "0af7651916cd43dd8448eb211c80319c"
	if spans[0].SpanContext.TraceID().String() != trace || a.body.Meta.TraceID != trace {
		t.Errorf("trace %s, told %s", spans[0].SpanContext.TraceID(), a.body.Meta.TraceID)
	}
	if !slices.ContainsFunc(spans[0].Attributes, func(kv attribute.KeyValue) bool {
		return kv.Key == "http.route" && kv.Value.AsString() == "/things/{id}"
	}) {
		t.Errorf("no http.route in %v", spans[0].Attributes)
	}
}

func TestAnUnknownPathDoesNotBecomeASpanName(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	r := request(http.MethodGet, "/scan/me/7", "")
	r.Pattern = "/"
	b.do(t, r).wants(t, 404, CodeNotFound)
	if spans := b.spans.GetSpans(); len(spans) != 1 || spans[0].Name != "GET" {
		t.Errorf("span is %q", spans[0].Name)
	}
}

// A body that trickles in is cut off, and the time for it does not count for
// the handler: net/http would cancel the request when a read deadline passes.
func TestTheTimeForTheBodyIsNotTheTimeForTheHandler(t *testing.T) {
	t.Parallel()
	b := setup(t, func(ctx context.Context, _ *echoInput) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(150 * time.Millisecond): // three times the body's limit
			return nil
		}
	})
	srv := httptest.NewServer(b.api)
	defer srv.Close()
	if a := overTheWire(t, srv, "2", "{}"); a.status != http.StatusCreated {
		t.Errorf("a patient caller got %d %s", a.status, a.raw)
	}
	overTheWire(t, srv, "200", "{}").wants(t, 408, CodeTimeout)
}

// overTheWire says that length bytes will follow and sends body.
func overTheWire(t *testing.T, srv *httptest.Server, length, body string) answer {
	t.Helper()
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer pb_good\r\nContent-Length: %s\r\n\r\n%s", thing, length, body)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	got, _ := io.ReadAll(res.Body)
	return check(t, res.StatusCode, res.Header, got)
}

type openAPI struct {
	OpenAPI string
	Paths   map[string]map[string]struct {
		Security  []map[string][]string
		Responses map[string]struct {
			Description string
			Headers     map[string]struct{ Required bool }
			Content     map[string]struct {
				Schema struct {
					Ref string `json:"$ref"`
				}
			}
		}
	}
	Components struct{ Schemas map[string]json.RawMessage }
}

func document(t *testing.T, api *API) (doc openAPI) {
	t.Helper()
	rec := httptest.NewRecorder()
	api.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/openapi.json", nil))
	if err := json.Unmarshal(rec.Body.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestTheDocumentIsOpenAPI31WithOurAnswers(t *testing.T) {
	t.Parallel()
	doc := document(t, setup(t, nil).api)
	op := doc.Paths["/things/{id}"]["post"]
	if !strings.HasPrefix(doc.OpenAPI, "3.1") || len(op.Security) != 1 {
		t.Errorf("openapi %s, security %v", doc.OpenAPI, op.Security)
	}
	for status, want := range map[string][2]string{
		"200": {"OK", "#/components/schemas/EnvelopeEcho"}, "409": {"CONFLICT", "#/components/schemas/Failure"},
		"400": {"VALIDATION_ERROR", "#/components/schemas/Failure"}, "401": {"UNAUTHORIZED", "#/components/schemas/Failure"},
	} {
		got := op.Responses[status]
		if got.Description != want[0] || got.Content["application/json"].Schema.Ref != want[1] {
			t.Errorf("%s is documented as %+v", status, got)
		}
	}
	if _, ok := op.Responses["422"]; ok {
		t.Error("huma's own 422 is documented, which is never answered")
	}
	if len(doc.Paths["/public"]["get"].Security) != 0 {
		t.Error("the public operation asks for a key")
	}
	if _, ok := doc.Components.Schemas["ErrorModel"]; ok {
		t.Error("huma's own error is documented")
	}
}

func TestTheDocumentStaysTheSame(t *testing.T) {
	t.Parallel()
	one, err := setup(t, nil).api.Document()
	two, err2 := setup(t, nil).api.Document()
	if err != nil || err2 != nil || string(one) != string(two) || len(one) == 0 {
		t.Error("two documents of the same operations differ")
	}
}

func TestTheDocumentationLoadsNothingFromElsewhere(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	for path, kind := range map[string]string{"/docs": "text/html", "/docs/page.js": "text/javascript", "/docs/page.css": "text/css"} {
		rec := httptest.NewRecorder()
		b.api.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		if rec.Code != 200 || !strings.HasPrefix(rec.Header().Get("Content-Type"), kind) {
			t.Errorf("%s: %d %s", path, rec.Code, rec.Header().Get("Content-Type"))
		}
		if strings.Contains(rec.Body.String(), "//cdn") || strings.Contains(rec.Body.String(), "https://") {
			t.Errorf("%s refers to elsewhere", path)
		}
		if !strings.Contains(rec.Header().Get("Content-Security-Policy"), "script-src 'self'") {
			t.Errorf("%s has no policy", path)
		}
	}
}

func TestEachCodeHasTheStatusOfItsClass(t *testing.T) {
	t.Parallel()
	for _, c := range Codes() {
		if c.Status() == http.StatusInternalServerError && c != CodeInternal {
			t.Errorf("%s has no status", c)
		}
		if c.Retryable() && c.Status() != 429 && c.Status() < 503 {
			t.Errorf("%s is retryable with %d", c, c.Status())
		}
	}
}

func TestAnAPIWithoutKeysOrBudgetsIsRefused(t *testing.T) {
	t.Parallel()
	for _, cfg := range []Config{{Title: "x", Version: "1", Keys: keys{}}, {Title: "x", Version: "1", Budgets: &counter{}}} {
		if _, err := New(cfg); err == nil {
			t.Errorf("made of %+v", cfg)
		}
	}
}
