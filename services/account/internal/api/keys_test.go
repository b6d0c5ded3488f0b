package api

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"postbus.dev/services/internal/tenant"
)

func TestAKeyIsShownOnceAndWorksAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	admin := b.key(b.alice)
	made := b.send(admin, http.MethodPost, keysPath, `{"name":"ci","scopes":["accounts","publish","accounts"],"expiresAt":"2999-01-01T00:00:00+02:00"}`)
	value, _ := made.data["key"].(string)
	if made.status != http.StatusCreated || made.header.Get("Cache-Control") != "no-store" || !strings.HasPrefix(value, "pb_") || made.data["name"] != "ci" ||
		fmt.Sprint(made.data["scopes"]) != "[accounts publish]" || made.data["expiresAt"] != "2998-12-31T22:00:00Z" {
		t.Fatalf("%d %v %s", made.status, made.header, made.raw)
	}
	if a := b.send(value, http.MethodGet, accountsPath, ""); a.status != http.StatusOK {
		t.Errorf("%d %s", a.status, a.raw)
	}
	list := b.send(value, http.MethodGet, keysPath, "")
	if strings.Contains(list.raw, value[3:]) || strings.Contains(b.logs.String(), value[3:]) {
		t.Error("shown again")
	}
	items, _ := list.data["items"].([]any)
	if len(items) != 2 || items[1].(map[string]any)["keyId"] != made.data["keyId"] || items[1].(map[string]any)["lastUsedAt"] == nil {
		t.Errorf("listed as %s", list.raw)
	}
}

func TestARevokedKeyIsRefusedAndStaysInTheList(t *testing.T) {
	t.Parallel()
	b := setup(t)
	admin := b.key(b.alice, tenant.ScopeAdmin, tenant.ScopePublish)
	made := b.send(admin, http.MethodPost, keysPath, `{"name":"ci","scopes":["publish"]}`)
	value, id := made.data["key"].(string), made.data["keyId"].(string)
	if a := b.send(value, http.MethodGet, keysPath, ""); a.status != http.StatusOK {
		t.Fatal(a.raw)
	}
	for range 2 {
		if a := b.send(admin, http.MethodDelete, keysPath+"/"+id, ""); a.status != http.StatusOK || a.data["revokedAt"] == nil || a.data["keyId"] != id {
			t.Errorf("%d %s", a.status, a.raw)
		}
	}
	b.send(value, http.MethodGet, keysPath, "").wants(t, 401, "UNAUTHORIZED")
	if ids, _ := b.listed(admin, keysPath+"?limit=1", "keyId"); len(ids) != 2 || ids[1] != id {
		t.Errorf("listed %v", ids)
	}
}

func TestAKeyGivesNothingThatItLacks(t *testing.T) {
	t.Parallel()
	b := setup(t)
	expires := time.Now().Add(time.Hour).Truncate(time.Second)
	admin := b.keyWith(tenant.KeySpec{UserID: b.alice.ID, Scopes: []tenant.Scope{tenant.ScopeAdmin, tenant.ScopePublish}, ExpiresAt: expires})
	before := b.state()
	for _, scope := range []string{"accounts", "on_behalf"} {
		a := b.send(admin, http.MethodPost, keysPath, `{"name":"x","scopes":["publish","`+scope+`"]}`)
		a.wants(t, 403, "MISSING_SCOPE")
		if !strings.Contains(a.err.Message, scope) {
			t.Errorf("answered %s", a.raw)
		}
	}
	late := expires.Add(time.Second).UTC().Format(time.RFC3339)
	a := b.send(admin, http.MethodPost, keysPath, `{"name":"x","scopes":["publish"],"expiresAt":"`+late+`"}`)
	a.wants(t, 400, "VALIDATION_ERROR")
	if a.faults() != "/expiresAt before" || b.state() != before {
		t.Errorf("answered %s", a.raw)
	}
	made := b.send(admin, http.MethodPost, keysPath, `{"name":"x","scopes":["admin"]}`)
	if made.data["expiresAt"] != expires.UTC().Format(time.RFC3339) {
		t.Errorf("without a time it expires %v, not with its maker", made.data["expiresAt"])
	}
}

func TestOnlyAnAdministratorMakesKeys(t *testing.T) {
	t.Parallel()
	b := setup(t)
	weak := b.key(b.alice, tenant.ScopePublish, tenant.ScopeAccounts, tenant.ScopeOnBehalf)
	other := b.send(b.key(b.alice), http.MethodPost, keysPath, `{"name":"x","scopes":["publish"]}`).data["keyId"].(string)
	before := b.state()
	b.send(weak, http.MethodPost, keysPath, `{"name":"x","scopes":["publish"]}`).wants(t, 403, "MISSING_SCOPE")
	b.send(weak, http.MethodDelete, keysPath+"/"+other, "").wants(t, 403, "MISSING_SCOPE")
	b.send(weak, http.MethodGet, keysPath+"?userId=bob", "").wants(t, 403, "MISSING_SCOPE")
	if b.state() != before {
		t.Error("something was changed")
	}
	own := query[uuid.UUID](b, `SELECT id FROM api_keys ORDER BY id LIMIT 1`)
	if a := b.send(weak, http.MethodDelete, keysPath+"/"+own.String(), ""); a.status != http.StatusOK {
		t.Errorf("it may not end itself: %d %s", a.status, a.raw)
	}
	b.send(weak, http.MethodGet, keysPath, "").wants(t, 401, "UNAUTHORIZED")
}

func TestKeysOfAnotherUserAreManagedByWhoMay(t *testing.T) {
	t.Parallel()
	b := setup(t)
	agency := b.key(b.alice, tenant.ScopeAdmin, tenant.ScopeOnBehalf, tenant.ScopePublish)
	made := b.send(agency, http.MethodPost, keysPath, `{"userId":"bob","name":"x","scopes":["publish"]}`)
	id, _ := made.data["keyId"].(string)
	if ids, _ := b.listed(agency, keysPath+"?userId=bob", "keyId"); !slices.Equal(ids, []string{id}) {
		t.Errorf("listed %v, made %s", ids, made.raw)
	}
	b.send(agency, http.MethodDelete, keysPath+"/"+id, "").wants(t, 404, "NOT_FOUND") // hers are not meant
	if a := b.send(agency, http.MethodDelete, keysPath+"/"+id+"?userId=bob", ""); a.status != http.StatusOK {
		t.Errorf("%d %s", a.status, a.raw)
	}
	b.send(agency, http.MethodPost, keysPath, `{"userId":"nobody","name":"x","scopes":["publish"]}`).wants(t, 404, "NOT_FOUND")
}

func TestABadKeyNamesEveryFault(t *testing.T) {
	t.Parallel()
	b := setup(t)
	key := b.key(b.alice)
	before := b.state()
	for body, want := range map[string]string{
		`{}`:                      "/name required, /scopes required",
		`{"name":"","scopes":[]}`: "/name minLength, /scopes minItems",
		`{"name":"a\nb","scopes":["publish","root"]}`:                          "/name pattern, /scopes/1 enum",
		`{"name":"a","scopes":"publish"}`:                                      "/scopes type",
		`{"name":"a","scopes":["publish"],"expiresAt":"tomorrow"}`:             "/expiresAt format",
		`{"name":"a","scopes":["publish"],"expiresAt":"2020-01-01T00:00:00Z"}`: "/expiresAt after",
		`{"name":"a","scopes":["publish"],"expiresAt":"2999-01-01T00:00:00"}`:  "/expiresAt format",
		`{"name":"a","scopes":["publish"],"key":"pb_mine"}`:                    "/key additionalProperties",
	} {
		a := b.send(key, http.MethodPost, keysPath, body)
		a.wants(t, 400, "VALIDATION_ERROR")
		if got := a.faults(); got != want {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
	}
	if b.state() != before {
		t.Error("something was stored")
	}
}

// A key that is still believed here although it was revoked elsewhere a moment
// ago makes no successor.
func TestAKeyThatWasRevokedElsewhereMakesNoOther(t *testing.T) {
	t.Parallel()
	b := setup(t)
	key := b.key(b.alice)
	b.send(key, http.MethodGet, keysPath, "")
	b.exec(`UPDATE api_keys SET revoked_at = now()`)
	b.send(key, http.MethodPost, keysPath, `{"name":"x","scopes":["publish"]}`).wants(t, 401, "UNAUTHORIZED")
	if n := query[int](b, `SELECT count(*) FROM api_keys`); n != 1 {
		t.Errorf("%d keys", n)
	}
}

func TestTheDocumentedScopesAreThoseThatThereAre(t *testing.T) {
	t.Parallel()
	b := setup(t)
	doc, err := b.http.Document()
	if err != nil {
		t.Fatal(err)
	}
	all := make([]string, 0, 4)
	for _, s := range tenant.Scopes() {
		all = append(all, `"`+string(s)+`"`)
	}
	flat := strings.Join(strings.Fields(string(doc)), "")
	if n := strings.Count(flat, `"enum":[`+strings.Join(all, ",")+`]`); n != 3 { // of what is sent, and of both answers
		t.Errorf("documented %d times", n)
	}
}
