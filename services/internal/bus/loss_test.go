package bus

import (
	"context"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"postbus.dev/events"
)

func TestAConsumerThatIsDeletedIsMadeAgain(t *testing.T) {
	t.Parallel()
	b := connect(t, quick(startServer(t).URL()))
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
	b := connect(t, quick(startServer(t).URL()))
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
	shortAckWait(t, b, 2*time.Second) // acks that the restart swallows are repeats soon
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
