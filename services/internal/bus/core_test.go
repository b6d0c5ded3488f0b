package bus

import (
	"sync/atomic"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
)

func TestAPokeReachesAllWhoListenAndSurvivesARestart(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	sender, listener := connect(t, quick(s.URL())), connect(t, quick(s.URL()))
	var last atomic.Value
	last.Store("")
	stop, err := listener.OnPoke("poke.lane.*", func(p []byte) { last.Store(string(p)) })
	if err != nil {
		t.Fatal(err)
	}
	poke := func(text string) func() bool {
		return func() bool {
			_ = sender.Poke("poke.lane.7", []byte(text)) // what was lost is sent again, as a poll would
			return last.Load() == text
		}
	}
	eventually(t, "poked", poke("one"))
	var reconnects atomic.Int64
	listener.OnReconnect(func() { reconnects.Add(1) })
	s.Stop()
	eventually(t, "noticed", func() bool { return !listener.Connected() && !sender.Connected() })
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "told of the reconnect", func() bool { return reconnects.Load() == 1 })
	eventually(t, "poked again", poke("two"))
	stop()
	eventually(t, "sender is back", sender.Connected)
	if err := sender.Poke("poke.lane.7", []byte("three")); err != nil {
		t.Fatal(err)
	}
	if err := sender.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if last.Load() != "two" {
		t.Error("called after stop")
	}
}

func TestSubscribersSeeEventsAsTheyArePublished(t *testing.T) {
	t.Parallel()
	b := connect(t, quick(startServer(t).URL()))
	got := newSeen()
	stop, err := b.Subscribe("publish.*", func(e event.Event) { got.add(e.ID()) })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	if err := b.nc.Publish("publish.requested", []byte("no event")); err != nil { // is left out
		t.Fatal(err)
	}
	if _, _, err := b.PublishOne(t.Context(), request("one")); err != nil {
		t.Fatal(err)
	}
	mustPublish(t, b, requests("batch", 10)...)
	eventually(t, "seen", func() bool { return got.len() == 11 })
}
