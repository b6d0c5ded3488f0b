package bus

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	watermillnats "github.com/ThreeDotsLabs/watermill-nats/v2/pkg/nats"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
)

// TestSubscriberPassesTheSuiteOfWatermill runs what every Pub/Sub of watermill
// must pass, over one stream for each topic and one consumer for each group. The
// suite's restart of the server is left out: it has a data race of its own, which
// the race detector blames on us. loss_test.go restarts the server instead.
func TestSubscriberPassesTheSuiteOfWatermill(t *testing.T) {
	suite := &suite{url: startServer(t).URL()}
	tests.TestPubSub(t, tests.Features{ConsumerGroups: true, Persistent: true}, suite.create, suite.createInGroup)
}

type suite struct{ url string }

func (s *suite) create(t *testing.T) (message.Publisher, message.Subscriber) {
	return s.createInGroup(t, "default")
}

func (s *suite) createInGroup(t *testing.T, group string) (message.Publisher, message.Subscriber) {
	t.Helper()
	pub, err := watermillnats.NewPublisher(watermillnats.PublisherConfig{
		URL: s.url, Marshaler: &watermillnats.NATSMarshaler{}, JetStream: watermillnats.JetStreamConfig{},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pub.Close() }) // most tests have done so
	sub := &suiteSubscriber{subscriber: &subscriber{}, group: group}
	nc, err := nats.Connect(s.url, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond),
		nats.ReconnectHandler(func(*nats.Conn) { sub.reconnected() }))
	if err != nil {
		t.Fatal(err)
	}
	if sub.js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	meter, err := newMeters(metricnoop.Meter{}, func(func(string, load)) {})
	if err != nil {
		t.Fatal(err)
	}
	*sub.subscriber = *newSubscriber(subscriberConfig{
		conn: nc, bind: sub.bind, decode: decodeWatermill, slots: 32, expires: time.Second,
		drainTimeout: 2 * time.Second, handleTimeout: time.Minute, holdTime: time.Minute,
		retry:  backoff{5 * time.Millisecond, 50 * time.Millisecond},
		rebind: backoff{10 * time.Millisecond, 100 * time.Millisecond},
		log:    slog.New(slog.DiscardHandler), meter: meter,
	})
	t.Cleanup(func() {
		_ = sub.Close()
		nc.Close()
	})
	return pub, sub
}

// suiteSubscriber makes the stream of a topic and the consumer of its group.
type suiteSubscriber struct {
	*subscriber
	js    jetstream.JetStream
	group string
}

func (s *suiteSubscriber) SubscribeInitialize(topic string) error {
	_, err := s.bind(context.Background(), topic)
	return err
}

func (s *suiteSubscriber) bind(ctx context.Context, topic string) (binding, error) {
	stream, err := s.js.CreateStream(ctx, jetstream.StreamConfig{Name: strings.ReplaceAll(topic, ".", "_"), Subjects: []string{topic}})
	if err != nil {
		return binding{}, err
	}
	c, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		Durable: s.group, AckPolicy: jetstream.AckExplicitPolicy, AckWait: 10 * time.Second, MaxAckPending: 10_000,
	})
	if err != nil {
		return binding{}, err
	}
	info := c.CachedInfo()
	return binding{stream: info.Stream, consumer: info.Name, ackWait: info.Config.AckWait, created: info.Created}, nil
}

func decodeWatermill(m *nats.Msg) (*message.Message, event.Event, error) {
	out, err := new(watermillnats.NATSMarshaler).Unmarshal(m)
	return out, event.Event{}, err
}
