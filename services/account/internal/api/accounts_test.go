package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"postbus.dev/events"
	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/oauthaccount"
	"postbus.dev/services/internal/tenant"
)

// listed are the ids of a list, page by page, with the pages' sizes.
func (b *bundle) listed(key, path, field string) (ids, sizes []string) {
	b.Helper()
	for cursor := ""; ; {
		a := b.send(key, http.MethodGet, path+cursor, "")
		if a.status != http.StatusOK {
			b.Fatalf("%s: %d %s", path, a.status, a.raw)
		}
		items, _ := a.data["items"].([]any)
		for _, item := range items {
			ids = append(ids, item.(map[string]any)[field].(string))
		}
		sizes = append(sizes, fmt.Sprint(len(items)))
		next, more := a.data["nextCursor"].(string)
		if !more {
			return ids, sizes
		}
		cursor = "&cursor=" + next
	}
}

func TestAccountsAreListedInPagesAndFiltered(t *testing.T) {
	t.Parallel()
	b := setup(t)
	key := b.key(b.alice, tenant.ScopeAccounts)
	var want []string
	for i := range 5 {
		want = append(want, b.account(b.alice, fmt.Sprint("a", i)).ID.String())
	}
	b.account(b.bob, "b0")
	b.exec(`UPDATE oauth_accounts SET status = 'reauth_required' WHERE provider_account_id = 'a1'`)
	b.exec(`UPDATE oauth_accounts SET provider = 'other' WHERE provider_account_id = 'a2'`)
	for path, expect := range map[string]string{
		"?limit=2":                                fmt.Sprint(want, " 2 2 1"),
		"?limit=5":                                fmt.Sprint(want, " 5"),
		"?status=reauth_required&limit=2":         fmt.Sprint(want[1:2], " 1"),
		"?provider=other&limit=2":                 fmt.Sprint(want[2:3], " 1"),
		"?provider=example&status=active&limit=1": fmt.Sprint([]string{want[0], want[3], want[4]}, " 1 1 1"),
		"?provider=nobody&limit=1":                "[] 0",
	} {
		ids, sizes := b.listed(key, accountsPath+path, "accountId")
		if got := fmt.Sprint(ids, " ", strings.Join(sizes, " ")); got != expect {
			t.Errorf("%s: %s, want %s", path, got, expect)
		}
	}
}

func TestAnAccountIsShownWithItsHealth(t *testing.T) {
	t.Parallel()
	b := setup(t)
	account := b.account(b.alice, "a1")
	b.exec(`UPDATE oauth_accounts SET username = 'ada', scope = 'read,publish  more', expires_at = '2027-01-01T00:00:00Z', refresh_expires_at = '2028-01-01T00:00:00Z',
  refresh_after = '2026-12-24T00:00:00Z', failure_count = 3, failure_class = 'provider_unavailable', failed_at = '2026-11-22T10:00:00Z',
  created_at = '2026-11-01T00:00:00Z', updated_at = '2026-11-02T00:00:00Z', token_version = 4`)
	b.provider.set(func(p *provider) { p.quota = connectors.Quota{Used: 2, Total: 50, Window: 24 * time.Hour} })
	a := b.send(b.key(b.alice, tenant.ScopeAccounts), http.MethodGet, accountsPath+"/"+account.ID.String(), "")
	got, _ := json.Marshal(a.data)
	want := `{"accountId":"` + account.ID.String() + `","createdAt":"2026-11-01T00:00:00Z",` +
		`"lastFailure":{"at":"2026-11-22T10:00:00Z","class":"provider_unavailable","count":3},"provider":"example","providerAccountId":"a1",` +
		`"quota":{"known":true,"remaining":48,"total":50,"used":2,"windowSeconds":86400},"scopes":["read","publish","more"],"status":"active",` +
		`"token":{"expiresAt":"2027-01-01T00:00:00Z","nextRefreshAt":"2026-12-24T00:00:00Z","refreshExpiresAt":"2028-01-01T00:00:00Z","version":4},` +
		`"updatedAt":"2026-11-02T00:00:00Z","userId":"alice","username":"ada"}`
	if a.status != http.StatusOK || string(got) != want {
		t.Errorf("%d %s\nwant %s", a.status, got, want)
	}
}

func TestADisconnectedAccountHasNoTokenAndSaysWhy(t *testing.T) {
	t.Parallel()
	b := setup(t)
	account := b.account(b.alice, "a1")
	b.exec(`UPDATE oauth_accounts SET status = 'disconnected', access_token = NULL, disconnect_reason = 'revoked_at_provider'`)
	a := b.send(b.key(b.alice), http.MethodGet, accountsPath+"/"+account.ID.String(), "")
	if a.data["status"] != "disconnected" || a.data["disconnectReason"] != "revoked_at_provider" || a.data["token"] != nil || a.data["quota"] != nil {
		t.Errorf("shown as %s", a.raw)
	}
	if len(b.provider.asked) != 0 {
		t.Error("its provider was asked")
	}
}

func TestAQuotaThatIsNotToldIsUnknownAndHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	b := setup(t)
	account := b.account(b.alice, "a1")
	b.provider.set(func(p *provider) { p.quotaErr = errors.New("the provider is down") })
	key := b.key(b.alice)
	for range 3 {
		a := b.send(key, http.MethodGet, accountsPath+"/"+account.ID.String(), "")
		if quota, _ := json.Marshal(a.data["quota"]); a.status != http.StatusOK || string(quota) != `{"known":false}` {
			t.Errorf("%d %s", a.status, a.raw)
		}
	}
	if n := len(b.provider.asked); n != 1 || b.provider.asked[0].AccessToken.Reveal() != "token-of-a1" {
		t.Errorf("asked %d times within a minute: %+v", n, b.provider.asked)
	}
	if b.provider.patience <= 0 || b.provider.patience > quotaLimit {
		t.Errorf("waits for %v", b.provider.patience)
	}
}

func TestAQuotaIsReadAgainAfterAMinute(t *testing.T) {
	t.Parallel()
	b := setup(t)
	account, other := b.account(b.alice, "a1"), b.account(b.alice, "a2")
	key := b.key(b.alice)
	left := func(account oauthaccount.Account) any {
		quota, _ := b.send(key, http.MethodGet, accountsPath+"/"+account.ID.String(), "").data["quota"].(map[string]any)
		return quota["remaining"]
	}
	b.provider.set(func(p *provider) { p.quota = connectors.Quota{Used: 40, Total: 50} })
	if got := left(account); got != 10.0 {
		t.Errorf("%v left", got)
	}
	b.provider.set(func(p *provider) { p.quota.Used = 60 })
	if got := left(account); got != 10.0 {
		t.Errorf("%v left a moment later", got)
	}
	if got := left(other); got != 0.0 {
		t.Errorf("%v left of another account", got)
	}
	b.api.quotas.mu.Lock()
	seen := b.api.quotas.seen[account.ID]
	if in := time.Until(seen.until); in < 50*time.Second || in > time.Minute {
		t.Errorf("shown for %v", in)
	}
	seen.until = time.Now()
	b.api.quotas.seen[account.ID] = seen
	b.api.quotas.mu.Unlock()
	if got := left(account); got != 0.0 {
		t.Errorf("%v left a minute later", got)
	}
}

func TestARefreshIsAskedFor(t *testing.T) {
	t.Parallel()
	b := setup(t)
	account := b.account(b.alice, "a1")
	a := b.send(b.key(b.alice, tenant.ScopeAccounts), http.MethodPost, accountsPath+"/"+account.ID.String()+"/refresh", "")
	if a.status != http.StatusAccepted || a.header.Get("Location") != accountsPath+"/"+account.ID.String() || a.data["status"] != "active" {
		t.Errorf("%d %v %s", a.status, a.header, a.raw)
	}
	if got := b.told(); got != events.TypeAccountConnected+" "+events.TypeTokenRefreshRequested {
		t.Errorf("told %s", got)
	}
}

func TestWhatNoRefreshHelpsIsNotAskedFor(t *testing.T) {
	t.Parallel()
	b := setup(t)
	account := b.account(b.alice, "a1")
	key := b.key(b.alice)
	path := accountsPath + "/" + account.ID.String() + "/refresh"
	b.exec(`UPDATE oauth_accounts SET status = 'reauth_required'`)
	b.send(key, http.MethodPost, path, "").wants(t, 409, "REAUTH_REQUIRED")
	b.exec(`UPDATE oauth_accounts SET status = 'disconnected', access_token = NULL`)
	b.send(key, http.MethodPost, path, "").wants(t, 404, "ACCOUNT_NOT_CONNECTED")
	if got := b.told(); got != events.TypeAccountConnected {
		t.Errorf("told %s", got)
	}
}

func TestAnAccountIsDisconnectedOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	account, other := b.account(b.alice, "a1"), b.account(b.alice, "a2")
	key := b.key(b.alice, tenant.ScopeAccounts)
	for range 2 {
		a := b.send(key, http.MethodPost, accountsPath+"/"+account.ID.String()+"/disconnect", "")
		if a.status != http.StatusAccepted || a.header.Get("Location") != accountsPath+"/"+account.ID.String() ||
			a.data["status"] != "disconnecting" || a.data["disconnectReason"] != "requested" {
			t.Errorf("%d %v %s", a.status, a.header, a.raw)
		}
	}
	if got := b.told(); got != events.TypeAccountConnected+" "+events.TypeAccountConnected+" "+events.TypeAccountDisconnecting {
		t.Errorf("told %s", got)
	}
	if n := query[int](b, `SELECT count(*) FROM oauth_accounts WHERE status = 'active' AND id = $1`, other.ID); n != 1 {
		t.Error("the user's other account too")
	}
	if query[bool](b, `SELECT erase FROM oauth_accounts WHERE id = $1`, account.ID) {
		t.Error("what was published with it goes too")
	}
}

func TestWhoMayActForOthersNamesThem(t *testing.T) {
	t.Parallel()
	b := setup(t)
	account := b.account(b.bob, "b1")
	agency := b.key(b.alice, tenant.ScopeAccounts, tenant.ScopeOnBehalf)
	if ids, _ := b.listed(agency, accountsPath+"?userId=bob", "accountId"); len(ids) != 1 || ids[0] != account.ID.String() {
		t.Errorf("listed %v", ids)
	}
	one := accountsPath + "/" + account.ID.String()
	b.send(agency, http.MethodGet, one, "").wants(t, 404, "NOT_FOUND") // hers are not meant
	for _, c := range [][2]string{{http.MethodGet, one}, {http.MethodPost, one + "/refresh"}, {http.MethodPost, one + "/disconnect"}} {
		if a := b.send(agency, c[0], c[1]+"?userId=bob", ""); a.status >= 300 || a.data["userId"] != "bob" {
			t.Errorf("%v: %d %s", c, a.status, a.raw)
		}
		b.send(agency, c[0], c[1]+"?userId=nobody", "").wants(t, 404, "NOT_FOUND")
	}
}

func TestOfManyWhoLookAtAnAccountOneAsksForItsQuota(t *testing.T) {
	t.Parallel()
	q := quotas{seen: map[uuid.UUID]quotaSeen{}}
	id := uuid.New()
	if _, told := q.find(id); told {
		t.Fatal("told before anybody asked")
	}
	if v, told := q.find(id); !told || v.Known {
		t.Errorf("a second one asks too, or is shown %+v", v)
	}
	q.add(id, QuotaView{Known: true})
	q.seen[id] = quotaSeen{view: q.seen[id].view} // a minute later
	if _, told := q.find(id); told {
		t.Error("nobody asks again")
	}
	if v, told := q.find(id); !told || !v.Known {
		t.Errorf("meanwhile it is %+v", v)
	}
}
