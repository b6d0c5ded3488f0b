package publish

import (
	"slices"
	"testing"
	"time"

	"postbus.dev/services/connectors"
	"postbus.dev/services/publisher/internal/job"
)

func (b *bench) watched(id string) int64 {
	b.t.Helper()
	return b.number(`SELECT count(*) FROM publish_attempts WHERE publish_id = $1 AND step = 'watch' AND outcome = 'ended'`, id)
}

func TestTheWatchOfAnUnconfirmedPublishEnds(t *testing.T) {
	b := setup(t)
	b.toy.blind = true
	b.toy.timing.Window, b.toy.timing.Settle, b.toy.timing.Look = 10*time.Millisecond, time.Millisecond, 10*time.Millisecond
	b.toy.timing.Watch = []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 300 * time.Millisecond}
	id := b.armed("toy").p.ID
	b.lane.giveBack()
	b.start()
	b.wait("the watch has ended", func() bool { return b.watched(id.String()) == 1 })
	p := b.now(id)
	if p.State != job.Unconfirmed || !p.NextAt.IsZero() || p.Looks != 3 {
		t.Errorf("%s after %d looks, next at %v: want it unconfirmed, at rest, after three", p.State, p.Looks, p.NextAt)
	}
	if since := p.StepAt.Sub(p.UnconfirmedAt); since < 600*time.Millisecond {
		t.Errorf("the watch ended after %s", since)
	}
	if n := b.number(`SELECT count(*) FROM outbox WHERE subject = 'publish.unconfirmed'`); n != 1 {
		t.Errorf("told %d times, want once", n)
	}
}

func TestTheWatchFindsWhatShowsUpLater(t *testing.T) {
	b := setup(t)
	b.toy.blind = true
	b.toy.timing.Window, b.toy.timing.Watch = 10*time.Millisecond, slices.Repeat([]time.Duration{100 * time.Millisecond}, 300)
	id := b.armed("toy").p.ID
	b.lane.giveBack()
	b.start()
	b.wait("it is reported", func() bool { return b.now(id).State == job.Unconfirmed })
	b.toy.set(func() { b.toy.blind = false })
	b.wait("it is found", func() bool { return b.now(id).State == job.Completed })
	if n := b.number(`SELECT count(*) FROM outbox WHERE subject IN ('publish.unconfirmed', 'publish.completed')`); n != 2 {
		t.Errorf("told %d times, want that it is unconfirmed, then that it is completed", n)
	}
}

func TestALookInBetweenDoesNotShortenTheWatch(t *testing.T) {
	b := setup(t)
	b.toy.timing.Watch = []time.Duration{5 * time.Minute, 15 * time.Minute, time.Hour}
	turn := b.armed("toy")
	turn.timing = b.toy.timing
	turn.unclear(t.Context(), connectors.Found{Evidence: "nothing"})
	for since, want := range map[time.Duration]time.Duration{
		0:                           5 * time.Minute, // of the first
		4 * time.Minute:             time.Minute,
		5*time.Minute + time.Second: 15*time.Minute - time.Second,
		79 * time.Minute:            time.Minute,
		81 * time.Minute:            0,
	} {
		turn.p.UnconfirmedAt = turn.p.StepAt.Add(-since)
		turn.clock.here = time.Now()
		tr := turn.transition(job.Unconfirmed)
		turn.watch(tr)
		if off := (tr.NextIn - want).Abs(); off > 2*time.Second || tr.HasNext != (want > 0) {
			t.Errorf("%s after it was reported the next look is in %s, want %s", since, tr.NextIn, want)
		}
	}
}
