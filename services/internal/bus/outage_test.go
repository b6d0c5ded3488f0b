package bus

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"postbus.dev/events"
)

// database is something that handlers need and that can be away.
type database struct {
	away  atomic.Bool
	asked atomic.Int64 // while away
	got   *seen
}

func newDatabase() *database { return &database{got: newSeen()} }

func (d *database) insert(_ context.Context, e event.Event) error {
	if d.away.Load() {
		d.asked.Add(1)
		return Unavailable(errors.New("connection refused"))
	}
	d.got.add(e.ID())
	return nil
}

func TestWhileTheDatabaseIsAwayPullingStopsAndNothingIsBlamed(t *testing.T) {
	t.Parallel()
	c := quick(startServer(t).URL())
	c.ProbeMax = c.ProbeMin
	b := connect(t, c)
	db := newDatabase()
	db.away.Store(true)
	h := publisher(db.insert)
	h.Concurrency = 32
	mustPublish(t, b, requests("before", 300)...)
	run(t, b, h)

	eventually(t, "the probe was tried many times", func() bool { return db.asked.Load() > 32+2*MaxDeliveries })
	if b.Attached() {
		t.Error("attached while nothing can be handled")
	}
	mustPublish(t, b, requests("during", 300)...)
	at := db.asked.Load()
	eventually(t, "and goes on", func() bool { return db.asked.Load() > at+20 })
	// What was in hand at the beginning, twice at most, and no more since.
	if n := consumerInfo(t, b).Delivered.Consumer; n > 2*32 {
		t.Errorf("%d messages were delivered during the outage", n)
	}

	db.away.Store(false)
	eventually(t, "all handled", func() bool { return db.got.len() == 600 && drained(t, b) })
	eventually(t, "attached again", b.Attached)
	if n := streamMsgs(t, b, events.StreamDeadLetter); n != 0 {
		t.Errorf("%d dead letters", n)
	}
}

func TestAnOutageEndsQuicklyForARunningHandler(t *testing.T) {
	t.Parallel()
	b := connect(t, quick(startServer(t).URL()))
	db := newDatabase()
	run(t, b, publisher(db.insert))
	for round := range 3 {
		db.away.Store(true)
		mustPublish(t, b, requests(string(rune('a'+round)), 100)...)
		asked := db.asked.Load()
		eventually(t, "noticed", func() bool { return db.asked.Load() > asked })
		db.away.Store(false)
		eventually(t, "caught up", func() bool { return db.got.len() == 100*(round+1) })
	}
}

func TestTheProbeOfAnOutageStaysAliveBeyondAckWait(t *testing.T) {
	t.Parallel()
	b := connect(t, quick(startServer(t).URL()))
	setAckWait(t, b, 200*time.Millisecond)
	db := newDatabase()
	db.away.Store(true)
	run(t, b, publisher(db.insert))
	mustPublish(t, b, request("probe"))
	eventually(t, "noticed", func() bool { return db.asked.Load() > 0 })
	time.Sleep(time.Second)
	if n := consumerInfo(t, b).NumRedelivered; n != 0 {
		t.Errorf("%d redelivered", n)
	}
	db.away.Store(false)
	eventually(t, "handled", func() bool { return db.got.of("probe") == 1 && drained(t, b) })
}

func TestAStopDuringAnOutageReturnsTheProbeAtOnce(t *testing.T) {
	t.Parallel()
	c := quick(startServer(t).URL())
	c.ProbeMin, c.ProbeMax = time.Hour, time.Hour
	b := connect(t, c)
	setAckWait(t, b, time.Minute)
	db := newDatabase()
	db.away.Store(true)
	stop := run(t, b, publisher(db.insert))
	mustPublish(t, b, request("probe"))
	eventually(t, "noticed", func() bool { return db.asked.Load() > 0 })
	stop()
	db.away.Store(false)
	run(t, b, publisher(db.insert))
	eventually(t, "handled by the next process", func() bool { return db.got.of("probe") == 1 })
}

func TestAProcessThatAloneHasNoDatabaseLeavesItsEventsToOthers(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := quick(s.URL())
	c.HoldTime = 200 * time.Millisecond
	sick, well := connect(t, c), connect(t, c)
	broken, db := newDatabase(), newDatabase()
	broken.away.Store(true)
	run(t, sick, publisher(broken.insert))
	mustPublish(t, sick, requests("r", 50)...)
	eventually(t, "the sick one has some", func() bool { return broken.asked.Load() > 0 })
	run(t, well, publisher(db.insert))
	// Others make progress as long as there is work.
	for i := 0; db.got.len() < 50+i; i++ {
		if i > 1000 {
			t.Fatalf("handled %d", db.got.len())
		}
		mustPublish(t, well, request(string(rune('A'+i%26))+time.Now().String()))
		time.Sleep(10 * time.Millisecond)
	}
	if n := streamMsgs(t, well, events.StreamDeadLetter); n != 0 {
		t.Errorf("%d dead letters", n)
	}
}

func TestAnEventThatAloneFindsSomethingUnavailableStopsTheOthersOnlyOnce(t *testing.T) {
	t.Parallel()
	c := quick(startServer(t).URL())
	c.HoldTime = 100 * time.Millisecond
	b := connect(t, c)
	var asked atomic.Int64
	got := newSeen()
	run(t, b, publisher(func(_ context.Context, e event.Event) error {
		if e.ID() == "odd" {
			asked.Add(1)
			return Unavailable(errors.New("locked"))
		}
		got.add(e.ID())
		return nil
	}))
	mustPublish(t, b, request("odd"))
	eventually(t, "the odd one stops all", func() bool { return asked.Load() > 0 && !b.Attached() })
	mustPublish(t, b, requests("r", 200)...)
	eventually(t, "a witness clears it", func() bool { return got.len() == 200 })
	eventually(t, "the odd one is tried on", func() bool { return asked.Load() > MaxDeliveries+10 })
	if n := streamMsgs(t, b, events.StreamDeadLetter); n != 0 {
		t.Errorf("%d dead letters", n)
	}
	for range 50 {
		if !b.Attached() {
			t.Fatal("it stopped the others again")
		}
		time.Sleep(5 * time.Millisecond)
	}
}
