package connect

import (
	"fmt"
	"net/http"
	"testing"

	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/httpapi"
)

func TestWhoMayMakeALink(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const path = "/api/connect/example/links"
	b.call(http.MethodPost, path, "", `{}`).failure(t, 401, httpapi.CodeUnauthorized)
	b.call(http.MethodPost, path, "pb_unknown", `{}`).failure(t, 401, httpapi.CodeUnauthorized)
	b.call(http.MethodPost, path, "pb_publish", `{}`).failure(t, 403, httpapi.CodeMissingScope)
	b.call(http.MethodPost, path, "pb_alice", `{"userId":"bob"}`).failure(t, 403, httpapi.CodeMissingScope)
	b.call(http.MethodPost, path, "pb_alice", `{"userId":"nobody"}`).failure(t, 403, httpapi.CodeMissingScope) // as for one who is there
	b.call(http.MethodPost, path, "pb_agency", `{"userId":"nobody"}`).failure(t, 404, httpapi.CodeNotFound)
	b.call(http.MethodPost, path, "pb_agency", `{"userId":"bob\r\nforged"}`).failure(t, 400, httpapi.CodeValidation)
	b.call(http.MethodPost, path, "pb_agency", `{"userId":"bob' OR '1'='1"}`).failure(t, 404, httpapi.CodeNotFound)
	b.call(http.MethodPost, "/api/connect/mute/links", "pb_alice", `{}`).failure(t, 404, httpapi.CodeNotFound)
	b.call(http.MethodPost, "/api/connect/nowhere/links", "pb_alice", `{}`).failure(t, 404, httpapi.CodeNotFound)
	for _, body := range []string{``, `[]`, `{"userId":7}`, `{"user":"bob"}`, `{"userId":""}`, `{"userId":"\u0000"}`, `{"returnTo":""}`, `{"returnTo":null}`} {
		b.call(http.MethodPost, path, "pb_agency", body).failure(t, 400, httpapi.CodeValidation)
	}
	for _, body := range []string{`{"userId":"alice"}`, `{}`} {
		b.link("pb_alice", body)
	}
	if n := query[int](b, `SELECT count(*) FROM connect_links`); n != 2 {
		t.Errorf("%d links were made", n)
	}
	b.link("pb_agency", `{"userId":"bob"}`)
	if got := query[int](b, `SELECT count(*) FROM connect_links WHERE user_id = $1`, b.bob); got != 1 {
		t.Error("the link is not for whom it was asked")
	}
}

func TestWhoMayStartWithAKey(t *testing.T) {
	t.Parallel()
	b := setup(t)
	at := "/api/connect/example"
	b.call(http.MethodGet, at, "", "").failure(t, 401, httpapi.CodeUnauthorized)
	b.call(http.MethodGet, at, "pb_unknown", "").failure(t, 401, httpapi.CodeUnauthorized)
	b.call(http.MethodGet, at, "pb_publish", "").failure(t, 403, httpapi.CodeMissingScope)
	b.call(http.MethodGet, at+"?userId=bob", "pb_alice", "").failure(t, 403, httpapi.CodeMissingScope)
	b.call(http.MethodGet, at+"?userId=nobody", "pb_agency", "").failure(t, 404, httpapi.CodeNotFound)
	b.call(http.MethodGet, at+"?userId=a&userId=b", "pb_agency", "").failure(t, 400, httpapi.CodeValidation)
	b.call(http.MethodGet, at+"?userId=%00", "pb_agency", "").failure(t, 400, httpapi.CodeValidation)
	b.call(http.MethodGet, "/api/connect/nowhere", "pb_alice", "").failure(t, 404, httpapi.CodeNotFound)
	b.provider.authFail = fmt.Errorf("EXAMPLE_CLIENT_ID: %w", connectors.ErrNotConfigured)
	b.call(http.MethodGet, at, "pb_alice", "").failure(t, 503, httpapi.CodeServiceUnavailable)
	b.provider.authFail = &connectors.Error{Kind: connectors.KindRetry}
	b.call(http.MethodGet, at, "pb_alice", "").failure(t, 503, httpapi.CodeProviderUnavailable)
	b.browser().open(b.link("pb_alice", `{}`)).page(t, 502, "does not answer as it should")
}
