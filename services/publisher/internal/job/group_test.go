package job

import (
	"testing"
	"time"
)

func TestAGroupThatIsRefusedHasMovedNothing(t *testing.T) {
	b := setup(t)
	one, two := b.stored(b.a, b.request()), b.stored(b.a, b.request())
	good := &Transition{Publish: one.Publish, Lane: Free}
	good.Publish.State, good.Publish.Error = Failed, []byte(`{}`)
	bad := &Transition{Publish: two.Publish, Lane: Free}
	bad.Publish.State = Completed // without a result, which breaks a CHECK
	if _, err := b.a.flush(t.Context(), []*Transition{good, bad}); err == nil {
		t.Fatal("the group was taken")
	}
	if p, err := b.a.Get(t.Context(), one.Publish.ID); err != nil || p.Version != 1 {
		t.Errorf("version %d (%v), want 1: its writer is told that it did not move", p.Version, err)
	}
}

func TestTheIndexThatKeepsASecondArmFromALaneGoneWrongIsToldApart(t *testing.T) {
	b := setup(t)
	one, two := b.stored(b.a, b.request()), b.stored(b.a, b.request())
	b.write(b.a, arm(one.Publish, one.Fence))
	if _, err := b.pool.Exec(t.Context(), `UPDATE account_lanes SET armed = NULL`); err != nil {
		t.Fatal(err)
	}
	if w, err := b.a.Write(t.Context(), arm(two.Publish, two.Fence)); w.Moved || !IsOtherArmed(err) || IsRemoteTaken(err) {
		t.Errorf("moved %v, error %v", w.Moved, err)
	}
}

func TestALaneIsNotTakenForWhatWaitsItsTurn(t *testing.T) {
	b := setup(t)
	one, two := b.stored(b.a, b.request()), b.stored(b.a, b.request())
	ready := &Transition{Publish: two.Publish, Fence: two.Fence}
	ready.Publish.State = Ready
	b.write(b.a, ready)
	sent := arm(one.Publish, one.Fence)
	sent.NextIn = time.Hour
	armed := b.write(b.a, sent)
	if err := b.a.Release(t.Context(), []Lane{{Account: b.accountID, Fence: one.Fence}}); err != nil {
		t.Fatal(err)
	}
	if lanes, err := b.b.Claim(t.Context(), 10); err != nil || len(lanes) != 0 {
		t.Fatalf("claimed %+v (%v), want nothing before the armed one's next look", lanes, err)
	}
	done := &Transition{Publish: armed.Publish, Lane: Free}
	done.Publish.State, done.Publish.Result = Completed, []byte(`{}`)
	b.write(b.a, done)
	if lanes, err := b.b.Claim(t.Context(), 10); err != nil || len(lanes) != 1 || len(lanes[0].Work) != 1 {
		t.Errorf("claimed %+v (%v), want the lane with the one whose turn it is", lanes, err)
	}
}
