package main

import (
	"errors"
	"slices"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"postbus.dev/deploy/testbed"
	"postbus.dev/events"
)

func TestWhatAnOlderVersionLeftOnTheBusIsBroughtUpToDate(t *testing.T) {
	t.Parallel()
	url := testbed.NATS(t)
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := updateTopology(t.Context(), url); err != nil {
		t.Fatalf("on an empty bus: %v", err)
	}
	if _, err := js.Stream(t.Context(), events.StreamPublish); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Fatalf("a stream was made: %v", err)
	}

	declared := events.Topology(events.TopologyOptions{})[0]
	for _, s := range events.Topology(events.TopologyOptions{}) {
		if _, err := js.CreateStream(t.Context(), s.StreamConfig); err != nil {
			t.Fatal(err)
		}
	}
	older := declared.Consumers[0].ConsumerConfig
	older.FilterSubjects = []string{events.TypePublishRequested}
	if _, err := js.CreateConsumer(t.Context(), declared.Name, older); err != nil {
		t.Fatal(err)
	}
	if err := updateTopology(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	c, err := js.Consumer(t.Context(), declared.Name, older.Durable)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.CachedInfo().Config.FilterSubjects, declared.Consumers[0].FilterSubjects; !slices.Equal(got, want) {
		t.Errorf("the consumer has %q, declared is %q", got, want)
	}
}
