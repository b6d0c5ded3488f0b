package api

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"postbus.dev/events"
	"postbus.dev/services/internal/httpapi"
)

func (b *bundle) patch(id uuid.UUID, body string) answer {
	return b.send(b.Context(), http.MethodPatch, "/api/publishes/"+id.String(), body)
}

func (b *bundle) resolve(id uuid.UUID, body string, headers ...string) answer {
	return b.send(b.Context(), http.MethodPost, "/api/publishes/"+id.String()+"/resolve", body, append([]string{"Authorization", "Bearer pb_admin"}, headers...)...)
}

func (a answer) faults() string {
	var out []string
	for _, v := range a.err.Details.Violations {
		out = append(out, v.Field+" "+v.Rule)
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

func TestAPublishIsRescheduled(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := publishOf(alice, "/upstream")
	b.store.put(p)
	a := b.patch(p.ID, `{"publishAt":"2100-01-01T02:00:00+02:00"}`)
	times, _ := a.data["times"].(map[string]any)
	if a.status != http.StatusOK || times["dueAt"] != "2100-01-01T00:00:00Z" || len(b.store.due) != 1 {
		t.Errorf("%d %s", a.status, a.raw)
	}
}

func TestWhatCannotBeRescheduledIsToldWhy(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := publishOf(alice, "/upstream")
	b.store.put(p)
	for body, want := range map[string]string{
		`{"publishAt":"2100-01-01T00:00:00"}`:         "/publishAt format",
		`{"publishAt":null,"expiresAt":"2100-01-01"}`: "/expiresAt additionalProperties, /publishAt type",
		`{}`:            "/publishAt required",
		`{"publishAt":`: " json",
		`{"publishAt":"2100-01-01T00:00:00Z","state":""}`: "/state additionalProperties",
	} {
		a := b.patch(p.ID, body)
		a.wants(t, 400, "VALIDATION_ERROR")
		if got := a.faults(); got != want {
			t.Errorf("%s: %q, want %q", body, got, want)
		}
	}
	b.patch(p.ID, "").wants(t, 400, "VALIDATION_ERROR")
	if len(b.store.due) != 0 {
		t.Error("an invalid time reached the store")
	}
	const good = `{"publishAt":"2100-01-01T00:00:00Z"}`
	b.store.changeErr = httpapi.Invalid(events.Violation{Field: "/publishAt", Rule: "future", Message: "lies in the past"})
	b.patch(p.ID, good).wants(t, 400, "VALIDATION_ERROR")
	b.store.changeErr = ErrTooLate
	a := b.patch(p.ID, good)
	a.wants(t, 409, "CONFLICT")
	if a.err.Details.State != "ready" {
		t.Errorf("details: %s", a.raw)
	}
}

func TestAnUnconfirmedPublishIsResolvedByAnAdmin(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := publishOf(alice, "/upstream")
	b.store.put(p)
	const published = `{"outcome":"published","postId":"17895695668004550","permalink":"https://www.instagram.com/p/Bc/"}`
	b.resolve(p.ID, published, "Authorization", "Bearer pb_alice").wants(t, 403, "MISSING_SCOPE")
	for _, body := range []string{published, `{"outcome":"not_published","reason":"I looked"}`} {
		if a := b.resolve(p.ID, body); a.status != http.StatusOK || a.data["publishId"] != p.ID.String() {
			t.Errorf("%d %s", a.status, a.raw)
		}
	}
	want := []Verdict{
		{Published: true, PostID: "17895695668004550", Permalink: "https://www.instagram.com/p/Bc/"}, {Reason: "I looked"},
	}
	if !slices.Equal(b.store.verdicts, want) {
		t.Errorf("decided %+v", b.store.verdicts)
	}
}

func TestAVerdictIsWhole(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := publishOf(alice, "/upstream")
	b.store.put(p)
	for body, want := range map[string]string{
		`{}`:                                     "/outcome required",
		`{"outcome":"maybe"}`:                    "/outcome enum",
		`{"outcome":"published"}`:                "/postId required",
		`{"outcome":"published","postId":"a b"}`: "/postId pattern",
		`{"outcome":"published","postId":"1","reason":"x","permalink":"javascript:x"}`:        "/permalink format, /reason dependentSchemas",
		`{"outcome":"published","postId":"1","permalink":"https://user:secret@example.com/"}`: "/permalink format",
		`{"outcome":"not_published"}`: "/reason required",
		`{"outcome":"not_published","reason":"x","postId":"1","permalink":"https://example.com"}`: "/permalink dependentSchemas, /postId dependentSchemas",
		`{"outcome":"not_published","reason":"a\u0000b"}`:                                         "/reason characters",
		`{"outcome":"not_published","reason":"` + strings.Repeat("x", 301) + `"}`:                 "/reason maxLength",
	} {
		a := b.resolve(p.ID, body)
		a.wants(t, 400, "VALIDATION_ERROR")
		if got := a.faults(); got != want {
			t.Errorf("%s: %q, want %q", body, got, want)
		}
	}
	if len(b.store.verdicts) != 0 {
		t.Error("an invalid verdict reached the store")
	}
}

func TestAPostOfAnotherPublishNamesItToItsOwnerAlone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := publishOf(alice, "/upstream")
	b.store.put(p)
	for _, owner := range []uuid.UUID{alice, bob} {
		other := publishOf(owner, Source(owner))
		b.store.changeErr = &TakenError{Owner: other}
		a := b.resolve(p.ID, `{"outcome":"published","postId":"1"}`)
		a.wants(t, 409, "CONFLICT")
		if named := strings.Contains(a.raw, other.ID.String()); named != (owner == alice) {
			t.Errorf("named: %v: %s", named, a.raw)
		}
	}
}

func TestACallerWhoGoesAwayDoesNotStopAChange(t *testing.T) {
	t.Parallel()
	b := setup(t)
	err := error(nil)
	_, _ = b.api.change(canceled(t), func(own ctx) (Publish, error) { err = own.Err(); return Publish{AcceptedAt: time.Unix(1, 0)}, nil })
	if err != nil {
		t.Errorf("it was begun with %v", err)
	}
}
