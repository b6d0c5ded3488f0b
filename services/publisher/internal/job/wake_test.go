package job

import (
	"testing"
	"time"

	"github.com/google/uuid"
)

// waiting is a publish of the bench's account that looks again in an hour.
func (b *bench) waiting(change func(*Publish)) Publish {
	b.t.Helper()
	taken := b.stored(b.a, b.request())
	tr := &Transition{Publish: taken.Publish, HasNext: true, NextIn: time.Hour}
	change(&tr.Publish)
	return b.write(b.a, tr).Publish
}

// woken says which of the publishes look now.
func (b *bench) woken(ps map[string]Publish) map[string]bool {
	b.t.Helper()
	out := map[string]bool{}
	for name, p := range ps {
		now, err := b.a.Get(b.t.Context(), p.ID)
		if err != nil {
			b.t.Fatal(err)
		}
		if moved := now.Version > p.Version; moved != now.NextAt.Before(p.NextAt) {
			b.t.Errorf("%s: version %d after %d, next at %v after %v", name, now.Version, p.Version, now.NextAt, p.NextAt)
		} else if moved {
			out[name] = true
		}
	}
	return out
}

func same(got map[string]bool, want ...string) bool {
	for _, name := range want {
		if !got[name] {
			return false
		}
	}
	return len(got) == len(want)
}

func TestNewsOfAnAccountWakeWhatWaitsForATokenOrAPerson(t *testing.T) {
	b := setup(t)
	ps := map[string]Publish{
		"token":  b.waiting(func(p *Publish) { p.DelayReason = "token" }),
		"reauth": b.waiting(func(p *Publish) { p.DelayReason = "reauth" }),
		"paused": b.waiting(func(p *Publish) { p.DelayReason = "paused" }),
		"later":  b.waiting(func(*Publish) {}),
	}
	owner, err := b.b.Changed(t.Context(), b.accountID, 9)
	if err != nil || owner != b.a.cfg.Owner {
		t.Errorf("the lane is held by %s (%v)", owner, err)
	}
	if got := b.woken(ps); !same(got, "token", "reauth") {
		t.Errorf("woken: %v", got)
	}
	lanes, err := b.a.Claim(t.Context(), 10)
	if err != nil || len(lanes) != 1 || len(lanes[0].Work) != 2 || lanes[0].AccountVersion != 9 {
		t.Errorf("its owner found %+v (%v), want two publishes and the version of the account", lanes, err)
	}
}

func TestNewsThatComeWhileAPublishFindsThatItHasToWaitAreNotMissed(t *testing.T) {
	b := setup(t)
	at := func(told, heard int64) time.Duration {
		p := b.stored(b.a, b.request()).Publish
		if _, err := b.b.Changed(t.Context(), b.accountID, told); err != nil {
			t.Fatal(err)
		}
		tr := &Transition{Publish: p, HasNext: true, NextIn: time.Hour, Heard: heard}
		tr.Publish.DelayReason = "token"
		w := b.write(b.a, tr)
		return w.Publish.NextAt.Sub(w.Publish.StepAt).Round(time.Minute)
	}
	if got := at(1, 1); got != time.Hour {
		t.Errorf("without news it looks in %v", got)
	}
	if got := at(2, 1); got != 0 {
		t.Errorf("with news it looks in %v", got)
	}
	if got := at(3, 0); got != time.Hour {
		t.Errorf("what waits for no news looks in %v", got)
	}
}

func TestNewsOfAnAccountWakeALaneThatNobodyHolds(t *testing.T) {
	b := setup(t)
	b.waiting(func(p *Publish) { p.DelayReason = "reauth" })
	if err := b.a.Release(t.Context(), []Lane{{Account: b.accountID, Fence: 1}}); err != nil {
		t.Fatal(err)
	}
	if lanes, err := b.b.Claim(t.Context(), 10); err != nil || len(lanes) != 0 {
		t.Fatalf("claimed %v (%v) before there were news", lanes, err)
	}
	b.connected(2)
	if lanes, err := b.b.Claim(t.Context(), 10); err != nil || len(lanes) != 1 || len(lanes[0].Work) != 1 {
		t.Errorf("claimed %v (%v), want the lane with its publish", lanes, err)
	}
}

func TestNewsOfAnAccountThatNeverPublishedAreNoWork(t *testing.T) {
	b := setup(t)
	if owner, err := b.a.Changed(t.Context(), b.accountID, 2); err != nil || owner != uuid.Nil {
		t.Errorf("owner %v (%v)", owner, err)
	}
	b.connected(3)
	if lanes, err := b.a.Claim(t.Context(), 10); err != nil || len(lanes) != 0 {
		t.Errorf("claimed %v (%v)", lanes, err)
	}
}

func TestANotifiedHandleWakesThePublishThatItNames(t *testing.T) {
	b := setup(t)
	ps := map[string]Publish{
		"upload": b.waiting(func(p *Publish) { p.Checkpoint = []byte(`{"upload":"v_pub_url~v2-1.7","n":1}`) }),
		"longer": b.waiting(func(p *Publish) { p.Checkpoint = []byte(`{"upload":"v_pub_url~v2-1.78"}`) }),
		"other":  b.waiting(func(*Publish) {}),
	}
	taken := b.stored(b.a, b.request())
	posted := &Transition{Publish: b.write(b.a, arm(taken.Publish, taken.Fence)).Publish, Lane: Free, HasNext: true, NextIn: time.Hour}
	posted.Publish.State, posted.Publish.RemoteID = Confirming, "17900000000000001"
	ps["post"] = b.write(b.a, posted).Publish
	if _, err := b.b.Notified(t.Context(), b.accountID, "v_pub_url~v2-1.7"); err != nil {
		t.Fatal(err)
	}
	if got := b.woken(ps); !same(got, "upload") {
		t.Errorf("woken by the upload: %v", got)
	}
	if _, err := b.b.Notified(t.Context(), uuid.New(), "17900000000000001"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.b.Notified(t.Context(), b.accountID, "17900000000000001"); err != nil {
		t.Fatal(err)
	}
	if got := b.woken(ps); !same(got, "upload", "post") {
		t.Errorf("woken by the post too: %v", got)
	}
}
