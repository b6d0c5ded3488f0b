package bus

import (
	"context"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"postbus.dev/events"
)

// patient does not find a loss by a request that stays unanswered.
func patient(url string) Config {
	c := quick(url)
	c.PullExpires = time.Minute
	return c
}

func TestAConsumerThatIsDeletedIsMadeAgain(t *testing.T) {
	t.Parallel()
	b := connect(t, patient(startServer(t).URL()))
	db := newDatabase()
	run(t, b, publisher(db.insert))
	mustPublish(t, b, requests("before", 100)...)
	eventually(t, "handled", func() bool { return db.got.len() == 100 && drained(t, b) })
	if err := b.js.DeleteConsumer(t.Context(), events.StreamPublish, events.ConsumerPublisher); err != nil {
		t.Fatal(err)
	}
	mustPublish(t, b, requests("after", 100)...)
	eventually(t, "handled again", func() bool { return db.got.len() == 200 })
	eventually(t, "attached", b.Attached)
}

func TestAStreamThatIsDeletedIsMadeAgain(t *testing.T) {
	t.Parallel()
	b := connect(t, patient(startServer(t).URL()))
	db := newDatabase()
	run(t, b, publisher(db.insert))
	eventually(t, "attached", b.Attached)
	if err := b.js.DeleteStream(t.Context(), events.StreamPublish); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the stream is there again", func() bool {
		_, err := b.js.Stream(t.Context(), events.StreamPublish)
		return err == nil
	})
	mustPublish(t, b, requests("after", 100)...)
	eventually(t, "handled", func() bool { return db.got.len() == 100 && b.Attached() })
}

func TestAfterAReconnectAnIdleConsumerPullsAgain(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	b := connect(t, patient(s.URL()))
	db := newDatabase()
	run(t, b, publisher(db.insert))
	mustPublish(t, b, request("before"))
	eventually(t, "handled", func() bool { return db.got.len() == 1 && drained(t, b) })
	s.Stop()
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	other := connect(t, quick(s.URL()))
	mustPublish(t, other, request("after"))
	eventually(t, "handled", func() bool { return db.got.len() == 2 })
}

func TestAStopLosesNothingThatIsOnItsWay(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	direct := connect(t, quick(s.URL()))
	p := startProxy(t, s.URL())
	p.delay.Store(int64(100 * time.Millisecond))
	far := connect(t, quick(p.url))
	setAckWait(t, direct, time.Minute)
	db := newDatabase()
	h := publisher(db.insert)
	h.Concurrency = 512
	stop := run(t, far, h)
	eventually(t, "attached", far.Attached)
	time.Sleep(300 * time.Millisecond) // its request arrives
	mustPublish(t, direct, requests("r", 200)...)
	stop() // what was just sent is in the proxy
	if db.got.len() > 0 {
		t.Fatal("nothing was on its way")
	}
	run(t, direct, publisher(db.insert))
	eventually(t, "all handled", func() bool { return db.got.len() == 200 })
}

func TestAConsumerThatNobodyAnswersForIsNotAttached(t *testing.T) {
	t.Parallel()
	owner, restricted := startRestrictedServer(t, "$JS.API.CONSUMER.MSG.NEXT.>")
	connect(t, quick(owner))
	b := connect(t, quick(restricted))
	run(t, b, publisher(newDatabase().insert))
	eventually(t, "attached for a moment", b.Attached) // until the first request is overdue
	eventually(t, "noticed", func() bool { return !b.Attached() })
	for range 100 { // and never again, though it binds again and again
		if b.Attached() {
			t.Fatal("attached")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestAServerThatRestartsIsNoticedAndWaitedFor(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	b := connect(t, quick(s.URL()))
	db := newDatabase()
	slow := publisher(func(ctx context.Context, e event.Event) error {
		time.Sleep(20 * time.Millisecond) // so that the restart finds some in hand
		return db.insert(ctx, e)
	})
	slow.Concurrency = 16
	setAckWait(t, b, 2*time.Second) // acks that the restart swallows are repeats soon
	stop := run(t, b, slow)
	mustPublish(t, b, requests("before", 500)...)
	eventually(t, "some handled", func() bool { return db.got.len() > 100 })

	s.Stop()
	eventually(t, "noticed", func() bool { return !b.Connected() && !b.Attached() })
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "attached again", b.Attached)
	mustPublish(t, b, requests("after", 100)...)
	eventually(t, "all handled", func() bool { return db.got.len() == 600 && drained(t, b) })
	stop()
}

func TestAServerMayComeLaterThanItsUsers(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	url := s.URL()
	s.Stop()
	c := quick(url)
	c.Logger = testLog(t)
	b, err := Connect(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close(context.Background()) })
	db := newDatabase()
	run(t, b, publisher(db.insert))
	if b.Connected() || b.Attached() {
		t.Error("connected to nothing")
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "attached", b.Attached)
	mustPublish(t, b, request("r-1"))
	eventually(t, "handled", func() bool { return db.got.of("r-1") == 1 })
}

func TestRunEndsWhileTheServerIsAway(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	b := connect(t, quick(s.URL()))
	stop := run(t, b, publisher(newDatabase().insert))
	eventually(t, "attached", b.Attached)
	s.Stop()
	eventually(t, "noticed", func() bool { return !b.Connected() })
	began := time.Now()
	stop()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
}

func TestSeveralProcessesShareAConsumer(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	first := connect(t, quick(s.URL()))
	db := newDatabase()
	stopFirst := run(t, first, publisher(db.insert))
	run(t, connect(t, quick(s.URL())), publisher(db.insert))
	mustPublish(t, first, requests("a", 1000)...)
	stopFirst() // in the middle, with requests open
	mustPublish(t, first, requests("b", 1000)...)
	eventually(t, "all handled", func() bool { return db.got.len() == 2000 && drained(t, first) })
	if n := consumerInfo(t, first).Delivered.Consumer; n > 2100 {
		t.Errorf("%d deliveries of 2000 events", n)
	}
}
