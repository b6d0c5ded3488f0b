package api

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"postbus.dev/events"
	"postbus.dev/services/internal/tenant"
)

func TestAUserIsCreatedOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	key := b.key(b.alice, tenant.ScopeAdmin, tenant.ScopeOnBehalf)
	first := b.send(key, http.MethodPost, usersPath, `{"userId":"carol / ü"}`)
	again := b.send(key, http.MethodPost, usersPath, `{"userId":"carol / ü"}`)
	if first.status != http.StatusCreated || again.status != http.StatusOK || first.data["userId"] != "carol / ü" || fmt.Sprint(first.data) != fmt.Sprint(again.data) {
		t.Errorf("%d %s, again %d %s", first.status, first.raw, again.status, again.raw)
	}
	if a := b.send(key, http.MethodGet, usersPath+"/"+url.PathEscape("carol / ü"), ""); a.status != http.StatusOK || fmt.Sprint(a.data) != fmt.Sprint(first.data) {
		t.Errorf("found as %d %s", a.status, a.raw)
	}
	if n := query[int](b, `SELECT count(*) FROM users`); n != 3 {
		t.Errorf("%d users", n)
	}
}

func TestAUserWithABadIDIsNotCreated(t *testing.T) {
	t.Parallel()
	b := setup(t)
	key := b.key(b.alice)
	before := b.state()
	for body, want := range map[string]string{
		`{}`:                            "/userId required",
		`{"userId":""}`:                 "/userId minLength",
		`{"userId":7}`:                  "/userId type",
		`{"userId":"a\u0000"}`:          "/userId characters",
		`{"userId":"a\r\nb"}`:           "/userId format",
		`{"userId":".."}`:               "/userId format",
		`{"userId":"a","name":"Alice"}`: "/name additionalProperties",
		`{"userId":"` + strings.Repeat("ü", 256) + `"}`: "/userId maxLength",
	} {
		a := b.send(key, http.MethodPost, usersPath, body)
		a.wants(t, 400, "VALIDATION_ERROR")
		if got := a.faults(); got != want {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
	}
	if b.state() != before {
		t.Error("something was stored")
	}
}

func TestUsersAreListedInPages(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.user("carol")
	ids, sizes := b.listed(b.key(b.alice), usersPath+"?limit=2", "userId")
	if fmt.Sprint(ids, sizes) != "[alice bob carol] [2 1]" {
		t.Errorf("listed %v in pages of %v", ids, sizes)
	}
}

func TestDeletingAUserStopsHerKeysAndDisconnectsHerAccounts(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hers, admin := b.key(b.bob), b.key(b.alice)
	b.account(b.bob, "b1")
	b.account(b.bob, "b2")
	b.account(b.alice, "a1")
	b.exec(`UPDATE oauth_accounts SET status = 'disconnected', access_token = NULL WHERE provider_account_id = 'b2'`)
	if a := b.send(hers, http.MethodGet, accountsPath, ""); a.status != http.StatusOK { // believed from now on
		t.Fatal(a.raw)
	}
	for range 2 {
		a := b.send(admin, http.MethodDelete, usersPath+"/bob", "")
		if a.status != http.StatusAccepted || a.header.Get("Location") != "/api/users/bob" || a.data["deletingAt"] == nil {
			t.Fatalf("%d %v %s", a.status, a.header, a.raw)
		}
	}
	b.send(hers, http.MethodGet, accountsPath, "").wants(t, 401, "UNAUTHORIZED")
	if n := query[int](b, `SELECT count(*) FROM oauth_accounts WHERE user_id = $1 AND status = 'disconnecting' AND erase AND disconnect_reason = 'user_deleted'`, b.bob.ID); n != 2 {
		t.Errorf("%d of her 2 accounts are being disconnected", n)
	}
	connected := events.TypeAccountConnected + " "
	if got := b.told(); got != connected+connected+connected+events.TypeAccountDisconnecting+" "+events.TypeAccountDisconnecting {
		t.Errorf("told %s", got)
	}
	if a := b.send(admin, http.MethodGet, usersPath+"/bob", ""); a.status != http.StatusOK || a.data["deletingAt"] == nil {
		t.Errorf("%d %s", a.status, a.raw)
	}
	b.send(admin, http.MethodPost, usersPath, `{"userId":"bob"}`).wants(t, 409, "CONFLICT")
	b.send(admin, http.MethodPost, keysPath, `{"userId":"bob","name":"late","scopes":["publish"]}`).wants(t, 409, "CONFLICT")
}

func TestAUserMayDeleteHerself(t *testing.T) {
	t.Parallel()
	b := setup(t)
	key := b.key(b.bob, tenant.ScopeAdmin)
	b.send(key, http.MethodDelete, usersPath+"/alice", "").wants(t, 403, "MISSING_SCOPE")
	if a := b.send(key, http.MethodDelete, usersPath+"/bob", ""); a.status != http.StatusAccepted {
		t.Errorf("%d %s", a.status, a.raw)
	}
	b.send(key, http.MethodGet, usersPath+"/bob", "").wants(t, 401, "UNAUTHORIZED")
}

// What is to be seen of a user whom somebody may not name does not depend on
// whether there is one.
func TestAnAdministratorOfOneTenantSeesNoOther(t *testing.T) {
	t.Parallel()
	b := setup(t)
	key := b.key(b.alice, tenant.ScopeAdmin, tenant.ScopePublish, tenant.ScopeAccounts)
	if a := b.send(key, http.MethodGet, usersPath+"/alice", ""); a.status != http.StatusOK || a.data["userId"] != "alice" {
		t.Errorf("herself: %d %s", a.status, a.raw)
	}
	for _, c := range []struct{ method, path, body string }{
		{http.MethodGet, usersPath + "/%s", ""},
		{http.MethodDelete, usersPath + "/%s", ""},
		{http.MethodPost, usersPath, `{"userId":"%s"}`},
		{http.MethodGet, usersPath, ""},
		{http.MethodGet, keysPath + "?userId=%s", ""},
		{http.MethodPost, keysPath, `{"userId":"%s","name":"x","scopes":["publish"]}`},
		{http.MethodGet, accountsPath + "?userId=%s", ""},
	} {
		answers := map[string]bool{}
		for _, name := range []string{"bob", "nobody"} {
			a := b.send(key, c.method, strings.ReplaceAll(c.path, "%s", name), strings.ReplaceAll(c.body, "%s", name))
			a.wants(t, 403, "MISSING_SCOPE")
			answers[a.withoutMeta()] = true
		}
		if len(answers) != 1 {
			t.Errorf("%s %s tells whether there is such a user: %v", c.method, c.path, answers)
		}
	}
}
