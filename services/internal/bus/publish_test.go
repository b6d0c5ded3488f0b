package bus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	natsserver "github.com/nats-io/nats-server/v2/server"

	"postbus.dev/events"
)

func TestPublishOneTellsTheSequenceAndARepeat(t *testing.T) {
	t.Parallel()
	b := connect(t, quick(startServer(t).URL()))
	for i, want := range []struct {
		id        string
		seq       uint64
		duplicate bool
	}{{"r-1", 1, false}, {"r-2", 2, false}, {"r-1", 1, true}} {
		seq, duplicate, err := b.PublishOne(t.Context(), request(want.id))
		if err != nil || seq != want.seq || duplicate != want.duplicate {
			t.Errorf("%d: %d %v %v", i, seq, duplicate, err)
		}
	}
}

func TestSendStoresAnEventOnce(t *testing.T) {
	t.Parallel()
	b := connect(t, quick(startServer(t).URL()))
	for range 2 {
		if err := b.Send(t.Context(), request("r-1")); err != nil {
			t.Fatal(err)
		}
	}
	if n := streamMsgs(t, b, events.StreamPublish); n != 1 {
		t.Errorf("%d messages", n)
	}
}

func TestABatchIsStoredInItsOrder(t *testing.T) {
	t.Parallel()
	b := connect(t, quick(startServer(t).URL()))
	evs := requests("r", 2*MaxBatch+500) // three atomic batches
	last, err := b.PublishBatch(t.Context(), events.StreamPublish, evs)
	if err != nil || last != uint64(len(evs)) {
		t.Fatalf("last %d, %v", last, err)
	}
	ids, _, err := b.IDsAfter(t.Context(), events.StreamPublish, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range evs {
		if got := ids[events.MsgID(e.Source(), e.ID())]; got != uint64(i+1) {
			t.Fatalf("event %d is at %d", i, got)
		}
	}
}

func TestABatchOfLargeEventsIsSplitByBytes(t *testing.T) {
	t.Parallel()
	b := connect(t, quick(startServer(t).URL()))
	evs := make([]event.Event, 18)
	for i := range evs {
		evs[i] = large(t, fmt.Sprint("r-", i), 900<<10)
	}
	last, err := b.PublishBatch(t.Context(), events.StreamPublish, evs)
	if err != nil || last != uint64(len(evs)) {
		t.Fatalf("last %d, %v", last, err)
	}
}

func TestABatchWithAKnownEventIsRefusedWhole(t *testing.T) {
	t.Parallel()
	b := connect(t, quick(startServer(t).URL()))
	mustPublish(t, b, requests("r", 10)...)
	_, err := b.PublishBatch(t.Context(), events.StreamPublish, append(requests("new", 5), request("r-3")))
	if !errors.Is(err, ErrBatchDuplicate) || !errors.Is(err, ErrRefused) {
		t.Fatalf("error %v", err)
	}
	if n := streamMsgs(t, b, events.StreamPublish); n != 10 {
		t.Errorf("%d messages", n)
	}
	// One by one, as the relay then does.
	for i, e := range append(requests("new", 5), request("r-3")) {
		_, duplicate, err := b.PublishOne(t.Context(), e)
		if err != nil || duplicate != (i == 5) {
			t.Errorf("%d: %v %v", i, duplicate, err)
		}
	}
}

func TestAnEventThatIsTooLargeIsNamedAndNothingIsSent(t *testing.T) {
	t.Parallel()
	b := connect(t, quick(startServer(t).URL()))
	evs := append(requests("r", 3), large(t, "huge", events.MaxData-100))
	_, err := b.PublishBatch(t.Context(), events.StreamPublish, evs)
	var which *EventError
	if !errors.Is(err, ErrTooLarge) || !errors.As(err, &which) || which.Index != 3 {
		t.Errorf("error %v", err)
	}
	if _, _, err := b.PublishOne(t.Context(), evs[3]); !errors.Is(err, ErrTooLarge) {
		t.Errorf("error %v", err)
	}
	var broken event.Event
	if _, err := b.PublishBatch(t.Context(), events.StreamPublish, []event.Event{evs[0], broken}); !errors.As(err, &which) || which.Index != 1 {
		t.Errorf("error %v", err)
	}
	if n := streamMsgs(t, b, events.StreamPublish); n != 0 {
		t.Errorf("%d messages", n)
	}
}

func TestTwoMegabytesAreRefusedByTheServer(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	b := connect(t, quick(s.URL()))
	got := newSeen()
	run(t, b, publisher(func(_ context.Context, e event.Event) error {
		got.add(e.ID())
		return nil
	}))
	mustPublish(t, b, request("before"))
	if text := publishRaw(t, s.URL(), "publish.requested", strings.Repeat("x", 2<<20)); !strings.Contains(text, "Maximum Payload") {
		t.Errorf("the server said %q", text)
	}
	mustPublish(t, b, request("after"))
	eventually(t, "others handled", func() bool { return got.len() == 2 })
	if n := streamMsgs(t, b, events.StreamDeadLetter); n != 0 {
		t.Errorf("%d dead letters", n)
	}
}

func TestWithoutAServerNothingIsSentLater(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	b := connect(t, quick(s.URL()))
	s.Stop()
	eventually(t, "noticed", func() bool { return !b.Connected() })
	began := time.Now()
	_, batchErr := b.PublishBatch(t.Context(), events.StreamPublish, requests("b", 3))
	_, _, oneErr := b.PublishOne(t.Context(), request("one"))
	for _, err := range []error{batchErr, oneErr, b.Send(t.Context(), request("send"))} {
		if !errors.Is(err, ErrNotSent) {
			t.Errorf("error %v", err)
		}
	}
	if err := b.Poke("poke.x", nil); err == nil {
		t.Error("a poke without a connection has no error")
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("took %s", took)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "connected", b.Connected)
	eventually(t, "JetStream", func() bool { _, err := b.js.Stream(t.Context(), events.StreamPublish); return err == nil })
	if n := streamMsgs(t, b, events.StreamPublish); n != 0 {
		t.Errorf("%d messages came later", n)
	}
}

func TestWithoutAStreamNothingIsSent(t *testing.T) {
	t.Parallel()
	b := connect(t, quick(startServer(t).URL()))
	if err := b.js.DeleteStream(t.Context(), events.StreamPublish); err != nil {
		t.Fatal(err)
	}
	_, batchErr := b.PublishBatch(t.Context(), events.StreamPublish, requests("b", 3))
	_, _, oneErr := b.PublishOne(t.Context(), request("one"))
	for _, err := range []error{batchErr, oneErr, b.Send(t.Context(), request("send"))} {
		if !errors.Is(err, ErrNotSent) {
			t.Errorf("error %v", err)
		}
	}
}

func TestAFullStreamRefuses(t *testing.T) {
	t.Parallel()
	c := quick(startServer(t).URL())
	c.MaxBytes = 200 << 10
	b := connect(t, c)
	var err error
	for i := 0; err == nil && i < 100; i++ {
		_, err = b.PublishBatch(t.Context(), events.StreamPublish, []event.Event{large(t, fmt.Sprint(i), 20<<10), large(t, fmt.Sprint("x", i), 20<<10)})
	}
	_, _, oneErr := b.PublishOne(t.Context(), large(t, "one", 100<<10))
	for _, err := range []error{err, oneErr, b.Send(t.Context(), large(t, "send", 100<<10))} {
		var refused *RefusedError
		if !errors.Is(err, ErrRefused) || !errors.As(err, &refused) || !refused.Full() {
			t.Errorf("error %v", err)
		}
	}
}

func TestALostAnswerIsUnclearAndTheStreamTells(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	direct := connect(t, quick(s.URL()))
	p := startProxy(t, s.URL())
	c := quick(p.url)
	c.PublishTimeout = 500 * time.Millisecond
	b := connect(t, c)
	mustPublish(t, b, requests("before", 5)...)

	defer b.nc.Close() // there is no farewell to a server that we do not hear
	p.deaf.Store(true) // the server still hears us, we do not hear it
	_, _, oneErr := b.PublishOne(t.Context(), request("one"))
	sendErr := b.Send(t.Context(), request("send"))
	for _, err := range []error{oneErr, sendErr} {
		if !errors.Is(err, ErrUnclear) {
			t.Errorf("error %v", err)
		}
	}
	ids, last, err := direct.IDsAfter(t.Context(), events.StreamPublish, 5)
	if err != nil {
		t.Fatal(err)
	}
	if ids["/test/one"] != 6 || ids["/test/send"] != 7 || len(ids) != 2 || last != 7 {
		t.Errorf("%v up to %d", ids, last)
	}
}

func TestALostAnswerToABatchIsUnclear(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	direct := connect(t, quick(s.URL()))
	p := startProxy(t, s.URL())
	b := connect(t, quick(p.url))
	defer b.nc.Close()
	p.deafAfter("count") // the ack of the commit
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := b.PublishBatch(ctx, events.StreamPublish, requests("r", 20))
	if !errors.Is(err, ErrUnclear) {
		t.Errorf("error %v", err)
	}
	ids, _, err := direct.IDsAfter(t.Context(), events.StreamPublish, 0)
	if err != nil || len(ids) != 20 {
		t.Errorf("%d stored, %v", len(ids), err)
	}
}

func TestARefusalByRightsLooksUnclearAndIsNamed(t *testing.T) {
	t.Parallel()
	owner, restricted := startRestrictedServer(t, "publish.>")
	connect(t, quick(owner))
	c := quick(restricted)
	c.Logger, c.PublishTimeout = testLog(t), 500*time.Millisecond
	b, err := Connect(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close(context.Background()) })
	eventually(t, "connected", b.Connected)
	_, _, oneErr := b.PublishOne(t.Context(), request("one"))
	for _, err := range []error{oneErr, b.Send(t.Context(), request("send"))} {
		if !errors.Is(err, ErrUnclear) || !strings.Contains(strings.ToLower(err.Error()), "permissions violation") {
			t.Errorf("error %v", err)
		}
	}
}

func TestIDsAfterReadsFromASequenceToTheEnd(t *testing.T) {
	t.Parallel()
	b := connect(t, quick(startServer(t).URL()))
	ids, last, err := b.IDsAfter(t.Context(), events.StreamPublish, 0)
	if err != nil || len(ids) != 0 || last != 0 {
		t.Errorf("empty stream: %v up to %d, %v", ids, last, err)
	}
	mustPublish(t, b, requests("r", 30)...)
	s, err := b.js.Stream(t.Context(), events.StreamPublish)
	if err != nil {
		t.Fatal(err)
	}
	for _, seq := range []uint64{1, 2, 25, 29, 30} { // the last two: what is waited for is not there
		if err := s.DeleteMsg(t.Context(), seq); err != nil {
			t.Fatal(err)
		}
	}
	for after, want := range map[uint64]int{0: 25, 1: 25, 2: 25, 10: 17, 27: 1, 28: 0, 30: 0, 31: 25, 1000: 25} {
		ids, _, err := b.IDsAfter(t.Context(), events.StreamPublish, after)
		if err != nil || len(ids) != want {
			t.Errorf("after %d: %d ids, want %d, %v", after, len(ids), want, err)
		}
	}
}

// --- helpers

// large is an event with n bytes of data.
func large(t testing.TB, id string, n int) event.Event {
	t.Helper()
	e := request(id)
	if err := e.SetData("application/json", []byte(`"`+strings.Repeat("x", n-2)+`"`)); err != nil {
		t.Fatal(err)
	}
	return e
}

// proxy sits between a client and the server and can delay or swallow what the
// server says.
type proxy struct {
	url  string
	deaf atomic.Bool
	word atomic.Value // string: deaf from the first packet with it

	delay atomic.Int64 // of each packet to the client
}

func (p *proxy) deafAfter(word string) { p.word.Store(word) }

func startProxy(t testing.TB, target string) *proxy {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	p := &proxy{url: "nats://" + l.Addr().String()}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", u.Host)
			if err != nil {
				_ = client.Close()
				continue
			}
			go p.copy(server, client, false)
			go p.copy(client, server, true)
		}
	}()
	return p
}

func (p *proxy) copy(to io.WriteCloser, from io.ReadCloser, deaf bool) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if word, _ := p.word.Load().(string); deaf && word != "" && strings.Contains(string(buf[:n]), word) {
			p.deaf.Store(true)
		}
		if deaf {
			time.Sleep(time.Duration(p.delay.Load()))
		}
		if n > 0 && (!deaf || !p.deaf.Load()) {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// startRestrictedServer returns the URLs of one user with all rights and one who
// may not send to a subject.
func startRestrictedServer(t testing.TB, denied string) (owner, restricted string) {
	t.Helper()
	s, err := natsserver.NewServer(&natsserver.Options{
		Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
		Users: []*natsserver.User{
			{Username: "owner", Password: "x"},
			{Username: "guest", Password: "x", Permissions: &natsserver.Permissions{
				Publish: &natsserver.SubjectPermission{Deny: []string{denied}},
			}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("server is not ready")
	}
	at := s.Addr().String()
	return "nats://owner:x@" + at, "nats://guest:x@" + at
}
