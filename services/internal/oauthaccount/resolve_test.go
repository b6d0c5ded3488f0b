package oauthaccount_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"postbus.dev/services/internal/oauthaccount"
)

func TestTargetsAreResolvedInTheirOrder(t *testing.T) {
	t.Parallel()
	b := setup(t)
	two := b.newUser("user-2")
	insta, reddit := b.account(b.user, "instagram", "1"), b.account(b.user, "reddit", "2")
	other := b.account(two, "instagram", "3")
	rs := b.resolve(
		oauthaccount.Target{Provider: "instagram", UserExternalID: "user-2"},
		oauthaccount.Target{AccountID: reddit},
		oauthaccount.Target{AccountID: uuid.New()},
		oauthaccount.Target{Provider: "instagram", UserExternalID: "user-1"},
		oauthaccount.Target{Provider: "tiktok", UserExternalID: "user-1"},
		oauthaccount.Target{Provider: "instagram", UserExternalID: "nobody"},
		oauthaccount.Target{AccountID: insta},
		oauthaccount.Target{Provider: "instagram", UserExternalID: "user-2"},                // once more
		oauthaccount.Target{AccountID: insta, Provider: "tiktok", UserExternalID: "user-2"}, // the id decides
		oauthaccount.Target{},
	)
	want := []uuid.UUID{other, reddit, {}, insta, {}, {}, insta, other, insta, {}}
	if len(rs) != len(want) {
		t.Fatalf("%d answers", len(rs))
	}
	for i, r := range rs {
		found := want[i] != uuid.Nil
		if (r.Outcome == oauthaccount.Found) != found || r.Account.ID != want[i] || r.Several != nil {
			t.Errorf("target %d: %+v, want %s", i, r, want[i])
		}
	}
	if a := rs[0].Account; a.UserID != two || a.UserExternalID != "user-2" || a.Status != oauthaccount.Active {
		t.Errorf("resolved to %+v", a)
	}
	if c, err := rs[1].Account.Open(); err != nil || c.AccessToken.Reveal() != "token-of-2" {
		t.Errorf("opened %v", err)
	}
}

func TestSeveralAccountsOfAUserAreListedTheOldestFirst(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var ids []uuid.UUID
	for i := range oauthaccount.MaxSeveral + 5 {
		ids = append(ids, b.account(b.user, "instagram", fmt.Sprint("id", i)))
	}
	target := oauthaccount.Target{Provider: "instagram", UserExternalID: "user-1"}
	rs := b.resolve(target, oauthaccount.Target{AccountID: ids[3]}, target)
	for _, i := range []int{0, 2} {
		r := rs[i]
		if r.Outcome != oauthaccount.Several || r.Account.ID != uuid.Nil || !slices.Equal(r.Several, ids[:oauthaccount.MaxSeveral]) {
			t.Errorf("target %d: %+v", i, r)
		}
	}
	if rs[1].Outcome != oauthaccount.Found || rs[1].Account.ID != ids[3] {
		t.Errorf("by id: %+v", rs[1])
	}
}

func TestAccountsThatAreNotConnectedAreOnlyFoundByTheirID(t *testing.T) {
	t.Parallel()
	b := setup(t)
	leaving, stays := b.account(b.user, "instagram", "1"), b.account(b.user, "instagram", "2")
	b.exec(`UPDATE oauth_accounts SET status = 'disconnecting', disconnect_reason = 'requested', disconnecting_at = now(), disconnect_next_at = now() WHERE id = $1`, leaving)
	b.exec(`UPDATE oauth_accounts SET status = 'reauth_required' WHERE id = $1`, stays)
	rs := b.resolve(oauthaccount.Target{Provider: "instagram", UserExternalID: "user-1"}, oauthaccount.Target{AccountID: leaving})
	if rs[0].Outcome != oauthaccount.Found || rs[0].Account.ID != stays || rs[0].Account.Status != oauthaccount.ReauthRequired {
		t.Errorf("the user's account: %+v", rs[0])
	}
	if rs[1].Outcome != oauthaccount.Found || rs[1].Account.Status != oauthaccount.Disconnecting {
		t.Errorf("by its id: %+v", rs[1])
	}
	b.exec(`UPDATE oauth_accounts SET status = 'disconnected', access_token = NULL, refresh_token = NULL, disconnect_next_at = NULL`)
	if r := b.resolve(oauthaccount.Target{Provider: "instagram", UserExternalID: "user-1"})[0]; r.Outcome != oauthaccount.NotFound {
		t.Errorf("with none connected: %+v", r)
	}
}

func TestATargetThatNoRowCanHoldDoesNotSpoilTheOthers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.account(b.user, "instagram", "1")
	rs := b.resolve(
		oauthaccount.Target{Provider: "instagram", UserExternalID: "a\x00b"},
		oauthaccount.Target{Provider: "instagram", UserExternalID: "\xed\xa0\x80"},
		oauthaccount.Target{Provider: "\xff", UserExternalID: "user-1"},
		oauthaccount.Target{Provider: "instagram", UserExternalID: strings.Repeat("x", 100_000)},
		oauthaccount.Target{Provider: "instagram", UserExternalID: "user-1"},
	)
	for i, r := range rs[:4] {
		if r.Outcome != oauthaccount.NotFound {
			t.Errorf("target %d: %+v", i, r)
		}
	}
	if rs[4].Outcome != oauthaccount.Found || rs[4].Account.ID != id {
		t.Errorf("the good one: %+v", rs[4])
	}
}

func TestAnyNumberOfTargetsIsOneQuery(t *testing.T) {
	t.Parallel()
	b := setup(t)
	if rs := b.resolve(); len(rs) != 0 {
		t.Errorf("of none: %v", rs)
	}
	id := b.account(b.user, "instagram", "1")
	targets := make([]oauthaccount.Target, 1000)
	for i := range targets {
		targets[i] = oauthaccount.Target{Provider: "instagram", UserExternalID: "user-1"}
		if i%3 == 0 {
			targets[i] = oauthaccount.Target{AccountID: id}
		}
	}
	before := b.publisher.Stat().AcquireCount()
	for i, r := range b.resolve(targets...) {
		if r.Account.ID != id {
			t.Fatalf("target %d: %+v", i, r)
		}
	}
	if n := b.publisher.Stat().AcquireCount() - before; n != 1 {
		t.Errorf("%d queries", n)
	}
}

// Intake resolves every request, thousands a second, against any number of
// accounts.
func TestTargetsAreLookedUpByIndex(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(`INSERT INTO users SELECT gen_random_uuid(), 'bulk-' || i FROM generate_series(1, 3000) i`)
	b.exec(`INSERT INTO oauth_accounts (id, user_id, provider, provider_account_id, access_token) SELECT gen_random_uuid(), id, 'instagram', external_id, '\x00' FROM users`)
	for _, before := range []string{`SELECT 1`, `ANALYZE users, oauth_accounts`} {
		b.exec(before)
		rows, err := b.publisher.Query(t.Context(), `EXPLAIN `+oauthaccount.ResolveSQL,
			[][16]byte{uuid.New()}, []int64{0}, []string{"instagram"}, []string{"bulk-7"}, []int64{1}, oauthaccount.MaxSeveral)
		if err != nil {
			t.Fatal(err)
		}
		plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range plan {
			if strings.Contains(line, "Seq Scan") {
				t.Errorf("after %s:\n%s", before, strings.Join(plan, "\n"))
				break
			}
		}
	}
}
