package api

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
)

func (b *bundle) list(query string, headers ...string) answer {
	return b.send(b.Context(), http.MethodGet, "/api/publishes"+query, "", headers...)
}

func (a answer) items() []string {
	var out []string
	items, _ := a.data["items"].([]any)
	for _, item := range items {
		p, _ := item.(map[string]any)
		id, _ := p["publishId"].(string)
		out = append(out, id)
	}
	return out
}

func TestAListComesInPagesNewestFirst(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var want []string
	for i := range 5 {
		p := publishOf(alice, "/upstream")
		p.AcceptedAt = time.Unix(int64(100-i), 123456000)
		b.store.put(p)
		want = append(want, p.ID.String())
	}
	b.store.put(publishOf(bob, Source(bob)))
	var got []string
	var sizes []int
	for query := "?limit=2"; query != ""; {
		a := b.list(query)
		if a.status != http.StatusOK {
			t.Fatalf("%d %s", a.status, a.raw)
		}
		got, sizes = append(got, a.items()...), append(sizes, len(a.items()))
		query = ""
		if next, more := a.data["nextCursor"].(string); more {
			query = "?limit=2&cursor=" + next
		}
	}
	if !slices.Equal(got, want) || !slices.Equal(sizes, []int{2, 2, 1}) {
		t.Errorf("pages of %v: %v, want %v", sizes, got, want)
	}
}

func TestALastPageThatIsFullHasNoCursor(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.store.put(publishOf(alice, "/upstream"))
	if a := b.list("?limit=1"); len(a.items()) != 1 || a.data["nextCursor"] != nil {
		t.Errorf("%s", a.raw)
	}
	if a := setup(t).list(""); a.status != http.StatusOK || a.data["items"] == nil || len(a.items()) != 0 {
		t.Errorf("an empty list is %s", a.raw)
	}
}

func TestAListShowsPublishesWithoutTheirAttempts(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.store.put(publishOf(alice, "/upstream"))
	items, _ := b.list("").data["items"].([]any)
	item, _ := items[0].(map[string]any)
	if item["state"] != "ready" || item["waits"] != "rate_limit" || item["attempts"] != nil {
		t.Errorf("item is %v", item)
	}
}

func TestFiltersAreThoseOfTheQuery(t *testing.T) {
	t.Parallel()
	b := setup(t)
	account := uuid.New()
	a := b.list(fmt.Sprintf("?state=failed&provider=reddit&accountId=%s&from=2026-11-22T10:00:00%%2B02:00&to=2026-11-23T00:00:00Z&userId=alice", account))
	want := Filter{
		UserID: alice, State: "failed", Provider: "reddit", AccountID: account, Limit: 51,
		From: time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC), To: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC),
	}
	if a.status != http.StatusOK || len(b.store.filters) != 1 {
		t.Fatalf("%d %s", a.status, a.raw)
	}
	got := b.store.filters[0]
	got.From, got.To = got.From.UTC(), got.To.UTC()
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestEveryFaultOfAQueryIsNamed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for query, want := range map[string][]string{
		"?state=tombstone&limit=0&accountId=7&from=yesterday": {"query.accountId", "query.from", "query.limit", "query.state"},
		"?limit=101":                {"query.limit"},
		"?cursor=x":                 {"query.cursor"},
		"?status=failed":            {"query.status"},
		"?from=2026-11-22T10:00:00": {"query.from"},
		"?from=2026-11-22T10:00:00Z&to=2026-11-22T10:00:00Z": {"query.to"},
	} {
		a := b.list(query)
		a.wants(t, 400, "VALIDATION_ERROR")
		var fields []string
		for _, v := range a.err.Details.Violations {
			fields = append(fields, v.Field)
		}
		slices.Sort(fields)
		if !slices.Equal(fields, want) {
			t.Errorf("%s: %v, want %v", query, fields, want)
		}
	}
	if len(b.store.filters) != 0 {
		t.Error("an invalid query reached the store")
	}
}

func TestAnotherUsersListNeedsTheScope(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := publishOf(bob, Source(bob))
	b.store.put(p)
	b.list("?userId=bob").wants(t, 403, "MISSING_SCOPE")
	if a := b.list("?userId=bob", "Authorization", "Bearer pb_agency"); !slices.Equal(a.items(), []string{p.ID.String()}) {
		t.Errorf("%s", a.raw)
	}
	if a := b.list("", "Authorization", "Bearer pb_agency"); len(a.items()) != 0 {
		t.Errorf("without the name: %s", a.raw)
	}
	b.list("?userId=nobody", "Authorization", "Bearer pb_agency").wants(t, 404, "NOT_FOUND")
	b.list("", "Authorization", "Bearer pb_accounts").wants(t, 403, "MISSING_SCOPE")
}
