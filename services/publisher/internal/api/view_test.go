package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"postbus.dev/events"
)

func publishOf(user uuid.UUID, source string) Publish {
	return Publish{
		ID: uuid.New(), Source: source, RequestID: "order-7", UserID: user, AccountID: uuid.UUID{7}, Provider: "instagram", MediaType: "IMAGE",
		Version: 1, State: "ready", Attempt: 1, DelayReason: "rate_limit", AcceptedAt: time.Unix(1, 0), DueAt: time.Unix(2, 0), TraceID: "0af7651916cd43dd8448eb211c80319c",
		Attempts: []Attempt{{
			Attempt: 1, Step: "commit", Call: "media_publish", Outcome: "wait_until", ProviderRequestID: "req-1", ProviderCode: "4", HTTPStatus: 400,
			Message: "slow down", Duration: 250 * time.Millisecond, At: time.Unix(3, 0),
		}},
	}
}

func (b *bundle) look(id uuid.UUID, headers ...string) answer {
	return b.send(b.Context(), http.MethodGet, "/api/publishes/"+id.String(), "", headers...)
}

func (b *bundle) cancel(id uuid.UUID, headers ...string) answer {
	return b.send(b.Context(), http.MethodPost, "/api/publishes/"+id.String()+"/cancel", "", headers...)
}

func TestAPublishIsShownWithItsAttempts(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := publishOf(alice, "/upstream")
	b.store.put(p)
	a := b.look(p.ID)
	got, _ := json.Marshal(a.data)
	want := `{"accountId":"07000000-0000-0000-0000-000000000000","attempts":[{"at":"1970-01-01T00:00:03Z","attempt":1,"call":"media_publish",` +
		`"durationMs":250,"httpStatus":400,"message":"slow down","outcome":"wait_until","providerCode":"4","providerRequestId":"req-1","step":"commit"}],` +
		`"commits":1,"mediaType":"IMAGE","provider":"instagram","publishId":"` + p.ID.String() + `","request":{"id":"order-7","source":"/upstream"},` +
		`"state":"ready","times":{"acceptedAt":"1970-01-01T00:00:01Z","dueAt":"1970-01-01T00:00:02Z"},"traceId":"0af7651916cd43dd8448eb211c80319c","waits":"rate_limit"}`
	if a.status != http.StatusOK || string(got) != want {
		t.Errorf("%d %s\nwant %s", a.status, got, want)
	}
}

func TestAnEndedPublishIsShownWithItsOutcome(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := publishOf(alice, "/upstream")
	complete(&p)
	b.store.put(p)
	post, _ := b.look(p.ID).data["post"].(map[string]any)
	if post["permalink"] != "https://www.instagram.com/p/Bc/" {
		t.Errorf("post is %v", post)
	}
	p.State, p.Problem = stateUnconfirmed, &Problem{Code: "TIMEOUT_ERROR", Message: "the answer was lost"}
	b.store.put(p)
	a := b.look(p.ID)
	problem, _ := a.data["problem"].(map[string]any)
	if a.data["code"] != "OUTCOME_UNKNOWN" || problem["message"] != "the answer was lost" || a.data["post"] != nil {
		t.Errorf("answered %s", a.raw)
	}
}

func TestWhoMaySeeAPublish(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for name, c := range map[string]struct {
		p       Publish
		visible bool
	}{
		"for the user's account, asked for by an upstream system": {publishOf(alice, "/upstream"), true},
		"for another's account, asked for by the user":            {publishOf(bob, Source(alice)), true},
		"failed before its account was known":                     {publishOf(uuid.Nil, Source(alice)), true},
		"of another user":                                         {publishOf(bob, Source(bob)), false},
		"of nobody that is known":                                 {publishOf(uuid.Nil, "/upstream"), false},
	} {
		b.store.put(c.p)
		if a := b.look(c.p.ID); (a.status == http.StatusOK) != c.visible {
			t.Errorf("%s: %d", name, a.status)
		}
	}
}

// routes are the operations on one publish, with a key that has every scope.
func (b *bundle) routes(query string) map[string]func(uuid.UUID) answer {
	ask := func(method, path, body string) func(uuid.UUID) answer {
		return func(id uuid.UUID) answer {
			return b.send(b.Context(), method, "/api/publishes/"+id.String()+path+query, body, "Authorization", "Bearer pb_operator")
		}
	}
	return map[string]func(uuid.UUID) answer{
		"look":       ask(http.MethodGet, "", ""),
		"cancel":     ask(http.MethodPost, "/cancel", ""),
		"reschedule": ask(http.MethodPatch, "", `{"publishAt":"2100-01-01T00:00:00Z"}`),
		"resolve":    ask(http.MethodPost, "/resolve", `{"outcome":"not_published","reason":"I looked"}`),
		"follow":     ask(http.MethodGet, "/events", ""),
	}
}

func TestAPublishOfAnotherUserLooksLikeNone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	other, tombstone := publishOf(bob, Source(bob)), publishOf(alice, Source(alice))
	tombstone.State = stateTombstone
	b.store.put(other)
	b.store.put(tombstone)
	meta := regexp.MustCompile(`"meta":\{.*\}`)
	for route, ask := range b.routes("") {
		unknown := ask(uuid.New())
		unknown.wants(t, 404, "NOT_FOUND")
		for name, id := range map[string]uuid.UUID{"another user's": other.ID, "a tombstone": tombstone.ID} {
			if a := ask(id); a.status != unknown.status || meta.ReplaceAllString(a.raw, "") != meta.ReplaceAllString(unknown.raw, "") {
				t.Errorf("%s, %s: %d %s, unknown: %s", route, name, a.status, a.raw, unknown.raw)
			}
		}
	}
	if len(b.store.canceled)+len(b.store.due)+len(b.store.verdicts) != 0 {
		t.Error("a publish of another user was changed")
	}
}

func TestAKeyThatActsForOthersReachesThemByName(t *testing.T) {
	t.Parallel()
	b := setup(t)
	other := publishOf(bob, Source(bob))
	other.State, other.EndedAt = stateFailed, time.Unix(4, 0) // so that following it ends
	b.store.put(other)
	for route, ask := range b.routes("?userId=bob") {
		if a := ask(other.ID); a.status != http.StatusOK {
			t.Errorf("%s: %d %s", route, a.status, a.raw)
		}
	}
	for route, ask := range b.routes("?userId=nobody") {
		if a := ask(other.ID); a.status != http.StatusNotFound {
			t.Errorf("%s of nobody: %d %s", route, a.status, a.raw)
		}
	}
	b.send(t.Context(), http.MethodGet, "/api/publishes/"+other.ID.String()+"?userId=bob", "").wants(t, 403, "MISSING_SCOPE")
	b.send(t.Context(), http.MethodGet, "/api/publishes/"+other.ID.String()+"?userId=nobody", "").wants(t, 403, "MISSING_SCOPE")
}

func TestCancelStopsAPublishAndShowsIt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := publishOf(alice, "/upstream")
	b.store.put(p)
	a := b.cancel(p.ID)
	if a.status != http.StatusOK || a.data["state"] != stateCanceled || !slices.Equal(b.store.canceled, []uuid.UUID{p.ID}) {
		t.Errorf("%d %s", a.status, a.raw)
	}
}

func TestItCanBeTooLateToCancel(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := publishOf(alice, "/upstream")
	p.State = "armed"
	b.store.put(p)
	b.store.cancelErr = ErrTooLate
	a := b.cancel(p.ID)
	a.wants(t, 409, "CONFLICT")
	if a.err.Details.State != "armed" || a.err.Details.PublishID != p.ID.String() {
		t.Errorf("details: %s", a.raw)
	}
}

func TestLookingNeedsTheScope(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := publishOf(alice, "/upstream")
	b.store.put(p)
	b.look(p.ID, "Authorization", "Bearer pb_accounts").wants(t, 403, "MISSING_SCOPE")
	b.cancel(p.ID, "Authorization", "Bearer pb_accounts").wants(t, 403, "MISSING_SCOPE")
}

func TestAnIDOfTheWrongFormIsInvalid(t *testing.T) {
	t.Parallel()
	setup(t).send(t.Context(), http.MethodGet, "/api/publishes/7", "").wants(t, 400, "VALIDATION_ERROR")
}

func TestADatabaseThatIsAwayIsNoMissingPublish(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.store.getErr = errors.New("a fault of ours")
	b.look(uuid.New()).wants(t, 500, "INTERNAL_ERROR")
}

// The documented body is a type of its own for its comments; what reads the body
// is the event's.
func TestTheDocumentedBodyIsTheDataOfTheEvent(t *testing.T) {
	t.Parallel()
	for _, pair := range [][2]reflect.Type{
		{reflect.TypeFor[publishBody](), reflect.TypeFor[events.PublishRequested]()},
		{reflect.TypeFor[publishChild](), reflect.TypeFor[events.Child]()},
	} {
		if got, want := members(pair[0]), members(pair[1]); !slices.Equal(got, want) {
			t.Errorf("documented %v\nread %v", got, want)
		}
	}
}

func members(t reflect.Type) []string {
	var out []string
	for i := range t.NumField() {
		if tag := t.Field(i).Tag.Get("json"); tag != "" {
			out = append(out, tag)
		}
	}
	slices.Sort(out)
	return out
}

func TestTheDocumentNamesTheOperations(t *testing.T) {
	t.Parallel()
	doc, err := Document()
	if err != nil {
		t.Fatal(err)
	}
	again, _ := Document()
	if string(doc) != string(again) {
		t.Error("two documents differ")
	}
	for _, want := range []string{`"/api/{provider}/publish"`, `"/api/publishes/{id}"`, `"/api/publishes/{id}/cancel"`, `"/api/publishes"`, `"/api/publishes/{id}/resolve"`, `"/api/publishes/{id}/events"`, `"text/event-stream"`, `"#/components/schemas/ResolveBody"`, `"#/components/schemas/PublishBody"`, `"Idempotency-Key"`, `"OUTCOME_UNKNOWN"`} {
		if !strings.Contains(string(doc), want) {
			t.Errorf("no %s", want)
		}
	}
}
