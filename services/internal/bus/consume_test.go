package bus

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"postbus.dev/events"
)

func TestEveryEventReachesItsHandlerOnce(t *testing.T) {
	t.Parallel()
	b := connect(t, quick(startServer(t).URL()))
	got := newSeen()
	run(t, b, publisher(func(_ context.Context, e event.Event) error {
		got.add(e.ID())
		return nil
	}))
	mustPublish(t, b, requests("r", 3000)...)
	eventually(t, "all handled", func() bool { return got.len() == 3000 && drained(t, b) })
	for id, n := range got.ids {
		if n != 1 {
			t.Errorf("%s was handled %d times", id, n)
		}
	}
}

func TestAnEventThatFailsFiveTimesIsADeadLetter(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func() error{
		"error": func() error { return errors.New("bad data") },
		"panic": func() error { panic("boom") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := connect(t, quick(startServer(t).URL()))
			got := newSeen()
			run(t, b, publisher(func(_ context.Context, e event.Event) error {
				got.add(e.ID())
				if e.ID() == "bad" {
					return fail()
				}
				return nil
			}))
			mustPublish(t, b, request("bad"), request("good"))
			letter := awaitDeadLetters(t, b, 1)[0]
			if got.of("bad") != MaxFailures || got.of("good") != 1 {
				t.Errorf("tries: bad %d, good %d", got.of("bad"), got.of("good"))
			}
			if reason := letter.Header.Get(HeaderDeadReason); len(reason) < len(reasonFailed) || reason[:len(reasonFailed)] != reasonFailed {
				t.Errorf("reason %q", reason)
			}
			eventually(t, "the original is not delivered again", func() bool { return drained(t, b) })
		})
	}
}

func TestADeadLetterIsTheMessageUnchangedAndSaysWhy(t *testing.T) {
	t.Parallel()
	b := connect(t, quick(startServer(t).URL()))
	run(t, b, publisher(func(context.Context, event.Event) error {
		return Reject("never any good", errors.New("two\nlines"))
	}))
	m, err := events.Encode(request("r-1"))
	if err != nil {
		t.Fatal(err)
	}
	m.Header["X-Mixed_Case"] = []string{"kept"}
	m.Header["Nats-Expected-Stream"] = []string{events.StreamPublish} // would refuse the letter if it stayed
	if _, err := b.js.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}

	letter := awaitDeadLetters(t, b, 1)[0]
	if letter.Subject != "deadletter.publish.requested" || string(letter.Data) != string(m.Data) {
		t.Errorf("subject %q, payload %q", letter.Subject, letter.Data)
	}
	for name, want := range map[string]string{
		"ce-id": "r-1", "ce-source": "/test", "X-Mixed_Case": "kept",
		HeaderDeadReason:                          "rejected: never any good: two lines",
		HeaderDeadConsumer:                        "publisher",
		HeaderDeadStream:                          "PUBLISH",
		HeaderDeadSequence:                        "1",
		HeaderDeadDeliveries:                      "1",
		HeaderDeadPrefix + "Nats-Msg-Id":          "/test/r-1",
		HeaderDeadPrefix + "Nats-Expected-Stream": "PUBLISH",
		"Nats-Msg-Id":                             "deadletter/publisher/PUBLISH/1",
	} {
		if got := letter.Header.Get(name); got != want {
			t.Errorf("header %s is %q, want %q", name, got, want)
		}
	}
	if _, err := time.Parse(time.RFC3339Nano, letter.Header.Get(HeaderDeadTime)); err != nil {
		t.Error(err)
	}
}

func TestADeadLetterThatIsSentBackIsHandled(t *testing.T) {
	t.Parallel()
	b := connect(t, quick(startServer(t).URL()))
	var fixed atomic.Bool
	got := newSeen()
	run(t, b, publisher(func(_ context.Context, e event.Event) error {
		if !fixed.Load() {
			return Reject("not yet", nil)
		}
		got.add(e.ID())
		return nil
	}))
	mustPublish(t, b, request("r-1"), request("r-2")) // an atomic batch leaves headers of its own
	letters := awaitDeadLetters(t, b, 2)
	fixed.Store(true)
	for _, letter := range letters {
		if _, err := b.js.PublishMsg(t.Context(), &nats.Msg{Subject: "publish.requested", Header: letter.Header, Data: letter.Data}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "handled", func() bool { return got.of("r-1") == 1 && got.of("r-2") == 1 })
}

func TestWhatCannotBeReadIsADeadLetterAndHarmsNoOther(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	b := connect(t, quick(s.URL()))
	got := newSeen()
	run(t, b, publisher(func(_ context.Context, e event.Event) error {
		got.add(e.ID())
		return nil
	}))
	const good = 200
	bad := malformed()
	for i := range good {
		mustPublish(t, b, request(fmt.Sprint("good-", i)))
		if i < len(bad) {
			if err := b.nc.PublishMsg(bad[i]); err != nil {
				t.Fatal(err)
			}
		}
	}
	publishRawHeader(t, s.URL(), "publish.requested", "NATS/1.0\r\nno colon here\r\n\r\n", "{}")

	letters := awaitDeadLetters(t, b, len(bad)+1)
	eventually(t, "good ones handled", func() bool { return got.len() == good && drained(t, b) })
	for _, letter := range letters {
		if reason := letter.Header.Get(HeaderDeadReason); len(reason) < 20 || reason[:len(reasonUndecodable)] != reasonUndecodable {
			t.Errorf("reason %q", reason)
		}
	}
}

// malformed lists messages that are no events, each in a way of its own.
func malformed() []*nats.Msg {
	binary := func(change func(h nats.Header)) *nats.Msg {
		m, err := events.Encode(request("malformed"))
		if err != nil {
			panic(err)
		}
		m.Header.Del(nats.MsgIdHdr)
		change(m.Header)
		return m
	}
	plain := func(data string) *nats.Msg { return &nats.Msg{Subject: "publish.requested", Data: []byte(data)} }
	return []*nats.Msg{
		plain(""), plain("not JSON"), plain("{}"), plain("\x00\xff\xfe"), plain(`{"specversion":"1.0"`),
		binary(func(h nats.Header) { h["ce-subject"] = []string{"one", "two"} }),
		binary(func(h nats.Header) { h["X-Any"] = []string{"one", "two"} }),
		binary(func(h nats.Header) { h["ce-subject"] = []string{"\xff\xfe"} }),
		binary(func(h nats.Header) { h["ce-subject"] = []string{"%00"} }),
		binary(func(h nats.Header) { h["ce-type"] = []string{"publish.completed"} }),
		binary(func(h nats.Header) { delete(h, "ce-id") }),
		binary(func(h nats.Header) { h["ce-specversion"] = []string{"9"} }),
	}
}

func TestAMessageThatFillsTheServersLimitIsADeadLetterWithoutPayload(t *testing.T) {
	t.Parallel()
	b := connect(t, quick(startServer(t).URL()))
	run(t, b, publisher(func(context.Context, event.Event) error { return nil }))
	m := nats.NewMsg("publish.requested")
	m.Header["X"] = []string{"y"}
	m.Data = make([]byte, int(b.nc.MaxPayload())-len("NATS/1.0\r\nX: y\r\n\r\n"))
	if _, err := b.js.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	letter := awaitDeadLetters(t, b, 1)[0]
	if letter.Header.Get(HeaderDeadOmitted) != "payload" || letter.Header.Get(HeaderDeadSequence) != "1" || len(letter.Data) != 0 {
		t.Errorf("headers %v, %d bytes", letter.Header, len(letter.Data))
	}
}

func TestAMessageDeliveredFiftyTimesIsADeadLetterWithoutAnotherTry(t *testing.T) {
	t.Parallel()
	b := connect(t, quick(startServer(t).URL()))
	mustPublish(t, b, request("killer"))
	c, err := b.js.Consumer(t.Context(), events.StreamPublish, events.ConsumerPublisher)
	if err != nil {
		t.Fatal(err)
	}
	for range MaxDeliveries { // as processes that die of it would
		m, err := c.Next()
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Nak(); err != nil {
			t.Fatal(err)
		}
	}
	run(t, b, publisher(func(context.Context, event.Event) error {
		t.Error("the handler was called")
		return nil
	}))
	letter := awaitDeadLetters(t, b, 1)[0]
	if letter.Header.Get(HeaderDeadReason) != reasonDelivered || letter.Header.Get(HeaderDeadDeliveries) != fmt.Sprint(MaxDeliveries+1) {
		t.Errorf("headers %v", letter.Header)
	}
}

func TestAMessageStaysWhereItIsWhenItsDeadLetterCannotBeStored(t *testing.T) {
	t.Parallel()
	b := connect(t, quick(startServer(t).URL()))
	if err := b.js.DeleteStream(t.Context(), events.StreamDeadLetter); err != nil {
		t.Fatal(err)
	}
	var tries atomic.Int64
	run(t, b, publisher(func(context.Context, event.Event) error {
		tries.Add(1)
		return Reject("bad", nil)
	}))
	// Run ensured the stream; take it away again.
	eventually(t, "attached", b.Attached)
	if err := b.js.DeleteStream(t.Context(), events.StreamDeadLetter); err != nil {
		t.Fatal(err)
	}
	mustPublish(t, b, request("r-1"))
	eventually(t, "tried again", func() bool { return tries.Load() >= 3 })
	if info := consumerInfo(t, b); info.NumAckPending != 1 {
		t.Fatalf("ack pending %d", info.NumAckPending)
	}
	if err := b.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	awaitDeadLetters(t, b, 1)
	eventually(t, "drained", func() bool { return drained(t, b) })
}

func TestNoMoreIsPulledThanThereAreFreeSlots(t *testing.T) {
	t.Parallel()
	b := connect(t, quick(startServer(t).URL()))
	const slots = 16
	release := make(chan struct{})
	var at, peak atomic.Int64
	h := publisher(func(context.Context, event.Event) error {
		if n := at.Add(1); n > peak.Load() {
			peak.Store(n)
		}
		defer at.Add(-1)
		<-release
		return nil
	})
	h.Concurrency = slots
	mustPublish(t, b, requests("r", 500)...)
	run(t, b, h)
	eventually(t, "all slots taken", func() bool { return at.Load() == slots })
	for range 20 {
		eventually(t, "all slots taken again", func() bool { return at.Load() == slots })
		eventually(t, "no more is out than that", func() bool { return consumerInfo(t, b).NumAckPending == slots })
		release <- struct{}{}
	}
	close(release)
	eventually(t, "all handled", func() bool { return drained(t, b) })
	if peak.Load() > slots {
		t.Errorf("%d at once", peak.Load())
	}
}

func TestALongHandlerIsNotInterrupted(t *testing.T) {
	t.Parallel()
	b := connect(t, quick(startServer(t).URL()))
	setAckWait(t, b, 300*time.Millisecond)
	var runs atomic.Int64
	run(t, b, publisher(func(context.Context, event.Event) error {
		runs.Add(1)
		time.Sleep(1500 * time.Millisecond) // five times AckWait
		return nil
	}))
	mustPublish(t, b, requests("r", 8)...)
	eventually(t, "all handled", func() bool { return runs.Load() >= 8 && drained(t, b) })
	if runs.Load() != 8 {
		t.Errorf("%d runs of 8 events", runs.Load())
	}
	if n := consumerInfo(t, b).NumRedelivered; n != 0 {
		t.Errorf("%d redelivered", n)
	}
}

func TestAnEventThatIsDeliveredAgainWhileInHandRunsOnce(t *testing.T) {
	t.Parallel()
	b := connect(t, quick(startServer(t).URL()))
	setAckWait(t, b, 200*time.Millisecond)
	sub := b.subscriber(Handler{Consumer: events.ConsumerPublisher, Concurrency: 8})
	defer b.detach()
	// The subscriber believes that it has an hour, so it never says that it works.
	sub.conf.bind = func(ctx context.Context, consumer string) (binding, error) {
		bound, err := b.bind(ctx, consumer)
		bound.ackWait = time.Hour
		return bound, err
	}
	messages, err := sub.Subscribe(t.Context(), events.ConsumerPublisher)
	if err != nil {
		t.Fatal(err)
	}
	mustPublish(t, b, request("r-1"))
	m := <-messages
	d := deliveryOf(m)
	eventually(t, "delivered again", func() bool { return d.deliveries() > 2 })
	select {
	case <-messages:
		t.Error("handed out twice")
	default:
	}
	m.Ack()
	eventually(t, "the newest reply is acked", func() bool { return drained(t, b) })
	if err := sub.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAHandlerThatTakesTooLongIsEndedAndFails(t *testing.T) {
	t.Parallel()
	c := quick(startServer(t).URL())
	c.HandleTimeout = 100 * time.Millisecond
	b := connect(t, c)
	setAckWait(t, b, 300*time.Millisecond)
	var cause atomic.Value
	run(t, b, publisher(func(ctx context.Context, _ event.Event) error {
		<-ctx.Done()
		cause.Store(context.Cause(ctx))
		return ctx.Err()
	}))
	mustPublish(t, b, request("slow"))
	letter := awaitDeadLetters(t, b, 1)[0]
	if !errors.Is(cause.Load().(error), errOverdue) {
		t.Errorf("cause %v", cause.Load())
	}
	if got := letter.Header.Get(HeaderDeadDeliveries); got != fmt.Sprint(MaxFailures) {
		t.Errorf("%s deliveries", got)
	}
}

func TestRunEndsWithWhatIsInHandDone(t *testing.T) {
	t.Parallel()
	b := connect(t, quick(startServer(t).URL()))
	setAckWait(t, b, 300*time.Millisecond)
	var started, ended atomic.Int64
	h := publisher(func(ctx context.Context, _ event.Event) error {
		started.Add(1)
		time.Sleep(time.Second) // longer than AckWait, so it needs its heartbeats in the drain too
		ended.Add(1)
		return ctx.Err()
	})
	h.Concurrency = 8
	stop := run(t, b, h)
	mustPublish(t, b, requests("r", 20)...)
	eventually(t, "8 in hand", func() bool { return started.Load() == 8 })
	stop()
	if started.Load() != 8 || ended.Load() != 8 {
		t.Errorf("started %d, ended %d", started.Load(), ended.Load())
	}
	eventually(t, "all 8 acked", func() bool { // the server counts acks a little after it got them
		info := consumerInfo(t, b)
		return info.AckFloor.Stream == 8 && info.NumAckPending == 0
	})
	if info := consumerInfo(t, b); info.NumRedelivered != 0 {
		t.Errorf("%d redelivered", info.NumRedelivered)
	}
	if b.Attached() {
		t.Error("still attached")
	}
}

func TestTheDrainBreaksOffHandlersAfterItsTimeAndBlamesNoEvent(t *testing.T) {
	t.Parallel()
	c := quick(startServer(t).URL())
	c.DrainTimeout = 200 * time.Millisecond
	c.RetryMin, c.RetryMax = time.Hour, time.Hour // for what fails, which this does not
	b := connect(t, c)
	mustPublish(t, b, request("stuck"))
	var runs atomic.Int64
	for round := range int64(3) {
		stop := run(t, b, publisher(func(ctx context.Context, _ event.Event) error {
			runs.Add(1)
			<-ctx.Done()
			return ctx.Err()
		}))
		eventually(t, "in hand", func() bool { return runs.Load() == round+1 })
		stop()
	}
	if n := streamMsgs(t, b, events.StreamDeadLetter); n != 0 {
		t.Errorf("%d dead letters", n)
	}
}

func TestWhatWasPulledAndNotTakenGoesBackAtOnce(t *testing.T) {
	t.Parallel()
	b := connect(t, quick(startServer(t).URL()))
	setAckWait(t, b, time.Minute)
	mustPublish(t, b, requests("r", 100)...)
	sub := b.subscriber(Handler{Consumer: events.ConsumerPublisher, Concurrency: 50})
	if _, err := sub.Subscribe(t.Context(), events.ConsumerPublisher); err != nil { // nobody reads
		t.Fatal(err)
	}
	eventually(t, "pulled", func() bool { return consumerInfo(t, b).NumAckPending == 50 })
	if err := sub.Close(); err != nil {
		t.Fatal(err)
	}
	b.detach()
	got := newSeen()
	run(t, b, publisher(func(_ context.Context, e event.Event) error {
		got.add(e.ID())
		return nil
	}))
	eventually(t, "all handled", func() bool { return got.len() == 100 })
}

// --- helpers

// mustPublish publishes in atomic batches.
func mustPublish(t testing.TB, b *Bus, evs ...event.Event) {
	t.Helper()
	if _, err := b.PublishBatch(t.Context(), events.StreamPublish, evs); err != nil {
		t.Fatal(err)
	}
}

// setAckWait replaces the consumer by one with another AckWait.
func setAckWait(t testing.TB, b *Bus, d time.Duration) {
	t.Helper()
	c := b.topology[0].Consumers[0].ConsumerConfig
	if err := b.js.DeleteConsumer(t.Context(), events.StreamPublish, c.Durable); err != nil {
		t.Fatal(err)
	}
	c.AckWait = d
	if _, err := b.js.CreateConsumer(t.Context(), events.StreamPublish, c); err != nil {
		t.Fatal(err)
	}
}

// awaitDeadLetters returns the dead letters once there are n.
func awaitDeadLetters(t testing.TB, b *Bus, n int) []*jetstream.RawStreamMsg {
	t.Helper()
	eventually(t, fmt.Sprint(n, " dead letters"), func() bool { return streamMsgs(t, b, events.StreamDeadLetter) >= uint64(n) })
	if got := streamMsgs(t, b, events.StreamDeadLetter); got != uint64(n) {
		t.Errorf("%d dead letters, want %d", got, n)
	}
	s, err := b.js.Stream(t.Context(), events.StreamDeadLetter)
	if err != nil {
		t.Fatal(err)
	}
	all := make([]*jetstream.RawStreamMsg, n)
	for i := range all {
		if all[i], err = s.GetMsg(t.Context(), uint64(i+1)); err != nil {
			t.Fatal(err)
		}
	}
	return all
}
