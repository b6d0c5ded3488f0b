package publish

import (
	"testing"
	"time"

	"github.com/google/uuid"

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
		acct, err := l.current(t.Context(), time.Hour)
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
