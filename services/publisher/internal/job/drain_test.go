package job

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"postbus.dev/events"
)

// of is a request whose account was read in this version.
func (b *bench) of(accountVersion int64) *New {
	n := b.request()
	n.AccountVersion = accountVersion
	return n
}

func (b *bench) disconnecting(s *Store, version int64) {
	b.t.Helper()
	if err := s.Disconnecting(b.t.Context(), b.accountID, version, []byte("asked for")); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) connected(version int64) {
	b.t.Helper()
	if _, err := b.a.Connected(b.t.Context(), b.accountID, version); err != nil {
		b.t.Fatal(err)
	}
}

// conclude concludes what is drained, and returns for which version.
func (b *bench) conclude(s *Store) (versions []int64) {
	b.t.Helper()
	err := s.Conclude(b.t.Context(), 10, func(d Drain) (event.Event, error) {
		if d.Account != b.accountID || string(d.Event) != "asked for" {
			b.t.Errorf("drained %+v", d)
		}
		versions = append(versions, d.Version)
		return events.New(events.Meta{Source: "/test", Subject: d.Account.String()},
			events.AccountDrained{AccountRef: events.AccountRef{AccountID: d.Account.String(), Provider: "instagram"}, Unconfirmed: d.Unconfirmed})
	})
	if err != nil {
		b.t.Error(err)
	}
	return versions
}

// told counts the account.drained in the outbox.
func (b *bench) told() (n int) {
	b.t.Helper()
	if err := b.pool.QueryRow(b.t.Context(), `SELECT count(*) FROM outbox WHERE subject = 'account.drained' AND stream = 'ACCOUNT'`).Scan(&n); err != nil {
		b.t.Fatal(err)
	}
	return n
}

func (b *bench) left(settle time.Duration) (out []Publish) {
	b.t.Helper()
	out, err := b.b.Left(b.t.Context(), settle, 100)
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

// end is the transition that fails p, whoever holds the lane.
func end(p Publish) *Transition {
	tr := &Transition{Publish: p}
	tr.Publish.State, tr.Publish.Error = Failed, []byte(`{}`)
	return tr
}

func TestADrainingAccountTakesNoRequestOfBeforeAndArmsNothing(t *testing.T) {
	b := setup(t)
	before := b.stored(b.a, b.of(1))
	b.disconnecting(b.b, 2)
	late := b.of(1)
	if taken := b.stored(b.b, late); !taken.Stale || taken.Stored {
		t.Errorf("a request whose account was read before: %+v", taken)
	}
	if w := b.write(b.a, arm(before.Publish, before.Fence)); w.Moved {
		t.Error("armed while the account drains")
	}
	b.connected(3)
	late.AccountVersion = 3
	if taken := b.stored(b.b, late); !taken.Stored {
		t.Errorf("after the account was connected again: %+v", taken)
	}
	if w := b.write(b.a, arm(before.Publish, before.Fence)); !w.Moved {
		t.Error("not armed after the account was connected again")
	}
}

func TestARequestReadAfterAReconnectIsTakenBeforeThatIsTold(t *testing.T) {
	b := setup(t)
	b.disconnecting(b.a, 2)
	if taken := b.stored(b.a, b.of(3)); !taken.Stored || taken.Stale {
		t.Errorf("%+v, want it stored", taken)
	}
}

// The account service waits ten minutes for a drain, and no longer: then the
// account may be connected again.
func TestARequestReadAfterAReconnectIsNotEndedByTheDrainOfBefore(t *testing.T) {
	b := setup(t)
	b.disconnecting(b.a, 2)
	fresh := b.stored(b.a, b.of(7)) // connected in version 4, which nobody has told yet
	if left := b.left(0); len(left) != 0 {
		t.Errorf("the drain ends %d publishes", len(left))
	}
	if w := b.write(b.a, arm(fresh.Publish, fresh.Fence)); !w.Moved {
		t.Error("not armed, though the account was seen to be connected")
	}
	b.disconnecting(b.b, 2) // both once more, and late
	b.connected(4)
	if taken := b.stored(b.b, b.of(7)); taken.Stale {
		t.Error("it drains again")
	}
	b.disconnecting(b.b, 8)
	if taken := b.stored(b.b, b.of(7)); !taken.Stale {
		t.Error("the next disconnecting counts for nothing")
	}
}

func TestAnErasureThatIsAskedForMeanwhileGivesADrainNoMoreTime(t *testing.T) {
	b := setup(t)
	sent := b.stored(b.a, b.request())
	tr := arm(sent.Publish, sent.Fence)
	tr.NextIn, tr.SendIn, tr.Settle = time.Hour, time.Millisecond, time.Millisecond
	b.write(b.a, tr)
	b.disconnecting(b.a, 2)
	if _, err := b.pool.Exec(t.Context(), `UPDATE account_lanes SET draining_at = draining_at - interval '1 hour'`); err != nil {
		t.Fatal(err)
	}
	b.disconnecting(b.b, 3)
	waitFor(t, func() bool { return len(b.left(30*time.Minute)) == 1 })
	b.connected(4)
	b.disconnecting(b.b, 5)
	if left := b.left(30 * time.Minute); len(left) != 0 {
		t.Error("another drain has begun in the past")
	}
}

func TestAStaleRequestIsToldFromARepeatAndLeavesItsTombstone(t *testing.T) {
	b := setup(t)
	known, buried := b.of(1), b.of(1)
	b.stored(b.a, known)
	if ok, err := b.a.Bury(t.Context(), Publish{ID: buried.Publish.ID}); err != nil || !ok {
		t.Fatalf("bury: %v %v", ok, err)
	}
	b.disconnecting(b.a, 2)
	if again := b.stored(b.a, known); again.Stale || !again.Same {
		t.Errorf("repeat: %+v", again)
	}
	if taken := b.stored(b.a, buried); !taken.Stale {
		t.Errorf("request after its cancel: %+v", taken)
	}
	buried.Publish.State, buried.Publish.Error = Failed, []byte(`{}`)
	if taken := b.stored(b.a, buried); !taken.Canceled {
		t.Errorf("the same, once its account was read again: %+v", taken)
	}
}

func TestStaleRequestsThatWaitTogetherAreAllStale(t *testing.T) {
	b := setup(t)
	b.disconnecting(b.a, 2)
	n := b.of(1)
	taken, err := b.a.flushIntake(t.Context(), []*New{n, n})
	if err != nil || !taken[0].Stale || !taken[1].Stale {
		t.Errorf("%+v (%v)", taken, err)
	}
}

func TestWhatIsToldOfAnAccountCountsByItsVersionNotByItsOrder(t *testing.T) {
	b := setup(t)
	b.connected(7)
	b.disconnecting(b.a, 5) // before the lane's first publish, and late
	taken := b.stored(b.a, b.of(7))
	if w := b.write(b.a, arm(taken.Publish, taken.Fence)); !w.Moved {
		t.Error("an account.disconnecting of before stopped the account")
	}
	b.disconnecting(b.a, 8)
	b.connected(7)
	if taken := b.stored(b.a, b.of(7)); !taken.Stale {
		t.Error("an account.connected of before ended the drain")
	}
}

func TestAnAccountThatNeverPublishedIsDrainedAtOnce(t *testing.T) {
	b := setup(t)
	b.disconnecting(b.a, 2)
	if got := b.conclude(b.a); len(got) != 1 || got[0] != 2 || b.told() != 1 {
		t.Errorf("drained %v, told %d times", got, b.told())
	}
	if taken := b.stored(b.a, b.of(1)); !taken.Stale {
		t.Errorf("a request that was on its way meanwhile: %+v", taken)
	}
}

func TestADrainedAccountKeepsNothingOfTheEventThatAskedForIt(t *testing.T) {
	b := setup(t)
	kept := func() (n int) {
		if err := b.pool.QueryRow(t.Context(), `SELECT count(*) FROM account_lanes WHERE draining IS NOT NULL`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	b.disconnecting(b.a, 2)
	if kept() != 1 {
		t.Fatal("an account that drains lacks what account.drained is made of")
	}
	b.conclude(b.a)
	if kept() != 0 {
		t.Error("the event is kept, and its user's id with it")
	}
}

func TestDrainedIsToldOnceForEachTimeThatAnAccountIsDisconnected(t *testing.T) {
	b := setup(t)
	taken := b.stored(b.a, b.of(1))
	b.disconnecting(b.a, 2)
	if got := b.conclude(b.a); len(got) != 0 {
		t.Fatalf("drained with a publish that may run: %v", got)
	}
	if w := b.write(b.b, end(taken.Publish)); !w.Moved {
		t.Fatal("the publish did not end")
	}
	var all sync.WaitGroup
	for _, s := range []*Store{b.a, b.b, b.a, b.b} {
		all.Go(func() { b.conclude(s) })
	}
	all.Wait()
	b.disconnecting(b.b, 2) // the same event once more
	b.conclude(b.b)
	if n := b.told(); n != 1 {
		t.Errorf("told %d times", n)
	}
	b.connected(3)
	b.disconnecting(b.a, 4)
	if got := b.conclude(b.b); len(got) != 1 || got[0] != 4 || b.told() != 2 {
		t.Errorf("the second time: %v, told %d times", got, b.told())
	}
}

func TestDrainedIsNotToldOfWhatWentOnMeanwhile(t *testing.T) {
	b := setup(t)
	b.disconnecting(b.a, 2)
	b.stored(b.a, b.of(3)) // connected again, which nobody has told yet
	err := pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error {
		return b.a.conclude(t.Context(), tx, b.accountID, func(Drain) (event.Event, error) {
			t.Error("told, with a publish that may run")
			return event.Event{}, errors.New("told")
		})
	})
	if err != nil {
		t.Error(err)
	}
}

func TestARequestAndADisconnectAtTheSameMomentLeaveNothingBehindDrained(t *testing.T) {
	b := setup(t)
	for range 30 {
		b.accountID = uuid.Must(uuid.NewV7())
		n := b.of(1)
		var taken Taken
		var drained []int64
		var both sync.WaitGroup
		both.Go(func() { taken = b.stored(b.a, n) })
		both.Go(func() { b.disconnecting(b.b, 2); drained = b.conclude(b.b) })
		both.Wait()
		if taken.Stored == (len(drained) > 0) || taken.Stored == taken.Stale {
			t.Fatalf("stored %v, stale %v, drained %v: want one or the other", taken.Stored, taken.Stale, drained)
		}
		if taken.Stored && b.write(b.a, arm(taken.Publish, taken.Fence)).Moved {
			t.Fatal("armed while the account drains")
		}
		if taken.Stored {
			b.write(b.a, end(taken.Publish))
			b.conclude(b.a)
		}
	}
}

// unconfirmed is a publish that is watched.
func (b *bench) unconfirmed() Publish {
	b.t.Helper()
	taken := b.stored(b.a, b.request())
	w := b.write(b.a, arm(taken.Publish, taken.Fence))
	tr := &Transition{Publish: w.Publish, Lane: Free, HasNext: true, NextIn: time.Hour}
	tr.Publish.State, tr.Publish.Error = Unconfirmed, []byte(`{}`)
	return b.write(b.a, tr).Publish
}

func TestWhatIsLeftOfADrainingAccountEndsInItsTime(t *testing.T) {
	b := setup(t)
	later := b.request()
	later.Publish.DueAt = time.Now().Add(20 * 24 * time.Hour)
	later.Publish.NextAt, later.Publish.ExpiresAt = later.Publish.DueAt, later.Publish.DueAt.Add(time.Hour)
	watched, scheduled := b.unconfirmed(), b.stored(b.a, later)
	sent := b.stored(b.a, b.request())
	tr := arm(sent.Publish, sent.Fence)
	tr.NextIn, tr.SendIn, tr.Settle = time.Hour, 200*time.Millisecond, 300*time.Millisecond
	armed := b.write(b.a, tr)
	if got := b.left(0); len(got) != 0 {
		t.Fatalf("left of an account that is connected: %v", got)
	}
	b.disconnecting(b.b, 2)
	states := func(ps []Publish) map[uuid.UUID]State {
		m := map[uuid.UUID]State{}
		for _, p := range ps {
			m[p.ID] = p.State
		}
		return m
	}
	at := states(b.left(0))
	if len(at) != 2 || at[scheduled.Publish.ID] != Accepted || at[watched.ID] != Unconfirmed {
		t.Errorf("left at once: %v", at)
	}
	waitFor(t, func() bool { return len(b.left(0)) == 3 })
	var quiet bool
	if err := b.pool.QueryRow(t.Context(), `SELECT quiet_at <= clock_timestamp() FROM publishes WHERE id = $1`, [16]byte(armed.Publish.ID)).Scan(&quiet); err != nil || !quiet {
		t.Errorf("what is at the provider was to end before its call had come to rest (%v)", err)
	}
	if at := states(b.left(time.Hour)); len(at) != 2 {
		t.Errorf("left while what is at the provider may settle: %v", at)
	}
}

func TestDrainedSaysHowManyNobodyCanTell(t *testing.T) {
	b := setup(t)
	for range 2 {
		watched := b.unconfirmed()
		rest := &Transition{Publish: watched}
		rest.Publish.NextAt = time.Time{}
		b.write(b.a, rest)
	}
	b.disconnecting(b.a, 2)
	var got Drain
	err := b.b.Conclude(context.WithoutCancel(t.Context()), 10, func(d Drain) (event.Event, error) {
		got = d
		return events.New(events.Meta{Source: "/test"}, events.AccountDrained{AccountRef: events.AccountRef{AccountID: d.Account.String(), Provider: "p"}})
	})
	if err != nil || got.Unconfirmed != 2 {
		t.Errorf("%+v (%v), want 2 unconfirmed", got, err)
	}
}

// Her deletion may be past the point at which it would find what is stored now.
func TestARequestThatFailsWhileItsUserIsDeletedIsStoredWithoutItsContent(t *testing.T) {
	b := setup(t)
	owner, err := pgx.Connect(t.Context(), b.owner)
	if err != nil {
		t.Fatal(err)
	}
	defer owner.Close(context.WithoutCancel(t.Context()))
	stays, leaves := uuid.New(), uuid.New()
	if _, err := owner.Exec(t.Context(), `INSERT INTO users (id, external_id, deleting_at) VALUES ($1, 'stays', NULL), ($2, 'leaves', now())`,
		[16]byte(stays), [16]byte(leaves)); err != nil {
		t.Fatal(err)
	}
	for user, keeps := range map[uuid.UUID]bool{stays: true, leaves: false, uuid.New(): false, uuid.Nil: false} {
		n := b.request()
		n.Publish.UserID, n.Publish.State, n.Publish.Error = user, Failed, []byte(`{}`)
		if taken := b.stored(b.a, n); !taken.Stored {
			t.Fatal("not stored")
		}
		p, err := b.a.Get(t.Context(), n.Publish.ID)
		if err != nil || (p.Request != nil) != keeps || (p.ContentSum != nil) != keeps || p.RequestSum == nil {
			t.Errorf("user %s: keeps %s, %v", user, p.Request, err)
		}
	}
}
