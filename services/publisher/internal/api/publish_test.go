package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"

	"postbus.dev/events"
	"postbus.dev/services/internal/httpapi"
	"postbus.dev/services/internal/limit"
)

// done makes every publish end the moment it is accepted.
func (b *bundle) done(change func(*Publish)) {
	b.store.onAccept = func(_ context.Context, p *Publish) { change(p) }
}

func TestTheShortestRequestAnswersWithThePost(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.done(complete)
	a := b.post(image)
	delete(a.data, "publishId")
	got, _ := json.Marshal(a.data)
	const want = `{"caption":"hello","metadata":{"container":"1"},"permalink":"https://www.instagram.com/p/Bc/","platform":"instagram",` +
		`"postId":"17895695668004550","status":"PUBLISHED","timestamp":"2026-11-22T10:00:00Z","type":"IMAGE","url":"https://www.instagram.com/p/Bc/"}`
	if a.status != http.StatusOK || string(got) != want {
		t.Errorf("%d %s\nwant %s", a.status, got, want)
	}
}

func TestWhatTheProviderDoesNotTellIsNull(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.done(func(p *Publish) { p.State, p.Result, p.EndedAt = stateCompleted, &Result{}, time.Unix(7, 0) })
	a := b.post(image)
	metadata, isObject := a.data["metadata"].(map[string]any)
	if a.data["postId"] != nil || a.data["permalink"] != nil || a.data["url"] != nil || !isObject || len(metadata) != 0 || a.data["timestamp"] != "1970-01-01T00:00:07Z" {
		t.Errorf("answered %s", a.raw)
	}
}

func TestTheRequestBecomesTheEventThatUpstreamWouldSend(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.done(complete)
	b.post(`{"mediaUrl":"https://example.com/i.jpg?a=1&b=<2>", "mediaType":"IMAGE"}`, "Idempotency-Key", `"order-7"`)
	r := b.store.requests[0]
	if r.Source != "/postbus/api/"+alice.String() || r.ID != "order-7" || r.Caller.UserID != alice || r.Provider != "instagram" {
		t.Errorf("accepted %+v", r)
	}
	data, err := events.ParsePublishRequested(r.Data)
	if err != nil || data.UserID != "alice" || data.Provider != "instagram" || data.AccountID != "" {
		t.Errorf("data is %s: %v", r.Data, err)
	}
	e := r.Event
	if !bytes.Equal(e.Data(), r.Data) || r.SHA256 != sha256.Sum256(r.Data) {
		t.Error("the event, the data and its sum are not the same")
	}
	if e.Type() != events.TypePublishRequested || e.Source() != r.Source || e.ID() != r.ID || e.Subject() != r.PublishID().String() {
		t.Errorf("event is %v", e)
	}
}

func TestTheEventCarriesTheTraceOfTheRequest(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.done(complete)
	const trace = "0af7651916cd43dd8448eb211c80319c"
	b.post(image, "traceparent", "00-"+trace+"-b7ad6b7169203331-01")
	parent, _ := b.store.requests[0].Event.Extensions()[events.ExtTraceParent].(string)
	if !strings.Contains(parent, trace) || strings.Contains(parent, "b7ad6b7169203331") {
		t.Errorf("traceparent is %q, want the server span in trace %s", parent, trace)
	}
}

func TestWithoutAKeyEachRequestIsAPublishOfItsOwn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.done(complete)
	one, two := b.post(image), b.post(image)
	if one.data["publishId"] == two.data["publishId"] || len(b.store.rows) != 2 {
		t.Error("two requests became one publish")
	}
}

func TestTheSameKeyAndBodyIsTheSamePublish(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.done(complete)
	one := b.post(image, "Idempotency-Key", "order-7")
	two := b.post(strings.ReplaceAll(image, ",", " , "), "Idempotency-Key", `"order-7"`) // typed otherwise, says the same
	if two.status != http.StatusOK || one.data["publishId"] != two.data["publishId"] || len(b.store.rows) != 1 {
		t.Errorf("the repeat answered %d %s", two.status, two.raw)
	}
}

func TestTheSameKeyOfAnotherUserIsAnotherPublish(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.done(complete)
	one := b.post(image, "Idempotency-Key", "order-7")
	two := b.post(image, "Idempotency-Key", "order-7", "Authorization", "Bearer pb_bob")
	if two.status != http.StatusOK || one.data["publishId"] == two.data["publishId"] {
		t.Errorf("answered %d %s", two.status, two.raw)
	}
}

func TestTheSameKeyWithAnotherBodyIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.done(complete)
	b.post(image, "Idempotency-Key", "order-7")
	a := b.post(`{"mediaType":"IMAGE","mediaUrl":"https://example.com/other.jpg"}`, "Idempotency-Key", "order-7")
	a.wants(t, 422, "VALIDATION_ERROR")
	if len(a.err.Details.Violations) != 1 || a.err.Details.Violations[0].Field != "header.Idempotency-Key" {
		t.Errorf("details: %s", a.raw)
	}
}

func TestABadKeyIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.post(image, "Idempotency-Key", strings.Repeat("k", 256)).wants(t, 400, "VALIDATION_ERROR")
	if len(b.store.requests) != 0 {
		t.Error("it was stored")
	}
}

func TestAnInvalidRequestNamesEveryFaultAndStoresNothing(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, body string
		fields     []string
	}{
		{"no JSON", `{"mediaType":`, []string{""}},
		{"no object", `[1]`, []string{""}},
		{"unknown fields", `{"mediaType":"IMAGE","mediaURL":"https://h/x","zzz":1}`, []string{"/mediaURL", "/zzz"}},
		{"shape and content", `{"mediaType":7,"mediaUrl":"ftp://h/x","publishAt":"2027-01-01T10:00:00","locationId":""}`, []string{"/mediaType", "/locationId", "/mediaUrl", "/publishAt"}},
		{"provider is not that of the path", `{"mediaType":"IMAGE","provider":"reddit"}`, []string{"/provider"}},
		{"U+0000", "{\"mediaType\":\"IMAGE\",\"caption\":\"a\\u0000b\"}", []string{"/caption"}},
		{"account id of the wrong form", `{"mediaType":"IMAGE","accountId":"7"}`, []string{"/accountId"}},
		{"a child", `{"mediaType":"CAROUSEL","children":[{"mediaType":"TEXT","mediaUrl":"/x"}]}`, []string{"/children/0/mediaType", "/children/0/mediaUrl"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			a := b.post(c.body)
			a.wants(t, 400, "VALIDATION_ERROR")
			var fields []string
			for _, v := range a.err.Details.Violations {
				fields = append(fields, v.Field)
			}
			slices.Sort(fields)
			slices.Sort(c.fields)
			if !slices.Equal(fields, c.fields) || len(b.store.requests) != 0 {
				t.Errorf("fields %q, want %q; %s", fields, c.fields, a.raw)
			}
		})
	}
}

func TestWhomARequestMayPublishFor(t *testing.T) {
	t.Parallel()
	const account = "0197e0c3-7a53-7d1c-9d63-1f0a3c0f5acc"
	cases := []struct {
		name, key, target string
		status            int
		user, account     string // as accepted
	}{
		{"the key's own user", "pb_alice", `"userId":"alice"`, 200, "alice", ""},
		{"another user", "pb_alice", `"userId":"bob"`, 403, "", ""},
		{"another user on behalf", "pb_agency", `"userId":"bob"`, 200, "bob", ""},
		{"an account", "pb_alice", `"accountId":"` + account + `"`, 200, "", account},
		{"an account and its user", "pb_agency", `"accountId":"` + account + `","userId":"bob"`, 200, "bob", account},
		{"a key that may not publish", "pb_accounts", `"userId":"alice"`, 403, "", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.done(complete)
			a := b.post(strings.TrimSuffix(image, "}")+","+c.target+"}", "Authorization", "Bearer "+c.key)
			if a.status != c.status {
				t.Fatalf("answered %d %s", a.status, a.raw)
			}
			if c.status != http.StatusOK {
				a.wants(t, c.status, "MISSING_SCOPE")
				return
			}
			if d, _ := events.ParsePublishRequested(b.store.requests[0].Data); d.UserID != c.user || d.AccountID != c.account {
				t.Errorf("accepted for user %q, account %q", d.UserID, d.AccountID)
			}
		})
	}
}

func TestARequestReachesOnlyTheAccountsOfItsUser(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.done(complete)
	b.post(image)
	b.post(image, "Authorization", "Bearer pb_agency")
	own, agency := b.store.requests[0], b.store.requests[1]
	if !own.Reaches(alice) || own.Reaches(bob) || own.Reaches(uuid.Nil) || !agency.Reaches(bob) {
		t.Error("an account of another user is reached, or one's own is not")
	}
}

func TestAnUnknownProviderIsNotFound(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.send(t.Context(), http.MethodPost, "/api/myspace/publish", image)
	a.wants(t, 404, "NOT_FOUND")
	if !strings.Contains(a.err.Message, "instagram, reddit") {
		t.Errorf("says %q", a.err.Message)
	}
}

func TestAFailedPublishAnswersWithItsCode(t *testing.T) {
	t.Parallel()
	yes := true
	for _, code := range httpapi.Codes() {
		b := setup(t)
		b.done(func(p *Publish) {
			p.State = stateFailed
			p.Problem = &Problem{
				Code: string(code), Message: "no", Retryable: &yes, ProviderCode: "9004/2207052", ProviderRequestID: "req-1",
				Violations: []events.Violation{{Field: "/caption", Rule: "maxLength", Message: "is too long"}},
			}
		})
		a := b.post(image)
		a.wants(t, code.Status(), string(code))
		d := a.err.Details
		if d.PublishID == "" || d.ProviderCode != "9004/2207052" || d.ProviderRequestID != "req-1" || len(d.Violations) != 1 || !a.err.Retryable {
			t.Errorf("%s: %s", code, a.raw)
		}
	}
}

func TestACanceledPublishIsAConflict(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.done(func(p *Publish) { p.State = stateCanceled })
	b.post(image).wants(t, 409, "CANCELED")
}

func TestAnUnknownOutcomeIsSaidToBeUnknown(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.done(func(p *Publish) { p.State, p.Problem = stateUnconfirmed, &Problem{Message: "2 posts match"} })
	a := b.post(image)
	if a.status != http.StatusAccepted || a.data["code"] != "OUTCOME_UNKNOWN" || a.data["message"] != "2 posts match" || a.header.Get("Location") == "" {
		t.Errorf("%d %s", a.status, a.raw)
	}
}

func TestTheRateLimitIsToldAndKept(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.done(complete)
	b.store.budget = limit.Decision{Allowed: true, Remaining: 3, Reset: 12 * time.Second}
	a := b.post(image)
	if a.header.Get("RateLimit-Policy") != `"publish";q=20;w=60` || a.header.Get("RateLimit") != `"publish";r=3;t=12` {
		t.Errorf("headers: %v", a.header)
	}
	b.store.budget = limit.Decision{Allowed: false, Reset: 7500 * time.Millisecond}
	a = b.post(image)
	a.wants(t, 429, "RATE_LIMIT_EXCEEDED")
	if a.header.Get("Retry-After") != "8" || a.err.RetryAfter != 8 || !a.err.Retryable || len(b.store.rows) != 1 {
		t.Errorf("refused with %v %s", a.header, a.raw)
	}
}

func TestARequestWhoseStorageIsNotKnownCanBeRepeated(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err    error
		status int
		code   string
	}{
		{&pgconn.PgError{Code: "57P01"}, 503, "SERVICE_UNAVAILABLE"}, // the server shuts down
		{context.DeadlineExceeded, 503, "SERVICE_UNAVAILABLE"},
		{errors.New("a fault of ours"), 500, "INTERNAL_ERROR"},
	} {
		b := setup(t)
		b.store.acceptErr = c.err
		a := b.post(image)
		a.wants(t, c.status, c.code)
		key := a.err.Details.IdempotencyKey
		if key == "" || a.err.Details.PublishID != events.PublishID(Source(alice), key).String() {
			t.Errorf("details: %s", a.raw)
		}
	}
}

func TestAnAPIWithoutItsPartsIsRefused(t *testing.T) {
	t.Parallel()
	if _, err := New(Config{Keys: &keys{}}); err == nil {
		t.Error("made")
	}
}
