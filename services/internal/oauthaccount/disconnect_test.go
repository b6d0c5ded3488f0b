package oauthaccount_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"postbus.dev/events"
	"postbus.dev/services/internal/oauthaccount"
)

func TestDisconnectingStopsAnAccountAndTellsOfIt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.connect(full(b.user)).Account.ID
	a := b.disconnect(id, events.DisconnectRequested, false)
	if a.Status != oauthaccount.Disconnecting || a.DisconnectReason != "requested" || a.Erase || a.Version != 2 || time.Since(a.DisconnectingAt) > time.Minute {
		t.Errorf("disconnecting %+v", a)
	}
	if c, err := a.Open(); err != nil || c.AccessToken.Reveal() != token {
		t.Errorf("its token is gone before it was revoked: %v", err)
	}
	if !query[bool](b, `SELECT disconnect_next_at = disconnecting_at + interval '10 minutes' FROM oauth_accounts`) {
		t.Error("the wait for its publishes is not ten minutes")
	}
	if got := b.types(id); !slices.Equal(got, []string{"account.connected 1", "account.disconnecting 2"}) {
		t.Fatalf("told %v", got)
	}
	var d events.AccountDisconnecting
	if b.decode(b.told(id)[1], &d); d.AccountID != id.String() || d.UserID != "user-1" || d.Provider != "instagram" || d.Reason != "requested" || d.UserDeleted {
		t.Errorf("told %+v", d)
	}
}

func TestDisconnectingTwiceIsDisconnectingOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.account(b.user, "instagram", "1")
	first := b.disconnect(id, events.DisconnectRequested, false)
	again := b.disconnect(id, events.DisconnectRevokedAtProvider, false)
	if again.Version != first.Version || again.DisconnectReason != "requested" || again.Status != oauthaccount.Disconnecting {
		t.Errorf("again: %+v", again)
	}
	b.due()
	b.finish(true)
	if after := b.disconnect(id, events.DisconnectRequested, false); after.Status != oauthaccount.Disconnected || after.Version != 3 {
		t.Errorf("when it was disconnected: %+v", after)
	}
	if n := len(b.told(id)); n != 3 {
		t.Errorf("%d events", n)
	}
}

func TestDisconnectsAtTheSameMomentAreOne(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.account(b.user, "instagram", "1")
	for _, err := range crowd(8, func(int) error {
		_, err := b.store.Disconnect(t.Context(), oauthaccount.Select{ID: id}, events.DisconnectRequested, false)
		return err
	}) {
		if err != nil {
			t.Error(err)
		}
	}
	if n := len(b.told(id)); n != 2 {
		t.Errorf("%d events", n)
	}
	b.inOrder(id)
}

func TestNoAccountIsDisconnectedWithoutItsEvent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.account(b.user, "instagram", "1")
	b.failing()
	if _, err := b.store.Disconnect(t.Context(), oauthaccount.Select{ID: id}, events.DisconnectRequested, false); err == nil {
		t.Error("disconnected")
	}
	if s := b.get(id).Status; s != oauthaccount.Active {
		t.Errorf("it is %s", s)
	}
}

func TestAccountsAreSelectedByOwnerOrByWhatTheProviderCallsThem(t *testing.T) {
	t.Parallel()
	b := setup(t)
	two := b.newUser("user-2")
	mine, other := b.account(b.user, "instagram", "1"), b.account(b.user, "reddit", "1")
	hers := b.account(two, "instagram", "2")
	b.exec(`UPDATE oauth_accounts SET metadata = '{"callback_id": "app-7"}' WHERE id = $1`, hers)
	for name, c := range map[string]struct {
		sel  oauthaccount.Select
		want []uuid.UUID
	}{
		"id":                           {oauthaccount.Select{ID: mine}, []uuid.UUID{mine}},
		"unknown id":                   {oauthaccount.Select{ID: uuid.New()}, nil},
		"id of the user":               {oauthaccount.Select{ID: mine, UserID: b.user}, []uuid.UUID{mine}},
		"id of another user":           {oauthaccount.Select{ID: mine, UserID: two}, nil},
		"user":                         {oauthaccount.Select{UserID: b.user}, []uuid.UUID{mine, other}},
		"provider's id":                {oauthaccount.Select{Provider: "instagram", Keys: []string{"1", "unknown"}}, []uuid.UUID{mine}},
		"id in callbacks":              {oauthaccount.Select{Provider: "instagram", Keys: []string{"app-7", "\x00", "\xff"}}, []uuid.UUID{hers}},
		"id in callbacks of another":   {oauthaccount.Select{Provider: "reddit", Keys: []string{"app-7"}}, nil},
		"no key":                       {oauthaccount.Select{Provider: "instagram"}, nil},
		"an account without a such id": {oauthaccount.Select{Provider: "instagram", Keys: []string{""}}, nil},
	} {
		b.exec(`UPDATE oauth_accounts SET status = 'active', disconnect_next_at = NULL`)
		as, err := b.store.Disconnect(t.Context(), c.sel, events.DisconnectRequested, false)
		var got []uuid.UUID
		for _, a := range as {
			got = append(got, a.ID)
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		if n := query[int](b, `SELECT count(*) FROM oauth_accounts WHERE status = 'disconnecting'`); n != len(c.want) {
			t.Errorf("%s: %d are being disconnected", name, n)
		}
	}
	if _, err := b.store.Disconnect(t.Context(), oauthaccount.Select{}, events.DisconnectRequested, false); err == nil {
		t.Error("nothing was selected, and that is no error")
	}
}

func TestDisconnectingWithinATransactionIsAPartOfIt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.account(b.user, "instagram", "1")
	in := func(end error) error {
		return pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error {
			as, err := b.store.DisconnectIn(t.Context(), tx, oauthaccount.Select{ID: id}, events.DisconnectRevokedAtProvider, false)
			if err != nil || len(as) != 1 || as[0].Status != oauthaccount.Disconnecting {
				t.Errorf("within it: %+v, %v", as, err)
			}
			return end
		})
	}
	undo := errors.New("undo")
	if err := in(undo); !errors.Is(err, undo) || b.get(id).Status != oauthaccount.Active || len(b.told(id)) != 1 {
		t.Errorf("undone: %v, %s, told %v", err, b.get(id).Status, b.types(id))
	}
	if err := in(nil); err != nil || b.get(id).Status != oauthaccount.Disconnecting || !slices.Equal(b.types(id), []string{"account.connected 1", "account.disconnecting 2"}) {
		t.Errorf("done: %v, %s, told %v", err, b.get(id).Status, b.types(id))
	}
}

func TestErasingOvertakesADisconnect(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.account(b.user, "instagram", "1")
	first := b.disconnect(id, events.DisconnectRequested, false)
	b.exec(`UPDATE oauth_accounts SET drained_at = now(), disconnect_next_at = now()`)
	a := b.disconnect(id, events.DisconnectUserDeleted, true)
	if !a.Erase || a.DisconnectReason != "user_deleted" || a.Version != 3 || !a.DisconnectingAt.Equal(first.DisconnectingAt) {
		t.Errorf("disconnecting %+v", a)
	}
	if !query[bool](b, `SELECT drained_at IS NOT NULL AND disconnect_next_at <= now() FROM oauth_accounts`) {
		t.Error("it waits again for publishes that have ended")
	}
	if b.disconnect(id, events.DisconnectUserDeleted, true); len(b.told(id)) != 3 {
		t.Errorf("told %v", b.types(id))
	}
	if a := b.disconnect(id, events.DisconnectRequested, false); !a.Erase || a.DisconnectReason != "user_deleted" {
		t.Errorf("a plain disconnect takes it back: %+v", a)
	}
	var d events.AccountDisconnecting
	if b.decode(b.told(id)[2], &d); !d.UserDeleted || d.Reason != "user_deleted" {
		t.Errorf("told %+v", d)
	}
}

func TestADisconnectedAccountIsErasedLikeAnyOther(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.account(b.user, "instagram", "1")
	b.disconnected(id)
	if a := b.disconnect(id, events.DisconnectDeletionRequested, true); a.Status != oauthaccount.Disconnecting || !a.Erase {
		t.Errorf("disconnecting %+v", a)
	}
	b.due()
	b.finish(false)
	want := []string{"account.connected 1", "account.disconnecting 2", "account.disconnected 3", "account.disconnecting 4", "account.disconnected 5"}
	if got := b.types(id); !slices.Equal(got, want) {
		t.Errorf("told %v", got)
	}
	if n := query[int](b, `SELECT count(*) FROM oauth_accounts`); n != 0 {
		t.Errorf("%d rows", n)
	}
}

func TestADrainedAccountIsDueAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.account(b.user, "instagram", "1")
	drained := func(id uuid.UUID, version int64) {
		t.Helper()
		if err := b.store.Drained(t.Context(), id, version); err != nil {
			t.Error(err)
		}
	}
	drained(id, 1) // not disconnecting at all
	if s := b.get(id).Status; s != oauthaccount.Active {
		t.Fatalf("it is %s", s)
	}
	a := b.disconnect(id, events.DisconnectRequested, false)
	drained(id, a.Version-1) // of an earlier time
	drained(uuid.New(), a.Version)
	if n := len(b.claim()); n != 0 {
		t.Fatalf("%d are due", n)
	}
	drained(id, a.Version)
	due := b.claim()
	if len(due) != 1 || due[0].ID != id || !due[0].Drained || due[0].Version != a.Version {
		t.Fatalf("due: %+v", due)
	}
	drained(id, a.Version) // once more, while somebody is at work
	if n := len(b.claim()); n != 0 {
		t.Errorf("it is due again")
	}
	if got := len(b.told(id)); got != 2 {
		t.Errorf("%d events", got)
	}
}

func TestAnAccountWhosePublisherNeverAnswersIsDueAfterTheWait(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.account(b.user, "instagram", "1")
	b.disconnect(id, events.DisconnectRequested, false)
	if n := len(b.claim()); n != 0 {
		t.Errorf("%d are due at once", n)
	}
	b.exec(`UPDATE oauth_accounts SET disconnecting_at = disconnecting_at - interval '10 minutes', disconnect_next_at = disconnect_next_at - interval '10 minutes'`)
	if due := b.claim(); len(due) != 1 || due[0].ID != id || due[0].Drained {
		t.Errorf("due: %+v", due)
	}
}

func TestWhatIsClaimedIsNotClaimedAgainDuringItsLease(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const n = 30
	for i := range n {
		b.account(b.user, "instagram", fmt.Sprint(i))
	}
	if _, err := b.store.Disconnect(t.Context(), oauthaccount.Select{UserID: b.user}, events.DisconnectRequested, false); err != nil {
		t.Fatal(err)
	}
	b.due()
	got := make([][]oauthaccount.Leaving, 8)
	for _, err := range crowd(len(got), func(i int) (err error) {
		got[i], err = b.store.ClaimDisconnects(t.Context(), 10, time.Minute)
		return err
	}) {
		if err != nil {
			t.Error(err)
		}
	}
	seen := map[uuid.UUID]int{}
	for _, l := range slices.Concat(got...) {
		seen[l.ID]++
	}
	for _, l := range b.claim() { // those that others held in that moment
		seen[l.ID]++
	}
	if len(seen) != n {
		t.Errorf("%d of %d were claimed", len(seen), n)
	}
	for id, times := range seen {
		if times != 1 {
			t.Errorf("%s was claimed %d times", id, times)
		}
	}
	b.exec(`UPDATE oauth_accounts SET disconnect_next_at = disconnect_next_at - interval '1 minute'`)
	if again := b.claim(); len(again) != n {
		t.Errorf("%d after the lease", len(again))
	}
}

func TestBothTokensOfALeavingAccountAreOpened(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.disconnect(b.connect(full(b.user)).Account.ID, events.DisconnectRequested, false)
	b.disconnect(b.account(b.user, "reddit", "x"), events.DisconnectRequested, false)
	b.due()
	for _, l := range b.claim() {
		a, refresh, err := l.Open()
		if err != nil {
			t.Fatal(err)
		}
		switch l.Provider {
		case "instagram":
			if a.AccessToken.Reveal() != token || refresh.Reveal() != "refresh" || a.ProviderAccountID != "1784" {
				t.Errorf("opened %+v", a)
			}
		case "reddit":
			if a.AccessToken.Reveal() != "token-of-x" || !refresh.Empty() {
				t.Errorf("opened %+v", a)
			}
		}
	}
}

func TestADisconnectedAccountHasNoTokens(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.connect(full(b.user)).Account.ID
	b.exec(`UPDATE oauth_accounts SET lease_owner = $1, lease_until = now(), send_by = now(), quiet_at = now(), failure_count = 1, failure_class = 'x', failed_at = now()`, uuid.New())
	b.disconnect(id, events.DisconnectRequested, false)
	b.due()
	b.finish(true)
	if !query[bool](b, `SELECT status = 'disconnected' AND access_token IS NULL AND refresh_token IS NULL AND expires_at IS NULL AND refresh_expires_at IS NULL
		AND refresh_after IS NULL AND lease_owner IS NULL AND send_by IS NULL AND failure_count = 0 AND disconnect_next_at IS NULL
		AND disconnect_reason = 'requested' AND username = 'flo' FROM oauth_accounts`) {
		t.Error(query[string](b, `SELECT a::text FROM oauth_accounts a`))
	}
	var d events.AccountDisconnected
	e := b.told(id)[2]
	if b.decode(e, &d); d.AccountID != id.String() || d.UserID != "user-1" || d.Reason != "requested" || !d.Revoked || sequence(t, e) != 3 {
		t.Errorf("told %+v", d)
	}
}

// A refresh that was under way comes back with its answer: it compares the token
// version that it began with.
func TestAnAnswerToARefreshDoesNotReviveADisconnectedAccount(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.account(b.user, "instagram", "1")
	began := b.get(id).TokenVersion
	b.disconnected(id)
	if v := b.get(id).TokenVersion; v == began {
		t.Errorf("the token version is still %d", v)
	}
	b.connect(oauthaccount.New{UserID: b.user, Provider: "instagram", ProviderAccountID: "1", AccessToken: full(b.user).AccessToken})
	if v := b.get(id).TokenVersion; v <= began+1 {
		t.Errorf("connected again it is %d", v)
	}
}

func TestAnAccountThatHasChangedSinceItsClaimIsNotFinished(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(b bundle, l oauthaccount.Leaving){
		"by somebody faster": func(b bundle, l oauthaccount.Leaving) {
			if err := b.store.FinishDisconnect(b.Context(), l, true); err != nil {
				b.Error(err)
			}
		},
		"by a refresh": func(b bundle, _ oauthaccount.Leaving) {
			b.exec(`UPDATE oauth_accounts SET token_version = token_version + 1, version = version + 1`)
		},
		"by a deletion": func(b bundle, l oauthaccount.Leaving) {
			b.disconnect(l.ID, events.DisconnectUserDeleted, true)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.disconnect(b.account(b.user, "instagram", "1"), events.DisconnectRequested, false)
			b.due()
			l := b.claim()[0]
			change(b, l)
			before := query[string](b, `SELECT a::text FROM oauth_accounts a`)
			n := len(b.told(uuid.Nil))
			if err := b.store.FinishDisconnect(t.Context(), l, false); !errors.Is(err, oauthaccount.ErrChanged) {
				t.Errorf("got %v", err)
			}
			if after := query[string](b, `SELECT a::text FROM oauth_accounts a`); after != before || len(b.told(uuid.Nil)) != n {
				t.Errorf("it has changed: %s", after)
			}
		})
	}
}

func TestTwoWhoFinishAnAccountAtTheSameMomentTellOfItOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.account(b.user, "instagram", "1")
	b.disconnect(id, events.DisconnectRequested, false)
	b.due()
	l := b.claim()[0]
	done := 0
	for _, err := range crowd(6, func(int) error { return b.store.FinishDisconnect(t.Context(), l, true) }) {
		if err == nil {
			done++
		} else if !errors.Is(err, oauthaccount.ErrChanged) {
			t.Error(err)
		}
	}
	if n := len(b.told(id)); done != 1 || n != 3 {
		t.Errorf("%d have finished it, %d events", done, n)
	}
}

func TestNoTokenIsShreddedAndNoRowErasedWithoutTheEvent(t *testing.T) {
	t.Parallel()
	for _, erase := range []bool{false, true} {
		b := setup(t)
		id := b.account(b.user, "instagram", "1")
		b.disconnect(id, events.DisconnectRequested, erase)
		b.due()
		l := b.claim()[0]
		mend := b.failing()
		if err := b.store.FinishDisconnect(t.Context(), l, true); err == nil {
			t.Error("finished")
		}
		if a := b.get(id); a.Status != oauthaccount.Disconnecting {
			t.Errorf("it is %s", a.Status)
		}
		mend()
		if err := b.store.FinishDisconnect(t.Context(), l, true); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	}
}

func (b bundle) publish(user, account uuid.UUID, caption string) uuid.UUID {
	b.Helper()
	id := uuid.New()
	b.exec(`INSERT INTO publishes (id, event_source, event_id, account_id, user_id, provider, media_type, request, request_sha256, content_sha256,
  state, due_at, expires_at, result, ended_at)
VALUES ($1, '/me', $1::uuid::text, $2, $3, 'instagram', 'IMAGE', $4, sha256('r'), sha256('c'), 'completed', now(), now(),
  jsonb_build_object('postId', '1', 'permalink', 'https://example.com/1', 'caption', $5::text, 'metadata', jsonb_build_object('k', 'v')), now())`,
		id, account, user, []byte(`{"caption": "`+caption+`"}`), caption)
	return id
}

func TestErasingAnAccountTakesTheContentOfItsPublishesAndNoOthers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	gone, stays := b.account(b.user, "instagram", "1"), b.account(b.user, "instagram", "2")
	blank, kept := b.publish(b.user, gone, "goes"), b.publish(b.user, stays, "stays")
	b.disconnect(gone, events.DisconnectDeletionRequested, true)
	b.due()
	b.finish(true)
	content := func(id uuid.UUID) string {
		return query[string](b, `SELECT p::text || coalesce(convert_from(request, 'UTF8'), '') FROM publishes p WHERE id = $1`, id)
	}
	if c := content(blank); strings.Contains(c, "goes") {
		t.Errorf("still there: %s", c)
	}
	if c := content(kept); !strings.Contains(c, "stays") {
		t.Errorf("gone too: %s", c)
	}
	if n := query[int](b, `SELECT count(*) FROM oauth_accounts WHERE id = $1`, gone); n != 0 {
		t.Error("the account is still there")
	}
	var d events.AccountDisconnected
	if b.decode(b.told(gone)[2], &d); d.Reason != "deletion_requested" || d.AccountID != gone.String() {
		t.Errorf("told %+v", d)
	}
	b.connect(full(b.user)) // an id of that provider may be connected again
}

func TestTheBacklogIsCounted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	backlog := func() oauthaccount.Backlog {
		got, err := b.store.Backlog(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := backlog(); got.Accounts != 0 || got.Oldest != 0 {
		t.Errorf("of none: %+v", got)
	}
	b.account(b.user, "instagram", "0")
	for i, age := range []string{"90 seconds", "30 seconds"} {
		id := b.account(b.user, "instagram", fmt.Sprint(i+1))
		b.disconnect(id, events.DisconnectRequested, false)
		b.exec(`UPDATE oauth_accounts SET disconnecting_at = now() - $2::text::interval WHERE id = $1`, id, age)
	}
	if got := backlog(); got.Accounts != 2 || got.Oldest < 90*time.Second || got.Oldest > 3*time.Minute {
		t.Errorf("got %+v", got)
	}
}

func TestUsersWhoAreBeingDeletedAreFoundWhileSomethingCanBeDone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	leavers := func(limit int) []oauthaccount.Leaver {
		t.Helper()
		got, err := b.store.Leavers(t.Context(), limit, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	b.account(b.user, "instagram", "1")
	alone, waits, both := b.newUser("alone"), b.newUser("waits"), b.newUser("both")
	b.account(waits, "instagram", "2")
	b.account(both, "instagram", "3")
	b.disconnect(b.account(both, "instagram", "4"), events.DisconnectUserDeleted, true)
	if got := leavers(10); len(got) != 0 {
		t.Errorf("before anybody goes: %v", got)
	}
	for i, id := range []uuid.UUID{both, alone, waits} {
		b.exec(`UPDATE users SET deleting_at = now() - $2 * interval '1 minute' WHERE id = $1`, id, 10-i)
	}
	want := []oauthaccount.Leaver{{UserID: both}, {UserID: alone, Last: true}, {UserID: waits}}
	if got := leavers(10); !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	b.exec(`UPDATE users SET deleting_at = now() WHERE id = $1`, b.newUser("asked a moment ago"))
	if got := leavers(10); !slices.Equal(got, want) {
		t.Errorf("one whose keys may still be believed is found: %v", got)
	}
	if got := leavers(1); !slices.Equal(got, want[:1]) {
		t.Errorf("the first: %v", got)
	}
	for _, u := range []uuid.UUID{both, waits} {
		if _, err := b.store.Disconnect(t.Context(), oauthaccount.Select{UserID: u}, events.DisconnectUserDeleted, true); err != nil {
			t.Fatal(err)
		}
	}
	if got := leavers(10); !slices.Equal(got, want[1:2]) {
		t.Errorf("with all accounts on their way: %v", got)
	}
}

// Callbacks are for anybody on the internet to send, and the job looks for work
// every second.
func TestAccountsToDisconnectAreLookedUpByIndex(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(`INSERT INTO users SELECT gen_random_uuid(), 'bulk-' || i FROM generate_series(1, 3000) i`)
	b.exec(`INSERT INTO oauth_accounts (id, user_id, provider, provider_account_id, access_token) SELECT gen_random_uuid(), id, 'instagram', external_id, '\x00' FROM users`)
	for name, stmt := range map[string]struct {
		sql  string
		args []any
	}{
		"by key":  {oauthaccount.SelectSQL(oauthaccount.Select{Provider: "instagram", Keys: []string{"1"}}), []any{"instagram", []string{"1"}, nil}},
		"former":  {oauthaccount.EraseFormerSQL, []any{"instagram", []string{"1"}}},
		"claim":   {oauthaccount.ClaimSQL, []any{10, time.Minute}},
		"leavers": {oauthaccount.LeaversSQL, []any{10, time.Minute}},
	} {
		for _, before := range []string{`SELECT 1`, `ANALYZE users, oauth_accounts`} {
			b.exec(before)
			rows, err := b.pool.Query(t.Context(), `EXPLAIN `+stmt.sql, stmt.args...)
			if err != nil {
				t.Fatal(err)
			}
			plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil {
				t.Fatal(err)
			}
			text := strings.Join(plan, "\n")
			if strings.Contains(text, "Seq Scan") || name == "by key" && !strings.Contains(text, "oauth_accounts_callback_id") {
				t.Errorf("%s after %s:\n%s", name, before, text)
			}
		}
	}
}
