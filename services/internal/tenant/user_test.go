package tenant_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"postbus.dev/services/internal/tenant"
)

func TestAnExternalIDCanStandInAPathAndALog(t *testing.T) {
	t.Parallel()
	b := setup(t, never)
	for _, bad := range []string{"a\nb", "a\x00b", "a\u0085b", "\xff", ".", "..", ""} {
		if _, err := b.here.CreateUser(t.Context(), bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
		if _, err := b.here.User(t.Context(), bad); !errors.Is(err, tenant.ErrNoUser) {
			t.Errorf("%q is looked for: %v", bad, err)
		}
	}
	for _, good := range []string{"a b/c?d#e%", "'; DROP TABLE users; --", "...", "ü"} {
		u, err := b.here.CreateUser(t.Context(), good)
		found, err2 := b.here.User(t.Context(), good)
		if err != nil || err2 != nil || u != found || u.ExternalID != good {
			t.Errorf("%q: %v, %+v, %v, %+v", good, err, u, err2, found)
		}
	}
}

func TestUsersAreListedInPages(t *testing.T) {
	t.Parallel()
	b := setup(t, never)
	want := []string{"upstream-7"}
	for i := range 4 {
		name := fmt.Sprintf("u%d", i)
		if _, err := b.here.CreateUser(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		want = append(want, name)
	}
	var got []string
	for after := uuid.Nil; ; {
		page, err := b.here.Users(t.Context(), after, 2)
		if err != nil || len(page) > 2 {
			t.Fatal(len(page), err)
		}
		for _, u := range page {
			got, after = append(got, u.ExternalID), u.ID
			if u.CreatedAt.IsZero() || !u.DeletingAt.IsZero() {
				t.Errorf("%+v", u)
			}
		}
		if len(page) == 0 {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("listed %v, want %v", got, want)
	}
}

func TestAUserWhoIsBeingDeletedIsRefusedAtOnceHereAndWithinAMomentElsewhere(t *testing.T) {
	t.Parallel()
	c := &clock{now: time.Now()}
	b := setup(t, tenant.Config{Now: c.Now})
	_, one := b.key(tenant.KeySpec{})
	id, two := b.key(tenant.KeySpec{})
	other, err := b.here.CreateUser(t.Context(), "other")
	if err != nil {
		t.Fatal(err)
	}
	_, others := b.key(tenant.KeySpec{UserID: other.ID})
	for _, v := range []string{one, two, others} {
		b.known(b.here, v)
		b.known(b.there, v)
	}
	b.revoke(b.here, id)
	revoked := b.keys()[1].RevokedAt
	first, err := b.here.BeginDeletion(t.Context(), b.user.ID)
	if err != nil || first.DeletingAt.IsZero() || first.ExternalID != "upstream-7" {
		t.Fatal(first, err)
	}
	b.unknown(b.here, one)
	b.unknown(b.here, two)
	b.known(b.here, others)
	c.add(2 * time.Second)
	b.unknown(b.there, one)
	b.known(b.there, others)
	keys := b.keys()
	if keys[0].RevokedAt.IsZero() || !keys[1].RevokedAt.Equal(revoked) {
		t.Errorf("keys %+v", keys)
	}
	again, err := b.there.BeginDeletion(t.Context(), b.user.ID)
	if err != nil || !again.DeletingAt.Equal(first.DeletingAt) {
		t.Errorf("asked again: %+v, %v", again, err)
	}
	if _, err := b.here.BeginDeletion(t.Context(), uuid.New()); !errors.Is(err, tenant.ErrNoUser) {
		t.Errorf("nobody is deleted: %v", err)
	}
}

func (b bundle) keys() []tenant.Key {
	b.Helper()
	keys, err := b.here.List(b.Context(), b.user.ID, uuid.Nil, 100)
	if err != nil {
		b.Fatal(err)
	}
	return keys
}

// A key that is valid by its own columns does not work either, so that one that
// was made at the same moment is of no use.
func TestNoKeyOfAUserWhoIsBeingDeletedWorks(t *testing.T) {
	t.Parallel()
	b := setup(t, never)
	_, value := b.key(tenant.KeySpec{})
	b.exec(`UPDATE users SET deleting_at = now()`)
	b.unknown(b.here, value)
	if _, _, err := b.here.CreateKey(t.Context(), tenant.KeySpec{UserID: b.user.ID, Scopes: tenant.Scopes()}); !errors.Is(err, tenant.ErrNoUser) {
		t.Errorf("made for her: %v", err)
	}
	if _, err := b.here.EnsureLocal(t.Context(), "upstream-7", tenant.NewKey()); !errors.Is(err, tenant.ErrNoUser) {
		t.Errorf("made for her at start: %v", err)
	}
}

func TestAKeyThatIsMadeWhileItsUserIsDeletedIsRefusedOrRevoked(t *testing.T) {
	t.Parallel()
	b := setup(t, never)
	tx, err := b.pool.Begin(t.Context()) // a deletion that has not committed yet
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(b.Context()) }()
	if _, err := tx.Exec(t.Context(), `UPDATE users SET deleting_at = now()`); err != nil {
		t.Fatal(err)
	}
	made := make(chan error, 1)
	go func() {
		_, _, err := b.here.CreateKey(b.Context(), tenant.KeySpec{UserID: b.user.ID, Scopes: tenant.Scopes()})
		made <- err
	}()
	b.waits(`WITH owner%`)
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-made; !errors.Is(err, tenant.ErrNoUser) {
		t.Errorf("made: %v", err)
	}
}

// waits returns when a statement waits for a lock.
func (b bundle) waits(statement string) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 20*time.Second)
	defer cancel()
	for waiting := false; !waiting; {
		err := b.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND ltrim(query, E'\n') LIKE $1)`, statement).Scan(&waiting)
		if err != nil {
			b.Fatal(err)
		}
	}
}

// hangOn gives the user an account, a link and a publish whose caption is text.
func (b bundle) hangOn(user uuid.UUID, text string) {
	b.Helper()
	b.exec(`INSERT INTO oauth_accounts (id, user_id, provider, provider_account_id, access_token) VALUES (gen_random_uuid(), $1, 'instagram', $2, '\x00')`, user, text)
	b.exec(`INSERT INTO connect_links (token_sha256, user_id, provider, expires_at) VALUES (sha256(convert_to($2, 'UTF8')), $1, 'instagram', now() + interval '1 hour')`, user, text)
	b.exec(`INSERT INTO publishes (id, event_source, event_id, user_id, request, state, due_at, expires_at, error, ended_at)
VALUES (gen_random_uuid(), '/me', $2, $1, convert_to($2, 'UTF8'), 'failed', now(), now(), jsonb_build_object('code', 'X', 'message', $2::text), now())`, user, text)
}

func TestAUserIsDeletedWithAllThatHangsOnHerOnceNoAccountIsLeft(t *testing.T) {
	t.Parallel()
	b := setup(t, never)
	b.key(tenant.KeySpec{})
	stays, err := b.here.CreateUser(t.Context(), "stays")
	if err != nil {
		t.Fatal(err)
	}
	b.hangOn(b.user.ID, "hers")
	b.hangOn(stays.ID, "another's")
	finish := func(when string, want bool) {
		t.Helper()
		if gone, err := b.here.FinishDeletion(t.Context(), b.user.ID); err != nil || gone != want {
			t.Errorf("%s: %v, %v", when, gone, err)
		}
	}
	finish("before it was begun", false)
	if _, err := b.here.BeginDeletion(t.Context(), b.user.ID); err != nil {
		t.Fatal(err)
	}
	finish("with an account", false)
	if n := b.count(`SELECT count(*) FROM oauth_accounts`); n != 2 {
		t.Fatalf("%d accounts: one went with the user, and nobody was told", n)
	}
	b.exec(`DELETE FROM oauth_accounts WHERE user_id = $1`, b.user.ID)
	finish("without", true)
	finish("again", false)
	left := `SELECT (SELECT count(*) FROM users WHERE id = $1) + (SELECT count(*) FROM api_keys WHERE user_id = $1) + (SELECT count(*) FROM connect_links WHERE user_id = $1)`
	if n := b.count(left, b.user.ID); n != 0 {
		t.Errorf("%d rows of hers are left", n)
	}
	for text, want := range map[string]int{"hers": 0, "another's": 1} {
		if n := b.count(`SELECT count(*) FROM publishes WHERE request = convert_to($1, 'UTF8') OR error ->> 'message' = $1`, text); n != want {
			t.Errorf("%d publishes with the content %s", n, text)
		}
	}
	if n := b.count(left, stays.ID); n != 2 {
		t.Errorf("of the other user %d rows are left", n)
	}
}

func TestAUserIsDeletedOnce(t *testing.T) {
	t.Parallel()
	b := setup(t, never)
	if _, err := b.here.BeginDeletion(t.Context(), b.user.ID); err != nil {
		t.Fatal(err)
	}
	var times atomic.Int64
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			gone, err := b.here.FinishDeletion(b.Context(), b.user.ID)
			if err != nil {
				t.Error(err)
			}
			if gone {
				times.Add(1)
			}
		})
	}
	all.Wait()
	if n := times.Load(); n != 1 {
		t.Errorf("%d times", n)
	}
}

func TestBlankingReadsEachPublishAFewTimesHoweverManyThereAre(t *testing.T) {
	t.Parallel()
	b := setup(t, never)
	const n = 10_000
	b.exec(`INSERT INTO publishes (id, account_id, user_id, provider, request, state, due_at, expires_at, ended_at, accepted_at)
		SELECT gen_random_uuid(), gen_random_uuid(), $1, 'p', 'hers', 'canceled', now(), now(), now(), now() + i % 100 * interval '1 s' FROM generate_series(1, $2::int) i`, b.user.ID, n)
	b.exec(`ANALYZE publishes`)
	var read int
	err := pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error {
		if err := tenant.Blank(t.Context(), tx, b.user.ID, uuid.Nil); err != nil {
			return err
		}
		return tx.QueryRow(t.Context(), `SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'publishes'`).Scan(&read)
	})
	if left := b.count(`SELECT count(*) FROM publishes WHERE request IS NOT NULL`); err != nil || left > 0 || read > 5*n {
		t.Errorf("read %d rows to blank %d, %d are left: %v", read, n, left, err)
	}
}

func TestKeysAreListedWithoutTheirValues(t *testing.T) {
	t.Parallel()
	b := setup(t, never)
	expires := time.Now().Add(time.Hour).Truncate(time.Microsecond)
	one, value := b.key(tenant.KeySpec{Name: "ci", Scopes: []tenant.Scope{tenant.ScopePublish}, ExpiresAt: expires})
	two, _ := b.key(tenant.KeySpec{Scopes: []tenant.Scope{tenant.ScopeAdmin}})
	other, err := b.here.CreateUser(t.Context(), "other")
	if err != nil {
		t.Fatal(err)
	}
	b.key(tenant.KeySpec{UserID: other.ID})
	b.known(b.here, value)
	b.revoke(b.here, two)
	keys := b.keys()
	if len(keys) != 2 || keys[0].ID != one || keys[1].ID != two {
		t.Fatalf("listed %+v", keys)
	}
	k := keys[0]
	if k.Name != "ci" || !slices.Equal(k.Scopes, []tenant.Scope{tenant.ScopePublish}) || !k.ExpiresAt.Equal(expires) ||
		k.LastUsedAt.IsZero() || !k.RevokedAt.IsZero() || k.CreatedAt.IsZero() {
		t.Errorf("%+v", k)
	}
	if k := keys[1]; k.RevokedAt.IsZero() || !k.ExpiresAt.IsZero() || !k.LastUsedAt.IsZero() {
		t.Errorf("%+v", k)
	}
	if shown := fmt.Sprintf("%+v", keys); strings.Contains(shown, value[3:]) {
		t.Error("a value is in the list")
	}
	next, err := b.here.List(t.Context(), b.user.ID, one, 1)
	if err != nil || !reflect.DeepEqual(next, keys[1:]) {
		t.Errorf("the page after the first: %+v, %v", next, err)
	}
}

func TestAKeyThatIsNotValidMakesNoOther(t *testing.T) {
	t.Parallel()
	b := setup(t, never)
	id, _ := b.key(tenant.KeySpec{})
	spec := tenant.KeySpec{UserID: b.user.ID, Scopes: []tenant.Scope{tenant.ScopePublish}, Maker: id}
	if _, _, err := b.here.CreateKey(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	for _, end := range []string{
		`UPDATE api_keys SET revoked_at = now() WHERE id = $1`,
		`UPDATE api_keys SET revoked_at = NULL, expires_at = now() WHERE id = $1`,
		`DELETE FROM api_keys WHERE id = $1`,
	} {
		b.exec(end, id)
		if _, value, err := b.there.CreateKey(t.Context(), spec); !errors.Is(err, tenant.ErrUnauthorized) || !value.Empty() {
			t.Errorf("after %s: %v", end, err)
		}
	}
}

func TestACallerKnowsWhenTheKeyExpires(t *testing.T) {
	t.Parallel()
	b := setup(t, tenant.Config{})
	expires := time.Now().Add(time.Hour).Truncate(time.Microsecond)
	_, value := b.key(tenant.KeySpec{ExpiresAt: expires})
	_, forever := b.key(tenant.KeySpec{})
	for range 2 { // asked and believed
		if c := b.known(b.here, value); !c.ExpiresAt.Equal(expires) {
			t.Errorf("expires at %v", c.ExpiresAt)
		}
		if c := b.known(b.here, forever); !c.ExpiresAt.IsZero() {
			t.Errorf("expires at %v", c.ExpiresAt)
		}
	}
}
