package disconnect_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"postbus.dev/events"
	"postbus.dev/services/account/internal/disconnect"
	"postbus.dev/services/internal/tenant"
)

// leaver is a user with an account in every state, and publishes.
type leaver struct {
	tenant.User
	accounts []uuid.UUID
	caption  string
}

func (b *bundle) leaver(name string) leaver {
	b.Helper()
	l := leaver{User: b.newUser(name), caption: "caption of " + name}
	for _, state := range []string{"active", "reauth_required", "disconnecting", "disconnected"} {
		id := b.connect(l.ID, name+" "+state)
		switch state {
		case "reauth_required":
			b.exec(`UPDATE oauth_accounts SET status = 'reauth_required' WHERE id = $1`, id)
		case "disconnecting":
			b.leave(id, events.DisconnectRequested, false)
		case "disconnected":
			b.leave(id, events.DisconnectRequested, false)
			b.finish(id)
		}
		l.accounts = append(l.accounts, id)
		b.exec(`INSERT INTO publishes (id, event_source, event_id, account_id, user_id, provider, media_type, request, state, due_at, expires_at, result, ended_at)
VALUES (gen_random_uuid(), '/me', $1::uuid::text, $1, $2, 'test', 'IMAGE', convert_to($3, 'UTF8'), 'completed', now(), now(), jsonb_build_object('caption', $3::text), now())`,
			id, l.ID, l.caption)
	}
	return l
}

// finish shreds an account by hand.
func (b *bundle) finish(id uuid.UUID) {
	b.Helper()
	due, err := b.store.ClaimDisconnects(b.Context(), 100, 0)
	if err != nil {
		b.Fatal(err)
	}
	for _, l := range due {
		if l.ID == id {
			if err := b.store.FinishDisconnect(b.Context(), l, true); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// gone fails unless nothing is left of a user but what was told of her.
func (b *bundle) gone(l leaver) {
	b.Helper()
	b.eventually(l.ExternalID+" is gone", func() bool {
		b.drainAll()
		return query[int](b, `SELECT count(*) FROM users WHERE id = $1`, l.ID) == 0
	})
	if n := query[int](b, `SELECT count(*) FROM oauth_accounts WHERE user_id = $1`, l.ID); n != 0 {
		b.Errorf("%d accounts are left", n)
	}
	if n := query[int](b, `SELECT count(*) FROM publishes p WHERE p::text LIKE '%' || $1 || '%' OR request = convert_to($1, 'UTF8')`, l.caption); n != 0 {
		b.Errorf("%d publishes have their content", n)
	}
	for _, id := range l.accounts {
		all := b.ends(id)
		if len(all) == 0 || all[len(all)-1].Reason != events.DisconnectUserDeleted || all[len(all)-1].UserID != l.ExternalID {
			b.Errorf("told %+v", all)
		}
		last := 0
		for _, d := range all {
			if d.Reason == events.DisconnectUserDeleted {
				last++
			}
		}
		if last != 1 {
			b.Errorf("told %d times that it went with its user", last)
		}
	}
}

func (b *bundle) beginDeletion(id uuid.UUID) {
	b.Helper()
	if _, err := b.keys.BeginDeletion(b.Context(), id); err != nil {
		b.Fatal(err)
	}
}

func TestAUserIsDeletedWithHerAccounts(t *testing.T) {
	t.Parallel()
	b := setup(t)
	l, stays, alone := b.leaver("leaver"), b.leaver("stays"), b.newUser("alone")
	b.leave(stays.accounts[0], events.DisconnectRequested, false)
	b.start(b.job(nil))
	b.awaitStatus(stays.accounts[0], "disconnected")
	b.beginDeletion(alone.ID)
	b.beginDeletion(l.ID)
	b.gone(l)
	b.gone(leaver{User: alone, caption: "nothing"})
	if n := query[int](b, `SELECT count(*) FROM oauth_accounts WHERE user_id = $1`, stays.ID); n != len(stays.accounts) {
		t.Errorf("the other user has %d accounts", n)
	}
	if n := query[int](b, `SELECT count(*) FROM publishes WHERE request = convert_to($1, 'UTF8')`, stays.caption); n != len(stays.accounts) {
		t.Errorf("the other user has %d publishes", n)
	}
	if n := b.provider.of("leaver active"); n != 1 {
		t.Errorf("revoked %d times", n)
	}
}

func TestAUserStaysUntilNobodyBelievesHerKeys(t *testing.T) {
	t.Parallel()
	b := setup(t)
	early, late := b.newUser("early"), b.newUser("late")
	b.beginDeletion(early.ID)
	b.beginDeletion(late.ID)
	b.exec(`UPDATE users SET deleting_at = now() - interval '1 minute' WHERE id = $1`, early.ID)
	b.start(b.job(func(c *disconnect.Config) { c.Settle = 30 * time.Second }))
	b.gone(leaver{User: early, caption: "nothing"})
	if n := query[int](b, `SELECT count(*) FROM users WHERE id = $1`, late.ID); n != 1 {
		t.Error("she is gone already")
	}
}

// A job that crashes does nothing more from a point on: its context ends there,
// so that no statement and no call follows.
func TestAJobThatCrashesAnywhereIsMadeGoodByTheNext(t *testing.T) {
	t.Parallel()
	for _, point := range []string{
		"disconnect.claimed", "disconnect.revoked", "disconnect.finished", "disconnect.user_begun", "disconnect.user_alone",
	} {
		for _, nth := range []int{1, 3} {
			t.Run(fmt.Sprintf("%s %d", point, nth), func(t *testing.T) {
				t.Parallel()
				b := setup(t)
				var all []leaver
				for i := range 3 {
					all = append(all, b.leaver(fmt.Sprint("leaver ", i)))
					b.beginDeletion(all[i].ID)
				}
				b.crash(point, nth)
				b.exec(`UPDATE oauth_accounts SET disconnect_next_at = now() WHERE status = 'disconnecting'`) // its claims run out
				b.start(b.job(nil))
				for _, l := range all {
					b.gone(l)
				}
			})
		}
	}
}

// crash runs a job that ends at the nth hit of a point.
func (b *bundle) crash(point string, nth int) {
	b.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var mu sync.Mutex
	hits := 0
	j := b.job(func(c *disconnect.Config) {
		c.Failpoint = func(name string) {
			mu.Lock()
			defer mu.Unlock()
			if name != point {
				return
			}
			if hits++; hits >= nth {
				cancel()
			}
		}
	})
	ended := make(chan error, 1)
	go func() { ended <- j.Run(ctx) }()
	b.eventually("the crash at "+point, func() bool {
		b.drainAll()
		return ctx.Err() != nil
	})
	if err := <-ended; err != nil {
		b.Errorf("the job ended with %v", err)
	}
}

// A transaction that fails in its middle leaves nothing behind.
func TestADatabaseThatRefusesIsAskedAgain(t *testing.T) {
	t.Parallel()
	for _, refused := range []string{
		`CREATE TRIGGER refuse BEFORE INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION refuse()`,
		`CREATE TRIGGER refuse BEFORE UPDATE OF access_token ON oauth_accounts FOR EACH ROW EXECUTE FUNCTION refuse()`,
		`CREATE TRIGGER refuse BEFORE DELETE ON oauth_accounts FOR EACH ROW EXECUTE FUNCTION refuse()`,
		`CREATE TRIGGER refuse BEFORE DELETE ON users FOR EACH ROW EXECUTE FUNCTION refuse()`,
		`CREATE TRIGGER refuse BEFORE UPDATE ON publishes FOR EACH ROW EXECUTE FUNCTION refuse()`,
	} {
		t.Run(refused, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			l := b.leaver("leaver")
			plain := b.connect(b.user.ID, "plain")
			b.leave(plain, events.DisconnectRequested, false)
			b.beginDeletion(l.ID)
			b.exec(`CREATE SEQUENCE refusals`)
			b.exec(`GRANT USAGE ON refusals TO PUBLIC`)
			b.exec(`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('refusals'); RAISE EXCEPTION 'refused for the test'; END $$`)
			b.exec(refused)
			b.start(b.job(func(c *disconnect.Config) { c.Lease = 100 * time.Millisecond }))
			b.eventually("it was refused twice", func() bool {
				b.drainAll()
				return query[int](b, `SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM refusals`) >= 2
			})
			// To drop the trigger would take a lock that the job may be on its way to.
			b.exec(`CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END; END $$`)
			b.gone(l)
			b.awaitStatus(plain, "disconnected")
			b.ended(plain, "requested", true)
		})
	}
}
