package bus

import (
	"context"
	"fmt"
	"testing"
	"time"

	watermillnats "github.com/ThreeDotsLabs/watermill-nats/v2/pkg/nats"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"postbus.dev/events"
)

// Programs of others that use watermill-nats as it is, in both directions.

func TestAStockWatermillPublisherWithOurCodecReachesAHandler(t *testing.T) {
	t.Parallel()
	want := request("r-1")
	m, err := events.ToMessage(want)
	if err != nil {
		t.Fatal(err)
	}
	got := fromStockPublisher(t, events.Codec{}, m)
	sameEvent(t, got, want)
}

func TestAStockWatermillPublisherWithItsOwnMarshalerReachesAHandler(t *testing.T) {
	t.Parallel()
	want := request("r-1")
	m := message.NewMessage("any-uuid", want.Data())
	for name, value := range map[string]string{
		"ce-specversion": "1.0", "ce-id": want.ID(), "ce-source": want.Source(), "ce-type": want.Type(),
		"ce-time": want.Time().Format(time.RFC3339Nano), "ce-datacontenttype": "application/json", "ce-dataschema": want.DataSchema(),
	} {
		m.Metadata.Set(name, value)
	}
	got := fromStockPublisher(t, &watermillnats.NATSMarshaler{}, m)
	sameEvent(t, got, want)
}

func fromStockPublisher(t *testing.T, marshaler watermillnats.Marshaler, m *message.Message) event.Event {
	t.Helper()
	url := startServer(t).URL()
	b := connect(t, quick(url))
	received := make(chan event.Event, 1)
	run(t, b, publisher(func(_ context.Context, e event.Event) error {
		received <- e
		return nil
	}))
	pub, err := watermillnats.NewPublisher(watermillnats.PublisherConfig{URL: url, Marshaler: marshaler}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer pub.Close()
	if err := pub.Publish(events.TypePublishRequested, m); err != nil {
		t.Fatal(err)
	}
	return <-received
}

func TestOurEventsReachAStockWatermillSubscriber(t *testing.T) {
	t.Parallel()
	url := startServer(t).URL()
	b := connect(t, quick(url))
	// A push consumer for watermill-nats' pkg/nats, which knows no other.
	if _, err := b.js.CreatePushConsumer(t.Context(), events.StreamPublish, jetstream.ConsumerConfig{
		Durable: "stock", DeliverSubject: "deliver.stock", DeliverGroup: "stock", AckPolicy: jetstream.AckExplicitPolicy,
	}); err != nil {
		t.Fatal(err)
	}
	sub, err := watermillnats.NewSubscriber(watermillnats.SubscriberConfig{
		URL: url, Unmarshaler: events.Codec{}, QueueGroupPrefix: "stock",
		JetStream: watermillnats.JetStreamConfig{
			DurablePrefix: "stock", SubscribeOptions: []nats.SubOpt{nats.ManualAck(), nats.Bind(events.StreamPublish, "stock")},
		},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	messages, err := sub.Subscribe(t.Context(), "publish.>")
	if err != nil {
		t.Fatal(err)
	}

	want := requests("r", 4)
	if err := b.Send(t.Context(), want[0]); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.PublishOne(t.Context(), want[1]); err != nil {
		t.Fatal(err)
	}
	mustPublish(t, b, want[2:]...)
	for i := range want {
		m := <-messages
		got, err := events.FromMessage(m)
		if err != nil {
			t.Fatal(err)
		}
		m.Ack()
		sameEvent(t, got, want[i])
		if m.UUID != want[i].ID() {
			t.Errorf("uuid %q", m.UUID)
		}
	}
}

func sameEvent(t *testing.T, got, want event.Event) {
	t.Helper()
	for name, pair := range map[string][2]string{
		"id": {got.ID(), want.ID()}, "source": {got.Source(), want.Source()}, "type": {got.Type(), want.Type()},
		"time":   {got.Time().UTC().String(), want.Time().UTC().String()},
		"schema": {got.DataSchema(), want.DataSchema()}, "content type": {got.DataContentType(), want.DataContentType()},
		"data":       {string(got.Data()), string(want.Data())},
		"extensions": {fmt.Sprint(got.Extensions()), fmt.Sprint(want.Extensions())},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: %q, want %q", name, pair[0], pair[1])
		}
	}
}
