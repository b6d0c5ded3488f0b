package publish

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"postbus.dev/events"
	"postbus.dev/services/connectors"
	"postbus.dev/services/publisher/internal/job"
)

func TestAPublishWaitsForATokenNoLongerThanItsNews(t *testing.T) {
	b, accounts := withBook(t)
	b.toy.dead = 1
	account := uuid.Must(uuid.NewV7())
	id := b.put(account, nil)
	b.due(id)
	b.start()
	b.wait("it waits for a token", func() bool { return b.now(id).DelayReason == "token" })
	accounts.set(account, "active", 2)
	if err := b.run.Changed(t.Context(), account, 2); err != nil {
		t.Fatal(err)
	}
	b.wait("it is published", func() bool { return b.now(id).State == job.Completed })
}

// asked counts the refreshes that were asked for.
func (b *bench) asked() int64 {
	return b.number(`SELECT count(*) FROM outbox WHERE subject = $1`, events.TypeTokenRefreshRequested)
}

func TestManyPublishesOfADeadTokenAskOnceAndGoOnWhereTheyWere(t *testing.T) {
	b, accounts := withBook(t)
	b.toy.dead, b.toy.contains = 1, true
	account := uuid.Must(uuid.NewV7())
	ids := b.crowd(account, 10)
	waits := func(reason string) func() bool {
		return func() bool {
			return b.number(`SELECT count(*) FROM publishes WHERE account_id = $1 AND delay_reason = $2 AND checkpoint IS NOT NULL`, account, reason) == int64(len(ids))
		}
	}
	b.start()
	b.wait("all wait for a token, with what they have", waits("token"))
	if n := b.asked(); n != 1 {
		t.Errorf("%d refreshes were asked for, want 1", n)
	}
	b.toy.set(func() { b.toy.dead = 2 })
	accounts.set(account, "active", 2)
	if err := b.run.Changed(t.Context(), account, 2); err != nil {
		t.Fatal(err)
	}
	b.wait("another one is asked for, as the new token is dead too", func() bool { return b.asked() == 2 })
	b.toy.set(func() { b.toy.dead = 0 })
	accounts.set(account, "active", 3)
	if err := b.run.Changed(t.Context(), account, 3); err != nil {
		t.Fatal(err)
	}
	b.wait("all are published", func() bool {
		return b.number(`SELECT count(*) FROM publishes WHERE account_id = $1 AND state = 'completed'`, account) == int64(len(ids))
	})
	if made := b.toy.contained(); made != len(ids) || b.asked() != 2 {
		t.Errorf("%d containers for %d publishes, and %d refreshes asked for", made, len(ids), b.asked())
	}
}

func TestWhereAProviderWantsAPersonARefreshIsAskedForOnce(t *testing.T) {
	b, accounts := withBook(t)
	b.toy.dead, b.toy.kind = 9, connectors.KindReauthorize
	account := uuid.Must(uuid.NewV7())
	id := b.put(account, nil)
	b.due(id)
	b.start()
	b.wait("it waits for a person", func() bool { return b.now(id).DelayReason == "reauth" })
	for version := int64(2); version < 4; version++ { // a new token is refused too, as where a permission is missing
		failures := b.now(id).Failures
		accounts.set(account, "active", version)
		if err := b.run.Changed(t.Context(), account, version); err != nil {
			t.Fatal(err)
		}
		b.wait("it looks with the new token", func() bool { return b.now(id).Failures > failures })
	}
	if n := b.asked(); n != 1 {
		t.Errorf("%d refreshes were asked for, want 1", n)
	}
	accounts.set(account, "active", 10)
	if err := b.run.Connected(t.Context(), account, 10); err != nil {
		t.Fatal(err)
	}
	b.wait("it is published", func() bool { return b.now(id).State == job.Completed })
}

func TestAPublishWaitsForAPersonNoLongerThanItsNews(t *testing.T) {
	b, accounts := withBook(t)
	account := uuid.Must(uuid.NewV7())
	accounts.set(account, "reauth_required", 2)
	id := b.put(account, nil)
	b.due(id)
	b.start()
	b.wait("it waits for a person", func() bool { return b.now(id).DelayReason == "reauth" })
	accounts.set(account, "active", 3)
	if err := b.run.Connected(t.Context(), account, 3); err != nil {
		t.Fatal(err)
	}
	b.wait("it is published", func() bool { return b.now(id).State == job.Completed })
}

func TestALaneForgetsAnAccountThatThereAreNewsOf(t *testing.T) {
	b, accounts := withBook(t)
	l := newLane(b.run, uuid.Must(uuid.NewV7()), 1, time.Now().Add(time.Minute))
	read := func() Account {
		acct, _, err := l.current(t.Context(), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return acct
	}
	l.stopped = true // nothing of it runs here
	read()
	read()
	l.loaded(job.Lane{AccountVersion: 1})
	read()
	if accounts.reads != 1 {
		t.Errorf("read %d times without news, want once", accounts.reads)
	}
	accounts.set(l.account, "active", 3)
	l.loaded(job.Lane{AccountVersion: 3})
	if got := read(); got.Version != 3 {
		t.Errorf("version %d after the news of 3", got.Version)
	}
	read()
	if accounts.reads != 2 {
		t.Errorf("read %d times, want once more", accounts.reads)
	}
}

func TestAProvidersNoticeMakesAPublishLookSooner(t *testing.T) {
	b, _ := withBook(t)
	account := uuid.Must(uuid.NewV7())
	id := b.sent(account, job.Unknown)
	tr := &job.Transition{Publish: b.now(id)}
	tr.Publish.Checkpoint = connectors.Checkpoint(`{"container":"17890"}`)
	b.move(tr)
	b.start()
	if err := b.run.Notified(t.Context(), account, "17890"); err != nil {
		t.Fatal(err)
	}
	b.wait("it is found", func() bool { return b.now(id).State == job.Completed })
}
