package api

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"postbus.dev/services/internal/httpapi"
	"postbus.dev/services/internal/postgres"
	"postbus.dev/services/internal/tenant"
)

// route is one operation and a good call of it. {account}, {key} and {user} stand
// for what is Alice's.
type route struct {
	id, method, path, body string
	scopes                 []tenant.Scope // that it needs
}

func routes() []route {
	accounts, admin := []tenant.Scope{tenant.ScopeAccounts}, []tenant.Scope{tenant.ScopeAdmin}
	both := []tenant.Scope{tenant.ScopeAdmin, tenant.ScopeOnBehalf}
	return []route{
		{"list-accounts", http.MethodGet, accountsPath, "", accounts},
		{"get-account", http.MethodGet, accountsPath + "/{account}", "", accounts},
		{"import-account", http.MethodPost, importPath, `{"provider":"example","accessToken":"x"}`, accounts},
		{"refresh-account", http.MethodPost, accountsPath + "/{account}/refresh", "", accounts},
		{"disconnect-account", http.MethodPost, accountsPath + "/{account}/disconnect", "", accounts},
		{"create-user", http.MethodPost, usersPath, `{"userId":"carol"}`, both},
		{"list-users", http.MethodGet, usersPath, "", both},
		{"get-user", http.MethodGet, usersPath + "/{user}", "", admin},
		{"delete-user", http.MethodDelete, usersPath + "/{user}", "", admin},
		{"create-key", http.MethodPost, keysPath, `{"name":"n","scopes":["admin"]}`, admin},
		{"list-keys", http.MethodGet, keysPath, "", nil},
		{"revoke-key", http.MethodDelete, keysPath + "/{key}", "", admin},
	}
}

// target is Alice's account and key, or somebody else's.
type target struct{ account, key, user string }

func (t target) of(path string) string {
	return strings.NewReplacer("{account}", t.account, "{key}", t.key, "{user}", t.user).Replace(path)
}

// attacked is an API with a target of Alice's and one of Bob's.
func attacked(t *testing.T) (b *bundle, alices, bobs target) {
	t.Helper()
	b = setup(t)
	of := func(u tenant.User) target {
		k, _, err := b.tenants.CreateKey(t.Context(), tenant.KeySpec{UserID: u.ID, Scopes: tenant.Scopes()})
		if err != nil {
			t.Fatal(err)
		}
		return target{account: b.account(u, "acct-of-"+u.ExternalID).ID.String(), key: k.ID.String(), user: u.ExternalID}
	}
	return b, of(b.alice), of(b.bob)
}

func (r route) send(b *bundle, key string, at target) answer {
	b.Helper()
	return b.send(key, r.method, at.of(r.path), r.body)
}

// each runs f for every route. What f sends must change nothing, and what it
// brings into the log must stay within its lines.
func each(t *testing.T, f func(t *testing.T, b *bundle, r route, alices, bobs target)) {
	t.Helper()
	b, alices, bobs := attacked(t)
	for _, r := range routes() {
		before := b.state()
		t.Run(r.id, func(t *testing.T) { f(t, b, r, alices, bobs) })
		if b.state() != before {
			t.Errorf("%s has changed something", r.id)
		}
	}
	for line := range strings.Lines(b.logs.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("a line of the log is no line of ours: %q", line)
		}
	}
}

func TestEveryOperationOfTheDocumentIsAttacked(t *testing.T) {
	t.Parallel()
	b := setup(t)
	raw, err := b.http.Document()
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Paths map[string]map[string]struct{ OperationID string }
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	var documented, attacked []string
	for _, methods := range doc.Paths {
		for _, op := range methods {
			documented = append(documented, op.OperationID)
		}
	}
	for _, r := range routes() {
		attacked = append(attacked, r.id)
	}
	slices.Sort(documented)
	slices.Sort(attacked)
	if !slices.Equal(documented, attacked) {
		t.Errorf("documented %v\nattacked %v", documented, attacked)
	}
}

func TestEveryRouteWorksWithTheScopesThatItNeeds(t *testing.T) {
	t.Parallel()
	for _, r := range routes() {
		t.Run(r.id, func(t *testing.T) {
			t.Parallel()
			b, alices, _ := attacked(t)
			scopes := r.scopes
			if scopes == nil {
				scopes = []tenant.Scope{tenant.ScopePublish}
			}
			if a := r.send(b, b.key(b.alice, scopes...), alices); a.status >= 300 {
				t.Errorf("%d %s", a.status, a.raw)
			}
		})
	}
}

func TestNoRouteAnswersWithoutAKeyThatIsValid(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bundle, r route, alices, _ target) {
		r.send(b, "", alices).wants(t, 401, "UNAUTHORIZED")
		expired, revoked := b.key(b.alice), b.key(b.alice)
		b.exec(`UPDATE api_keys SET expires_at = now() WHERE key_sha256 = sha256($1)`, []byte(expired))
		b.exec(`UPDATE api_keys SET revoked_at = now() WHERE key_sha256 = sha256($1)`, []byte(revoked))
		bodies := map[string]bool{}
		for _, key := range []string{tenant.NewKey().Reveal(), expired, revoked, "pb_' OR true --", "x"} {
			a := r.send(b, key, alices)
			a.wants(t, 401, "UNAUTHORIZED")
			bodies[a.withoutMeta()] = true
			if a.header.Get("Www-Authenticate") == "" {
				t.Error("no WWW-Authenticate")
			}
		}
		if len(bodies) != 1 {
			t.Errorf("it tells why a key is refused: %v", bodies)
		}
	})
}

func TestNoRouteWorksWithoutItsScopes(t *testing.T) {
	t.Parallel()
	b, alices, _ := attacked(t)
	for _, r := range routes() {
		for _, missing := range r.scopes {
			has := slices.DeleteFunc(slices.Clone(tenant.Scopes()), func(s tenant.Scope) bool { return s == missing })
			key := b.key(b.alice, has...)
			before := b.state()
			a := r.send(b, key, alices)
			a.wants(t, 403, "MISSING_SCOPE")
			if !strings.Contains(a.err.Message, string(missing)) || b.state() != before {
				t.Errorf("%s without %s: %s", r.id, missing, a.raw)
			}
		}
	}
}

func TestAnotherTenantsObjectLooksLikeNone(t *testing.T) {
	t.Parallel()
	unknown := target{account: unknownID.String(), key: unknownID.String()}
	b, _, bobs := attacked(t)
	key := b.key(b.alice)
	for _, r := range routes() {
		if !strings.Contains(r.path, "{account}") && !strings.Contains(r.path, "{key}") {
			continue
		}
		before := b.state()
		none := r.send(b, key, unknown)
		none.wants(t, 404, "NOT_FOUND")
		if a := r.send(b, key, bobs); a.status != none.status || a.withoutMeta() != none.withoutMeta() || len(a.header) != len(none.header) {
			t.Errorf("%s: %d %v %s\nunknown: %v %s", r.id, a.status, a.header, a.raw, none.header, none.raw)
		}
		if b.state() != before {
			t.Errorf("%s has changed what is another tenant's", r.id)
		}
	}
}

func TestNoRouteTellsWhetherThereIsAUserWhoMayNotBeNamed(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bundle, r route, alices, _ target) {
		if r.id == "list-users" {
			t.Skip("it names no user")
		}
		key := b.key(b.alice, tenant.ScopeAccounts, tenant.ScopeAdmin)
		bodies := map[string]bool{}
		for _, name := range []string{"bob", "nobody"} {
			at, path, body := alices, r.path, r.body
			switch {
			case strings.Contains(path, "{user}"):
				at.user = name
			case r.id == "create-user":
				body = `{"userId":"` + name + `"}`
			case body != "":
				body = strings.Replace(body, "{", `{"userId":"`+name+`",`, 1)
			default:
				path += "?userId=" + name
			}
			a := b.send(key, r.method, at.of(path), body)
			a.wants(t, 403, "MISSING_SCOPE")
			bodies[a.withoutMeta()] = true
		}
		if len(bodies) != 1 {
			t.Errorf("answered %v", bodies)
		}
	})
}

// hostile are texts that must stay texts.
func hostile() []string {
	return []string{
		"'; DROP TABLE users; --", `" OR 1=1 --`, "\\'; SELECT pg_sleep(10); --", "$1", "a\r\nlevel=ERROR msg=forged", "\x1b[2J", "a\x00b", "\xff\xfe",
		"{{7*7}}", "../../etc/passwd", "%00", "<script>alert(1)</script>", strings.Repeat("x", 5000), "\u202e", "${jndi:ldap://x}",
	}
}

func TestHostileTextsAreTextsOnEveryRoute(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bundle, r route, alices, _ target) {
		key := b.key(b.alice)
		for _, text := range hostile() {
			at := alices
			if strings.Contains(r.path, "{") {
				at = target{url.PathEscape(text), url.PathEscape(text), url.PathEscape(text)}
			}
			for _, name := range []string{"userId", "cursor", "limit", "provider", "status", "nothing"} {
				path := at.of(r.path) + "?" + name + "=" + url.QueryEscape(text)
				if r.method != http.MethodGet && !strings.Contains(r.path, "{") {
					continue // what is sent is the body, below
				}
				req := request(b.Context(), r.method, path, r.body)
				req.Header.Set("Authorization", "Bearer "+key)
				req.Header["X-Request-Id"] = []string{text}
				refusedOrEmpty(t, b.do(req), path)
			}
			if r.id == "create-user" {
				continue // whose id may be nearly any text: the next test
			}
			for _, body := range withText(t, r.body, text) {
				refusedOrEmpty(t, b.send(key, r.method, at.of(r.path), body), body)
			}
		}
	})
}

func TestAUserWithAHostileIDIsAUserLikeOthers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	key := b.key(b.alice)
	for _, text := range hostile() {
		if tenant.ValidExternalID(text) != "" {
			continue
		}
		body, _ := json.Marshal(map[string]string{"userId": text})
		if a := b.send(key, http.MethodPost, usersPath, string(body)); a.status != http.StatusCreated || a.data["userId"] != text {
			t.Errorf("%q: created as %d %s", text, a.status, a.raw)
		}
		path := usersPath + "/" + url.PathEscape(text)
		if a := b.send(key, http.MethodGet, path, ""); a.status != http.StatusOK || a.data["userId"] != text {
			t.Errorf("%q: found as %d %s", text, a.status, a.raw)
		}
		if a := b.send(key, http.MethodGet, keysPath+"?userId="+url.QueryEscape(text), ""); a.status != http.StatusOK {
			t.Errorf("%q: named as %d %s", text, a.status, a.raw)
		}
		a := b.send(key, http.MethodDelete, path, "")
		if a.status != http.StatusAccepted || a.header.Get("Location") != path {
			t.Errorf("%q: deleted as %d %v %s", text, a.status, a.header, a.raw)
		}
	}
	if n := query[int](b, `SELECT count(*) FROM users WHERE deleting_at IS NULL`); n != 2 {
		t.Errorf("%d users are left of two", n)
	}
}

// refusedOrEmpty: a filter that fits nothing is no fault.
func refusedOrEmpty(t *testing.T, a answer, what string) {
	t.Helper()
	items, isList := a.data["items"].([]any)
	if a.status >= 500 || a.status < 300 && (!isList || len(items) > 0) {
		t.Errorf("%.200q: %d %s", what, a.status, a.raw)
	}
	if strings.ContainsAny(a.header.Get("X-Request-Id"), "\r\n\x00") {
		t.Errorf("request id %q", a.header.Get("X-Request-Id"))
	}
}

// withText returns the body with the text in the place of each of its members.
func withText(t *testing.T, body, text string) (bodies []string) {
	t.Helper()
	if body == "" {
		return nil
	}
	var members map[string]any
	if err := json.Unmarshal([]byte(body), &members); err != nil {
		t.Fatal(err)
	}
	for name := range members {
		changed := map[string]any{"userId": "nobody"}
		for k, v := range members {
			changed[k] = v
		}
		changed[name] = text
		raw, err := json.Marshal(changed)
		if err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, string(raw))
	}
	return bodies
}

func TestBodiesOfTheWrongKindAreRefused(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bundle, r route, alices, _ target) {
		if r.body == "" {
			t.Skip("it takes no body")
		}
		key := b.key(b.alice)
		ask := func(body, contentType string) answer {
			req := request(b.Context(), r.method, alices.of(r.path), body)
			req.Header.Set("Authorization", "Bearer "+key)
			req.Header.Set("Content-Type", contentType)
			return b.do(req)
		}
		ask(strings.Repeat(" ", httpapi.MaxBodyBytes)+r.body, "application/json").wants(t, 413, "VALIDATION_ERROR")
		for _, contentType := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "nonsense;"} {
			ask(r.body, contentType).wants(t, 415, "VALIDATION_ERROR")
		}
		for _, body := range []string{"", "{", "[]", "null", `"x"`, r.body + r.body, strings.Replace(r.body, "{", `{"surprise":1,`, 1), strings.Repeat("[", 100_000)} {
			ask(body, "application/json").wants(t, 400, "VALIDATION_ERROR")
		}
	})
}

func TestWhatNoRouteKnowsIsRefused(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bundle, r route, alices, _ target) {
		key := b.key(b.alice)
		a := b.send(key, r.method, alices.of(r.path)+"?surprise=1", r.body)
		a.wants(t, 400, "VALIDATION_ERROR")
		if a.faults() != "query.surprise invalid" {
			t.Errorf("answered %s", a.raw)
		}
		if strings.Contains(r.path, "{account}") || strings.Contains(r.path, "{key}") {
			r.send(b, key, target{account: "7", key: "7"}).wants(t, 400, "VALIDATION_ERROR")
		}
	})
}

func TestADatabaseThatDoesNotAnswerIsSaidSo(t *testing.T) {
	t.Parallel()
	b := setupWith(t, postgres.Config{LockTimeout: 50 * time.Millisecond})
	account := b.account(b.alice, "a1")
	key := b.key(b.alice)
	if a := b.send(key, http.MethodGet, keysPath, ""); a.status != http.StatusOK { // from now on the key is believed
		t.Fatal(a.raw)
	}
	tx, err := b.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(b.Context()) }()
	if _, err := tx.Exec(t.Context(), `LOCK TABLE users, api_keys, oauth_accounts IN ACCESS EXCLUSIVE MODE`); err != nil {
		t.Fatal(err)
	}
	for _, r := range routes() {
		a := r.send(b, key, target{account.ID.String(), unknownID.String(), "alice"})
		a.wants(t, 503, "SERVICE_UNAVAILABLE")
		if strings.Contains(a.raw, "SQLSTATE") || strings.Contains(a.raw, "lock") {
			t.Errorf("%s tells how it is built: %s", r.id, a.raw)
		}
	}
}
