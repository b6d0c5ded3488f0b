package job

import (
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
)

func TestARepeatStoresNothingAndTellsWhetherItsDataIsTheSame(t *testing.T) {
	b := setup(t)
	n := b.request()
	if first := b.stored(b.a, n); !first.Stored || first.Fence != 1 {
		t.Fatalf("first: %+v", first)
	}
	if again := b.stored(b.b, n); again.Stored || !again.Same || again.Fence != 0 {
		t.Errorf("repeat: %+v", again)
	}
	other := *n
	other.Publish.RequestSum = make([]byte, 32)
	other.Publish.RequestSum[0] = 1
	if again := b.stored(b.b, &other); again.Stored || again.Same {
		t.Errorf("repeat with other data: %+v", again)
	}
}

func TestRepeatsThatWaitTogetherStoreOneRow(t *testing.T) {
	b := setup(t)
	n := b.request()
	var mu sync.Mutex
	stored := 0
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			taken, err := b.a.Store(t.Context(), n)
			if err != nil {
				t.Error(err)
			}
			if taken.Stored {
				mu.Lock()
				stored++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if stored != 1 {
		t.Errorf("%d of 40 say that they stored the row, want 1", stored)
	}
}

func TestRepeatsThatWaitTogetherAreHeldAgainstTheStoredRow(t *testing.T) {
	b := setup(t)
	n := b.request()
	b.stored(b.a, n)
	other := *n
	other.Publish.RequestSum = make([]byte, 32)
	other.Publish.RequestSum[0] = 1
	taken, err := b.a.flushIntake(t.Context(), []*New{&other, n, &other})
	if err != nil {
		t.Fatal(err)
	}
	for i, same := range []bool{false, true, false} {
		if taken[i].Stored || taken[i].Same != same {
			t.Errorf("repeat %d: %+v, want same %v", i, taken[i], same)
		}
	}
}

func TestTheRowThatTheDatabaseRefusesFailsAlone(t *testing.T) {
	b := setup(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	failed := 0
	for i := range 60 {
		n := b.request()
		if i == 30 {
			n.Publish.RequestSum = []byte("short") // breaks a CHECK
		}
		wg.Go(func() {
			if _, err := b.a.Store(t.Context(), n); err != nil {
				mu.Lock()
				failed++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if failed != 1 {
		t.Errorf("%d of 60 failed, want the bad one alone", failed)
	}
}

func TestAnOwnerWhoseLaneWasTakenCannotArm(t *testing.T) {
	b := setup(t)
	paused := b.store(b.shortLease)
	taken := b.stored(paused, b.request())
	waitFor(t, func() bool { // the lease runs out, another process takes the lane
		lanes, err := b.b.Claim(t.Context(), 10)
		if err != nil {
			t.Fatal(err)
		}
		return len(lanes) == 1 && lanes[0].Fence == taken.Fence+1 && len(lanes[0].Work) == 1
	})
	if w := b.write(paused, arm(taken.Publish, taken.Fence)); w.Moved {
		t.Error("the owner of the old fence armed a publish")
	}
	if w := b.write(b.b, arm(taken.Publish, taken.Fence+1)); !w.Moved || w.Publish.State != Armed {
		t.Errorf("the owner of the new fence could not arm: %+v", w)
	}
}

func TestOnlyOnePublishOfAnAccountIsArmedAtATime(t *testing.T) {
	b := setup(t)
	one, two := b.stored(b.a, b.request()), b.stored(b.a, b.request())
	if two.Fence != one.Fence {
		t.Fatalf("fences %d and %d, want one lane", one.Fence, two.Fence)
	}
	first := b.write(b.a, arm(one.Publish, one.Fence))
	if !first.Moved {
		t.Fatal("the first was not armed")
	}
	if w := b.write(b.a, arm(two.Publish, two.Fence)); w.Moved {
		t.Error("two publishes of an account are armed")
	}
	done := &Transition{Publish: first.Publish, Lane: Free}
	done.Publish.State, done.Publish.Result = Completed, []byte(`{}`)
	if w := b.write(b.b, done); !w.Moved {
		t.Error("an answer was not taken from another process")
	}
	if w := b.write(b.a, arm(two.Publish, two.Fence)); !w.Moved {
		t.Error("the second was not armed after the first had ended")
	}
}

func TestOfACancelAndAnArmOneMoves(t *testing.T) {
	b := setup(t)
	for range 20 {
		b.accountID = uuid.Must(uuid.NewV7())
		taken := b.stored(b.a, b.request())
		cancel := &Transition{Publish: taken.Publish}
		cancel.Publish.State = Canceled
		var armed, canceled Written
		var wg sync.WaitGroup
		wg.Go(func() { armed = b.write(b.a, arm(taken.Publish, taken.Fence)) })
		wg.Go(func() { canceled = b.write(b.b, cancel) })
		wg.Wait()
		if armed.Moved == canceled.Moved {
			t.Fatalf("armed %v, canceled %v: want exactly one", armed.Moved, canceled.Moved)
		}
		want := Canceled
		if armed.Moved {
			want = Armed
		}
		if p, err := b.a.Get(t.Context(), taken.Publish.ID); err != nil || p.State != want || p.Version != 2 {
			t.Fatalf("the row is %s in version %d, want %s in version 2 (%v)", p.State, p.Version, want, err)
		}
	}
}

func TestTheSameTransitionTwiceInOneGroupMovesOnce(t *testing.T) {
	b := setup(t)
	taken := b.stored(b.a, b.request())
	var wg sync.WaitGroup
	var mu sync.Mutex
	moved := 0
	for range 20 {
		wg.Go(func() {
			if b.write(b.a, arm(taken.Publish, taken.Fence)).Moved {
				mu.Lock()
				moved++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if moved != 1 {
		t.Errorf("%d of 20 moved the row, want 1", moved)
	}
}

func TestNothingIsArmedBeforeItsTimeOrAfterItsEnd(t *testing.T) {
	b := setup(t)
	early := b.request()
	early.Publish.DueAt = time.Now().Add(time.Hour)
	taken := b.stored(b.a, early)
	if w := b.write(b.a, arm(taken.Publish, taken.Fence)); w.Moved {
		t.Error("armed an hour early")
	}
	b.accountID = uuid.Must(uuid.NewV7())
	late := b.request()
	late.Publish.DueAt, late.Publish.ExpiresAt = time.Now().Add(-time.Hour), time.Now().Add(-time.Minute)
	taken = b.stored(b.a, late)
	if w := b.write(b.a, arm(taken.Publish, taken.Fence)); w.Moved {
		t.Error("armed after its end")
	}
}

func TestAClosedGateStopsAnArm(t *testing.T) {
	b := setup(t)
	taken := b.stored(b.a, b.request())
	if _, err := b.pool.Exec(t.Context(), `INSERT INTO gates (scope, key, reason, until) VALUES ('provider', 'instagram', 'paused', 'infinity')`); err != nil {
		t.Fatal(err)
	}
	tr := arm(taken.Publish, taken.Fence)
	tr.Gates = GateKeys{Provider: "instagram", Account: b.accountID.String()}
	if w := b.write(b.a, tr); w.Moved {
		t.Error("armed behind a closed gate")
	}
}

func TestWorkBroughtToAForeignLaneIsFoundByItsOwner(t *testing.T) {
	b := setup(t)
	first := b.stored(b.a, b.request())
	second := b.stored(b.b, b.request())
	if second.Fence != 0 || second.Owner != b.a.cfg.Owner {
		t.Fatalf("the second took a held lane: %+v", second)
	}
	lanes, err := b.a.Claim(t.Context(), 10)
	if err != nil {
		t.Fatal(err)
	}
	if len(lanes) != 1 || lanes[0].Fence != first.Fence || len(lanes[0].Work) != 2 {
		t.Errorf("the owner found %+v, want its lane with two publishes", lanes)
	}
	if again, err := b.a.Claim(t.Context(), 10); err != nil || len(again) != 0 {
		t.Errorf("the owner was told twice: %v %v", again, err)
	}
}

func TestAReleasedLaneKeepsTheTimeOfWhatIsLeft(t *testing.T) {
	b := setup(t)
	done, later := b.request(), b.request()
	later.Publish.DueAt = time.Now().Add(time.Hour)
	later.Publish.NextAt, later.Want = later.Publish.DueAt, false
	taken := b.stored(b.a, done)
	b.stored(b.b, later)
	w := b.write(b.a, arm(taken.Publish, taken.Fence))
	end := &Transition{Publish: w.Publish, Lane: Free, Release: taken.Fence, Fence: taken.Fence}
	end.Publish.State, end.Publish.Result = Completed, []byte(`{}`)
	if !b.write(b.a, end).Moved {
		t.Fatal("did not end")
	}
	var owned bool
	var next time.Time
	if err := b.pool.QueryRow(t.Context(), `SELECT owner IS NOT NULL OR armed IS NOT NULL, next_at FROM account_lanes WHERE account_id = $1`, [16]byte(b.accountID)).Scan(&owned, &next); err != nil {
		t.Fatal(err)
	}
	if owned || next.Sub(later.Publish.DueAt).Abs() > time.Millisecond {
		t.Errorf("owned %v, next at %v, want free until %v", owned, next, later.Publish.DueAt)
	}
}

func TestARequestMeetsItsTombstone(t *testing.T) {
	b := setup(t)
	n := b.request()
	if ok, err := b.a.Bury(t.Context(), Publish{ID: n.Publish.ID}); err != nil || !ok {
		t.Fatalf("bury: %v %v", ok, err)
	}
	if taken := b.stored(b.a, n); !taken.Stored || !taken.Canceled || taken.Publish.Version != 2 {
		t.Errorf("request after its cancel: %+v", taken)
	}
	if again := b.stored(b.a, n); again.Stored {
		t.Errorf("its repeat: %+v", again)
	}
}

func TestARemotePostBelongsToOnePublish(t *testing.T) {
	b := setup(t)
	for i, want := range []bool{true, false} {
		taken := b.stored(b.a, b.request())
		w := b.write(b.a, arm(taken.Publish, taken.Fence))
		end := &Transition{Publish: w.Publish, Lane: Free}
		end.Publish.State, end.Publish.Result, end.Publish.RemoteID = Completed, []byte(`{}`), "17900000000000001"
		got, err := b.a.Write(t.Context(), end)
		if got.Moved != want || IsRemoteTaken(err) == want {
			t.Errorf("publish %d: moved %v, error %v", i, got.Moved, err)
		}
	}
}

func TestARenewedLaneIsKeptAndALostOneIsNot(t *testing.T) {
	b := setup(t)
	short := b.store(b.shortLease)
	taken := b.stored(short, b.request())
	held := []Lane{{Account: b.accountID, Fence: taken.Fence}}
	if kept, err := short.Renew(t.Context(), held); err != nil || len(kept) != 1 {
		t.Fatalf("renew: %v %v", kept, err)
	}
	waitFor(t, func() bool {
		lanes, err := b.b.Claim(t.Context(), 10)
		if err != nil {
			t.Fatal(err)
		}
		return len(lanes) == 1
	})
	if kept, err := short.Renew(t.Context(), held); err != nil || len(kept) != 0 {
		t.Errorf("a lost lane was renewed: %v %v", kept, err)
	}
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen within 20 s")
		}
	}
}
