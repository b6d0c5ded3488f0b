package callback

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/httpapi"
	"postbus.dev/services/internal/oauthaccount"
)

func removal(id string, keys ...string) connectors.Callback {
	return connectors.Callback{Kind: connectors.CallbackDeauthorize, ID: id, AccountKeys: keys, IssuedAt: time.Now()}
}

func erasure(id string, keys ...string) connectors.Callback {
	return connectors.Callback{Kind: connectors.CallbackDeletion, ID: id, AccountKeys: keys, IssuedAt: time.Now()}
}

func TestARemovalDisconnectsTheAccountsThatItNames(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one, two := b.account("example", "1", "app-1"), b.account("example", "2", "app-2")
	other, elsewhere := b.account("example", "3", "app-3"), b.account("second", "1", "app-1")
	if a := b.call("deauthorize", removal("x", "app-1", "2", "nobody")); a.status != 200 || a.body != "{}\n" {
		t.Errorf("answered %d %s", a.status, a.body)
	}
	if b.status(one) != "disconnecting revoked_at_provider" || b.status(two) != "disconnecting revoked_at_provider" || b.status(other) != "active" || b.status(elsewhere) != "active" {
		t.Errorf("accounts are %s, %s, %s, %s", b.status(one), b.status(two), b.status(other), b.status(elsewhere))
	}
	if !has(b.events(), "account.disconnecting", "account.disconnecting") || b.pokes.Load() != 1 {
		t.Errorf("events are %v, %d pokes", b.events(), b.pokes.Load())
	}
	if b.counted(taken) != 1 {
		t.Error("not counted")
	}
}

// A provider's call may come late, or for days be tried in vain. Who has connected
// the account again meanwhile is not disconnected by it.
func TestARemovalEndsNoConnectionThatIsNewer(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.account("example", "1", "app-1")
	b.exec(`UPDATE oauth_accounts SET connected_at = now() - interval '1 hour'`)
	removedAt := time.Now().Add(-time.Minute).Truncate(time.Second) // providers tell seconds
	b.account("example", "1", "app-1")
	late := removal("x", "app-1")
	late.IssuedAt = removedAt
	if a := b.call("deauthorize", late); a.status != 200 || b.status(id) != "active" || len(b.events("account.connected")) != 0 {
		t.Errorf("connected again since, answered %d: the account is %s", a.status, b.status(id))
	}
	soon := removal("y", "app-1")
	soon.IssuedAt = time.Now().Truncate(time.Second) // of this very second, by a clock that may be a little behind
	if b.call("deauthorize", soon); b.status(id) != "disconnecting revoked_at_provider" {
		t.Errorf("removed right after it was connected: the account is %s", b.status(id))
	}
}

func TestADeletionIsDoneWhenTheAccountWasConnectedAgainSinceToo(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.account("example", "1", "app-1")
	late := erasure("x", "app-1")
	late.IssuedAt = time.Now().Add(-time.Hour)
	if b.call("deletion", late); b.status(id) != "disconnecting deletion_requested erase" {
		t.Errorf("the account is %s", b.status(id))
	}
}

func TestADeletionErasesAndTellsWhereToLook(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.account("example", "1", "app-1")
	d := b.call("deletion", erasure("x", "app-1")).deletion(t)
	if b.status(id) != "disconnecting deletion_requested erase" {
		t.Errorf("the account is %s", b.status(id))
	}
	look := func() answer { return b.send(http.MethodGet, strings.TrimPrefix(d.URL, b.url), "") }
	if a := look(); a.status != 200 || !strings.Contains(a.body, "is being deleted") || !strings.Contains(a.body, d.Code) || a.header.Get("Content-Security-Policy") == "" {
		t.Errorf("shown %d %s", a.status, a.body)
	}
	b.exec(`DELETE FROM oauth_accounts`)
	if a := look(); a.status != 200 || !strings.Contains(a.body, "Your data is deleted") {
		t.Errorf("shown %d %s", a.status, a.body)
	}
}

// She disconnected it, and somebody else connected it since.
func TestADeletionReachesWhatFormerUsersOfTheAccountPublished(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hers := b.account("example", "1", "app-1")
	b.exec(`UPDATE oauth_accounts SET status = 'disconnected', access_token = NULL`)
	b.exec(`INSERT INTO publishes (id, account_id, user_id, provider, request, state, due_at, expires_at, ended_at) VALUES (gen_random_uuid(), $1, $2, 'example', 'hers', 'canceled', now(), now(), now())`, hers, b.user)
	b.user = uuid.Must(uuid.NewV7())
	b.exec(`INSERT INTO users (id, external_id) VALUES ($1, 'bob')`, b.user)
	his := b.account("example", "1", "app-1")
	b.account("example", "2", "app-2")
	if his == hers {
		t.Fatal("it has the same id")
	}
	d := b.call("deletion", erasure("x", "app-1")).deletion(t)
	if b.status(his) != "disconnecting deletion_requested erase" {
		t.Errorf("the account is %s", b.status(his))
	}
	b.exec(`DELETE FROM oauth_accounts WHERE id = $1`, his)
	look := func() string { return b.send(http.MethodGet, strings.TrimPrefix(d.URL, b.url), "").body }
	if page := look(); !strings.Contains(page, "is being deleted") {
		t.Errorf("shown, with what she published still there: %s", page)
	}
	if err := b.accounts.BlankFormer(t.Context(), 10); err != nil {
		t.Fatal(err)
	}
	if page := look(); !strings.Contains(page, "Your data is deleted") || query[int](b, `SELECT count(*) FROM publishes WHERE request IS NOT NULL`) != 0 {
		t.Errorf("shown %s", page)
	}
}

func TestADeletionOfADisconnectedAccountErasesItToo(t *testing.T) {
	t.Parallel()
	b := setup(t)
	gone, going := b.account("example", "1", "app-1"), b.account("example", "2", "app-2")
	b.exec(`UPDATE oauth_accounts SET status = 'disconnected', access_token = NULL WHERE id = $1`, gone)
	b.call("deauthorize", removal("a", "app-2"))
	b.call("deletion", erasure("b", "app-1", "app-2")).deletion(t)
	if b.status(gone) != "disconnecting deletion_requested erase" || b.status(going) != "disconnecting deletion_requested erase" {
		t.Errorf("accounts are %s, %s", b.status(gone), b.status(going))
	}
}

func TestWhoIsNotConnectedIsAnsweredAllTheSame(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.account("example", "1", "app-1")
	if a := b.call("deauthorize", removal("x", "nobody")); a.status != 200 {
		t.Errorf("answered %d %s", a.status, a.body)
	}
	d := b.call("deletion", erasure("y", "nobody", "", "\x00", "1' OR '1'='1")).deletion(t)
	if a := b.send(http.MethodGet, strings.TrimPrefix(d.URL, b.url), ""); a.status != 200 || !strings.Contains(a.body, "Your data is deleted") {
		t.Errorf("shown %d %s", a.status, a.body)
	}
	if len(b.events()) != 0 || b.pokes.Load() != 0 {
		t.Errorf("events are %v", b.events())
	}
}

func TestACallThatIsReplayedIsAnsweredAsBeforeAndDoesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.account("example", "1", "app-1")
	b.call("deauthorize", removal("x", "app-1"))
	first := b.call("deletion", erasure("y", "app-1"))
	b.exec(`DELETE FROM oauth_accounts`)
	id := b.account("example", "1", "app-1") // she has come back since
	if a := b.call("deauthorize", removal("x", "app-1")); a.status != 200 || a.body != "{}\n" {
		t.Errorf("answered %d %s", a.status, a.body)
	}
	if again := b.call("deletion", erasure("y", "app-1")); again.body != first.body || again.status != 200 {
		t.Errorf("answered %s, and %s before", again.body, first.body)
	}
	if b.status(id) != "active" || b.counted(replayed) != 2 || !has(b.events(), "account.disconnecting", "account.disconnecting") {
		t.Errorf("the account is %s, %d replays, events %v", b.status(id), b.counted(replayed), b.events())
	}
	b.call("deletion", erasure("z", "app-1")) // another one counts
	if b.status(id) != "disconnecting deletion_requested erase" {
		t.Errorf("the account is %s", b.status(id))
	}
}

func TestTheSameSignatureAtAnotherPathIsAnotherCall(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.account("example", "1", "app-1")
	b.call("deauthorize", removal("x", "app-1"))
	b.call("deletion", erasure("x", "app-1")).deletion(t)
	if b.status(id) != "disconnecting deletion_requested erase" {
		t.Errorf("the account is %s", b.status(id))
	}
}

func TestOfManyCopiesAtOnceOneIsTaken(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.account("example", "1", "app-1")
	answers := make([]answer, 8)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() { answers[i] = b.call("deletion", erasure("x", "app-1")) })
	}
	wg.Wait()
	for _, a := range answers {
		if a.status != 200 || a.body != answers[0].body {
			t.Errorf("answered %d %s", a.status, a.body)
		}
	}
	if b.counted(taken) != 1 || b.counted(replayed) != 7 || !has(b.events(), "account.disconnecting") {
		t.Errorf("%d taken, %d replayed, events %v", b.counted(taken), b.counted(replayed), b.events())
	}
}

func TestForgedCallsAreRefusedWithoutDetail(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.account("example", "1", "app-1")
	body, _ := json.Marshal(erasure("x", "app-1"))
	const path = "/api/callbacks/example/deletion"
	right := hex.EncodeToString(sign(body))
	var bodies []string
	for name, headers := range map[string][]string{
		"no signature": {}, "empty": {"Signature", ""}, "another": {"Signature", hex.EncodeToString(sign([]byte("x")))},
		"cut": {"Signature", right[:62]}, "no hex": {"Signature", `'; DROP TABLE users; --`},
	} {
		a := b.send(http.MethodPost, path, string(body), append(headers, "Content-Type", "application/json")...)
		a.wants(t, 403, httpapi.CodeForbidden)
		if bodies = append(bodies, withoutMeta(a.body)); bodies[0] != withoutMeta(a.body) {
			t.Errorf("%s is answered in another way: %s", name, a.body)
		}
	}
	altered := strings.Replace(string(body), "app-1", "app-2", 1)
	b.send(http.MethodPost, path, altered, "Signature", right).wants(t, 403, httpapi.CodeForbidden)
	b.send(http.MethodGet, "/api/callbacks/example/webhook?challenge=x&verify=guess", "").wants(t, 403, httpapi.CodeForbidden)
	if b.status(id) != "active" || b.counted(forged) != 7 || query[int](b, `SELECT count(*) FROM provider_callbacks`) != 0 {
		t.Errorf("the account is %s, %d counted", b.status(id), b.counted(forged))
	}
	for _, never := range []string{"app-1", right, "DROP TABLE"} {
		if strings.Contains(b.logs.String(), never) {
			t.Errorf("the log repeats %q", never)
		}
	}
}

// withoutMeta cuts the request's own id and time off.
func withoutMeta(body string) string {
	before, _, _ := strings.Cut(body, `"meta"`)
	return before
}

func TestOldCallsAreRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.account("example", "1", "app-1")
	for age, refused := range map[time.Duration]bool{
		8 * 24 * time.Hour: true, 400 * 24 * time.Hour: true, -time.Hour: true, 3 * 24 * time.Hour: false, -time.Minute: false,
	} {
		c := removal(age.String(), "nobody")
		c.IssuedAt = time.Now().Add(-age)
		if a := b.call("deauthorize", c); (a.status == 403) != refused {
			t.Errorf("%s old: answered %d", age, a.status)
		}
	}
	if b.counted(stale) != 3 || b.status(id) != "active" {
		t.Errorf("%d counted", b.counted(stale))
	}
}

// Its digest is forgotten one day, and then it would be new again.
func TestACallThatEndsAConnectionAndDoesNotSayWhenItWasMadeIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.account("example", "1", "app-1")
	for path, c := range map[string]connectors.Callback{
		"deauthorize": removal("x", "app-1"), "deletion": erasure("y", "app-1"), "webhook": removal("z", "app-1"),
	} {
		c.IssuedAt = time.Time{}
		b.call(path, c).wants(t, 403, httpapi.CodeForbidden)
	}
	if b.status(id) != "active" || b.counted(stale) != 3 || query[int](b, `SELECT count(*) FROM provider_callbacks`) != 0 {
		t.Errorf("the account is %s, %d counted", b.status(id), b.counted(stale))
	}
}

func TestAnUnreadableCallIsTheCallersFault(t *testing.T) {
	t.Parallel()
	b := setup(t)
	body := `{"Kind":7}`
	b.send(http.MethodPost, "/api/callbacks/example/webhook", body, "Signature", hex.EncodeToString(sign([]byte(body)))).wants(t, 400, httpapi.CodeValidation)
	b.send(http.MethodGet, "/api/callbacks/example/webhook", "", "Signature", hex.EncodeToString(sign(nil))).wants(t, 400, httpapi.CodeValidation)
	b.call("webhook", connectors.Callback{Kind: connectors.CallbackWebhook}).wants(t, 500, httpapi.CodeInternal) // a connector without ids
	b.send(http.MethodPost, "/api/callbacks/example/webhook", strings.Repeat("x", httpapi.MaxBodyBytes+1)).wants(t, 413, httpapi.CodeValidation)
	b.send(http.MethodPost, "/api/callbacks/example/webhook", "<x/>", "Content-Type", "text/xml").wants(t, 415, httpapi.CodeValidation)
}

func TestProvidersAndKindsThatThereAreNot(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, path := range []string{
		"nowhere/webhook", "mute/webhook", "mute/deauthorize", "example/deauthorise", "example/DELETION", "example%00/deletion", "%27%3b--/deletion",
		"example/de%0d%0alog", "..%2fexample/deletion", "example/" + strings.Repeat("x", 5000),
	} {
		b.send(http.MethodPost, "/api/callbacks/"+path, "{}").wants(t, 404, httpapi.CodeNotFound)
	}
	b.send(http.MethodGet, "/api/callbacks/mute/webhook?challenge=x", "").wants(t, 404, httpapi.CodeNotFound)
	b.call("webhook", connectors.Callback{Kind: "none"}).wants(t, 404, httpapi.CodeNotFound)
	if strings.Contains(b.logs.String(), "de\\r\\nlog") || strings.Contains(b.logs.String(), "deauthorise") {
		t.Errorf("the log repeats what it was sent: %s", b.logs)
	}
}

func TestAProviderThatIsNotSetUpMayTryAgain(t *testing.T) {
	t.Parallel()
	b := setup(t, func(c *Config) { c.Connectors["example"] = unset{} })
	b.call("deauthorize", removal("x", "app-1")).wants(t, 503, httpapi.CodeServiceUnavailable)
}

type unset struct{ connectors.Publisher }

func (unset) ReadCallback(connectors.CallbackRequest) (connectors.Callback, error) {
	return connectors.Callback{}, fmt.Errorf("EXAMPLE_CLIENT_SECRET: %w", connectors.ErrNotConfigured)
}

// flaky is a database that goes away in the middle of the transaction.
type flaky struct {
	Accounts
	away atomic.Bool
}

func (f *flaky) DisconnectIn(ctx context.Context, tx pgx.Tx, sel oauthaccount.Select, reason string, erase bool) ([]oauthaccount.Account, error) {
	accounts, err := f.Accounts.DisconnectIn(ctx, tx, sel, reason, erase)
	if f.away.Load() {
		return nil, io.ErrUnexpectedEOF
	}
	return accounts, err
}

func TestACallThatFailedHalfWayIsTakenWhenItComesAgain(t *testing.T) {
	t.Parallel()
	f := &flaky{}
	b := setup(t, func(c *Config) { f.Accounts, c.Accounts = c.Accounts, f })
	id := b.account("example", "1", "app-1")
	f.away.Store(true)
	b.call("deletion", erasure("x", "app-1")).wants(t, 503, httpapi.CodeServiceUnavailable)
	if b.status(id) != "active" || len(b.events()) != 0 {
		t.Errorf("half of it was done: %s, %v", b.status(id), b.events())
	}
	f.away.Store(false)
	b.call("deletion", erasure("x", "app-1")).deletion(t)
	if b.status(id) != "disconnecting deletion_requested erase" {
		t.Errorf("the account is %s", b.status(id))
	}
}

func TestAWebhookTellsOfPostsOfConnectedAccounts(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id, gone := b.account("example", "1", "app-1"), b.account("example", "2", "app-2")
	b.account("second", "3", "app-3")
	b.exec(`UPDATE oauth_accounts SET status = 'disconnected', access_token = NULL WHERE id = $1`, gone)
	hook := connectors.Callback{Kind: connectors.CallbackWebhook, ID: "x", Posts: []connectors.PostNotice{
		{AccountKey: "app-1", RemoteID: "v_pub_1", Kind: "post.publish.complete"}, {AccountKey: "1", RemoteID: "v_pub_2", Kind: "post.publish.failed"},
		{AccountKey: "app-2", RemoteID: "v_pub_3", Kind: "x"}, {AccountKey: "app-3", RemoteID: "v_pub_4", Kind: "x"}, {AccountKey: "nobody", RemoteID: "v_pub_5", Kind: "x"},
		{AccountKey: "app-1", RemoteID: "", Kind: "odd"},
	}}
	for range 2 {
		if a := b.call("webhook", hook); a.status != 200 {
			t.Errorf("answered %d %s", a.status, a.body)
		}
	}
	if !has(b.events(), "publish.provider_notified", "publish.provider_notified") || b.pokes.Load() != 1 {
		t.Errorf("events are %v, %d pokes", b.events(), b.pokes.Load())
	}
	var e struct {
		Source, Subject, PartitionKey string
		Data                          struct{ AccountID, Provider, Handle, Kind string }
	}
	if err := json.Unmarshal(query[[]byte](b, `SELECT event FROM outbox WHERE subject = 'publish.provider_notified' ORDER BY id LIMIT 1`), &e); err != nil {
		t.Fatal(err)
	}
	if e.Source != "/postbus/account" || e.Subject != id.String() || e.PartitionKey != id.String() || e.Data.AccountID != id.String() || e.Data.Provider != "example" ||
		e.Data.Handle != "v_pub_1" || e.Data.Kind != "post.publish.complete" {
		t.Errorf("the event is %+v", e)
	}
	if !strings.Contains(b.logs.String(), `"skipped":1`) {
		t.Error("the odd notice is not told of")
	}
}

func TestAWebhookMayTellOfARemoval(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.account("example", "1", "app-1")
	b.call("webhook", removal("x", "app-1"))
	if b.status(id) != "disconnecting revoked_at_provider" {
		t.Errorf("the account is %s", b.status(id))
	}
}

func TestAChallengeIsAnsweredAsText(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.send(http.MethodGet, "/api/callbacks/example/webhook?challenge=%3Cscript%3E1&verify="+strings.ReplaceAll(providerSecret, " ", "%20"), "")
	if a.status != 200 || a.body != "<script>1" || a.header.Get("Content-Type") != "text/plain; charset=utf-8" || a.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("answered %d %v %s", a.status, a.header, a.body)
	}
	if query[int](b, `SELECT count(*) FROM provider_callbacks`) != 0 || b.counted(challenged) != 1 {
		t.Error("a challenge left a row, or was not counted")
	}
}

func TestDeletionsThatNobodyAskedForHaveNoStatus(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := b.call("deletion", erasure("x", "nobody")).deletion(t)
	for _, path := range []string{
		"example/deletions/" + strings.Repeat("A", codeLength), "example/deletions/" + d.Code[1:], "mute/deletions/" + d.Code, "nowhere/deletions/" + d.Code,
		"example/deletions/" + strings.ToLower(d.Code), "example/deletions/%27%20OR%20%271%27=%271%00%00%00%00%00%00%00", "example/deletions/" + strings.Repeat("%00", codeLength),
		"example/deletions/" + strings.Repeat("%ff", codeLength),
	} {
		if a := b.send(http.MethodGet, "/api/callbacks/"+path, ""); a.status != 404 || !strings.Contains(a.body, "No such request") {
			t.Errorf("%s: shown %d %s", path, a.status, a.body)
		}
	}
}

func TestCallsAreRememberedFor90Days(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.call("deauthorize", removal("old", "nobody"))
	b.call("deauthorize", removal("older", "nobody"))
	b.exec(`UPDATE provider_callbacks SET received_at = now() - interval '91 days' WHERE ctid = (SELECT min(ctid) FROM provider_callbacks)`)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.taker.Run(ctx) }()
	for deadline := time.Now().Add(10 * time.Second); query[int](b, `SELECT count(*) FROM provider_callbacks`) != 1; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nothing was forgotten within 10 s")
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := New(Config{Pool: b.pool, Accounts: b.accounts, Service: "account", PublicURL: b.url, MaxAge: 91 * 24 * time.Hour}); err == nil {
		t.Error("calls may be older than they are remembered")
	}
	if _, err := New(Config{}); err == nil {
		t.Error("made of nothing")
	}
}
