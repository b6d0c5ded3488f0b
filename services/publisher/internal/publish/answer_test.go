package publish

import (
	"strings"
	"testing"
	"time"

	"postbus.dev/events"
	"postbus.dev/services/connectors"
	"postbus.dev/services/publisher/internal/job"
)

func TestALostAnswerDoesNotTakeBackWhatWasReported(t *testing.T) {
	b := setup(t)
	stalled := b.armed("gone")
	other := b.turn(stalled.p)
	other.unclear(t.Context(), connectors.Found{Evidence: "looked for long enough"})
	if s := b.now(stalled.p.ID).State; s != job.Unconfirmed {
		t.Fatalf("%s, want unconfirmed", s)
	}
	stalled.lost(t.Context(), &connectors.Error{Message: "timed out"})
	if s := b.now(stalled.p.ID).State; s != job.Unconfirmed {
		t.Errorf("%s, want unconfirmed still: it would be reported once more", s)
	}
}

func TestWhatWasAtTheProviderHasNotFailedForWantOfItsConnector(t *testing.T) {
	b := setup(t)
	turn := b.armed("gone")
	for range 100 {
		turn.run()
		if p := b.now(turn.p.ID); p.State == job.Unconfirmed {
			return
		} else if p.State.Ended() {
			t.Fatalf("%s, although nobody knows", p.State)
		}
		turn = b.turn(turn.p)
	}
	t.Fatalf("%s, want unconfirmed", turn.p.State)
}

func TestAnAnswerThatTheDatabaseWouldRefuseIsStored(t *testing.T) {
	b := setup(t)
	turn := b.armed("gone")
	turn.complete(t.Context(), &connectors.RemotePost{ID: "1", Caption: "a\x00b", Metadata: []byte(`{"x":"\u0000"}`)}, nil, nil)
	if s := b.now(turn.p.ID).State; s != job.Completed {
		t.Errorf("%s, want completed", s)
	}
}

func TestAnAcceptedPostIsUnconfirmedWhenTheProviderDoesNotSayInTime(t *testing.T) {
	b := setup(t)
	b.toy.timing.Confirm = time.Millisecond
	turn := b.armed("toy")
	turn.accepted(t.Context(), connectors.Step{Next: connectors.Accepted})
	if s := b.now(turn.p.ID).State; s != job.Confirming {
		t.Fatalf("%s, want confirming", s)
	}
	b.turn(turn.p).run()
	if p := b.now(turn.p.ID); p.State != job.Unconfirmed || !strings.Contains(string(p.Error), "did not say within 1ms") {
		t.Errorf("%s, because of %s", p.State, p.Error)
	}
}

func TestAPostThatWasNamedIsCompletedByItsNameWhenNobodyTellsMoreOfIt(t *testing.T) {
	b := setup(t)
	b.toy.timing.Confirm = time.Millisecond
	for why, lose := range map[string]func(*turn){
		"the provider does not show it in time": func(*turn) {},
		"its account is gone":                   func(t *turn) { t.l.acct, t.l.acctAt = Account{Status: "disconnected"}, time.Now() },
		"its account is gone, and its content":  func(t *turn) { b.forget(t.p.UserID) },
	} {
		turn := b.armed("toy")
		turn.accepted(t.Context(), connectors.Step{Next: connectors.Accepted, Post: &connectors.RemotePost{ID: why}})
		lose(turn)
		b.turn(b.now(turn.p.ID)).run()
		p := b.now(turn.p.ID)
		if p.State != job.Completed || !strings.Contains(string(p.Result), `"postId": "`+why+`"`) || !strings.Contains(string(p.Result), `"permalink": null`) {
			t.Errorf("%s: %s with %s", why, p.State, p.Result)
		}
		if told := b.told(p.ID); len(told) != 1 || !strings.Contains(told[events.TypePublishCompleted], `"permalink":null`) {
			t.Errorf("%s: told %v", why, told)
		}
	}
}
