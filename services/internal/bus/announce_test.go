package bus

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// ask sends a request as the nats CLI does and returns so many answers, or nil
// when there are fewer.
func ask(t *testing.T, nc *nats.Conn, subject string, want int) (answers [][]byte) {
	t.Helper()
	inbox, err := nc.SubscribeSync(nc.NewInbox())
	if err != nil {
		t.Fatal(err)
	}
	defer inbox.Unsubscribe()
	if err := nc.PublishRequest(subject, inbox.Subject, nil); err != nil {
		return nil // the connection is not back yet
	}
	for range want {
		m, err := inbox.NextMsg(5 * time.Second)
		if err != nil || len(m.Data) == 0 { // nobody is there
			return nil
		}
		answers = append(answers, m.Data)
	}
	return answers
}

func decoded[T any](t *testing.T, raw []byte) (v T) {
	t.Helper()
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return v
}

// announce makes a bus one of the service svc, which says itself how long it may
// take to tell whether it is ready.
func announce(t *testing.T, b *Bus) (stop func()) {
	t.Helper()
	stop, err := b.Announce(t.Context(), Announcement{Name: "svc", Description: "does things", Ready: func(ctx context.Context) any {
		deadline, _ := ctx.Deadline()
		return map[string]time.Duration{"within": time.Until(deadline)}
	}})
	if err != nil {
		t.Fatal(err)
	}
	return stop
}

func TestEveryProcessOfAServiceAnswersWhoeverAsksForIt(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	one, two := connect(t, quick(s.URL())), connect(t, quick(s.URL()))
	defer announce(t, one)()
	stop := announce(t, two)
	asker := connect(t, quick(s.URL())).nc
	ids := map[string]bool{}
	for _, raw := range ask(t, asker, "$SRV.INFO.svc", 2) {
		info := decoded[micro.Info](t, raw)
		ids[info.ID] = info.Name == "svc" && info.Description == "does things" && info.Version != "" && len(info.Endpoints) == 1
	}
	if len(ids) != 2 {
		t.Fatalf("two processes told of themselves: %v", ids)
	}
	for id, ok := range ids {
		if raw := ask(t, asker, "$SRV.PING.svc."+id, 1); !ok || raw == nil || decoded[micro.Ping](t, raw[0]).ID != id {
			t.Errorf("process %s answered %s", id, raw)
		}
	}
	for _, raw := range ask(t, asker, "postbus.svc.ready", 2) {
		if within := decoded[map[string]time.Duration](t, raw)["within"]; within < statsLimit || within > readyLimit {
			t.Errorf("ready has %v to answer", within)
		}
	}
	stop()
	eventually(t, "one has gone, and the other one stays", func() bool {
		left := 0
		for id := range ids {
			left += len(ask(t, asker, "$SRV.PING.svc."+id, 1))
		}
		return left == 1
	})
}

func TestAnAnnouncementSurvivesARestartOfTheServer(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	b := connect(t, quick(s.URL()))
	stop := announce(t, b)
	asker := connect(t, quick(s.URL())).nc
	s.Stop()
	eventually(t, "noticed", func() bool { return !b.Connected() && !asker.IsConnected() })
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "found again", func() bool { return ask(t, asker, "$SRV.STATS.svc", 1) != nil })
	s.Stop()
	eventually(t, "noticed again", func() bool { return !b.Connected() })
	stop() // without a server too
}

func TestStatisticsTellWhatConsumersHaveToDo(t *testing.T) {
	t.Parallel()
	b := connect(t, quick(startServer(t).URL()))
	defer announce(t, b)()
	release, inHand := make(chan struct{}), make(chan struct{})
	mustPublish(t, b, requests("r", 10)...)
	h := publisher(func(context.Context, event.Event) error {
		inHand <- struct{}{}
		<-release
		return nil
	})
	h.Concurrency = 3
	run(t, b, h)
	defer close(release)
	for range 3 {
		<-inHand
	}
	raw := ask(t, b.nc, "$SRV.STATS.svc", 1)
	if raw == nil {
		t.Fatal("no answer")
	}
	told := decoded[micro.Stats](t, raw[0])
	got := decoded[struct {
		Ready     map[string]time.Duration
		Consumers map[string]consumerStats
	}](t, told.Endpoints[0].Data)
	if within := got.Ready["within"]; within <= 0 || within > statsLimit {
		t.Errorf("statistics wait %v for ready", within)
	}
	if got.Consumers["publisher"] != (consumerStats{InHand: 3, Waiting: 7}) {
		t.Errorf("the consumer has %+v to do", got.Consumers)
	}
}

func TestAVersionIsWhatNATSMicroTakes(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"v1.2.3": "1.2.3", "v0.0.0-20261125010203-abcdef012345+dirty": "0.0.0-20261125010203-abcdef012345+dirty",
		"(devel)": "0.0.0", "": "0.0.0",
	} {
		if got := numbers(given); got != want {
			t.Errorf("%q is %q, want %q", given, got, want)
		}
	}
}
