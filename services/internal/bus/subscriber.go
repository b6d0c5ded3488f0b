package bus

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
)

// subscriber is watermill's message.Subscriber over JetStream pull consumers.
// The topic of Subscribe is whatever bind understands; for Run it is the name of
// a consumer.
type subscriber struct {
	conf subscriberConfig

	mu     sync.Mutex
	subs   []*subscription
	closed bool
}

var _ message.Subscriber = (*subscriber)(nil)

type subscriberConfig struct {
	conn *nats.Conn
	// bind finds the consumer of a topic and makes it if it is missing. It is
	// called again whenever the consumer turns out to be gone.
	bind   func(ctx context.Context, topic string) (binding, error)
	decode decoder
	// progress is how many deliveries a consumer has made, to any process.
	progress func(ctx context.Context, stream, consumer string) (uint64, error)

	slots         int           // messages in hand at once
	expires       time.Duration // of one pull request
	drainTimeout  time.Duration // how long Close waits for handlers
	handleTimeout time.Duration // how long a handler may take
	holdTime      time.Duration // how long a probe is alone
	retry         backoff       // pause of a message that was not acked, by delivery
	rebind        backoff       // pause between two attempts to bind

	log   *slog.Logger
	meter *meters
}

// decoder makes watermill's message of one that arrived, and the event in it for
// our own handlers, or why there is none.
type decoder func(*nats.Msg) (m *message.Message, e event.Event, malformed error)

// binding is a consumer on the server.
type binding struct {
	stream, consumer string
	ackWait          time.Duration
	created          time.Time // of the consumer: a new one numbers anew
}

var errSubscriberClosed = errors.New("subscriber is closed")

func newSubscriber(c subscriberConfig) *subscriber { return &subscriber{conf: c} }

// Subscribe starts pulling and returns at once, even while the server is away.
// The channel is closed when ctx ends or Close is called, after the messages in
// hand are settled.
func (s *subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errSubscriberClosed
	}
	pulling, halt := context.WithCancel(ctx)
	sub := newSubscription(pulling, halt, &s.conf, topic)
	s.subs = append(s.subs, sub)
	go sub.run(pulling)
	return sub.out, nil
}

// Close stops pulling, hands back what nobody has taken, waits for the rest and
// closes the channels.
func (s *subscriber) Close() error {
	s.mu.Lock()
	s.closed = true
	subs := s.subs
	s.mu.Unlock()
	for _, sub := range subs {
		sub.halt()
	}
	for _, sub := range subs {
		<-sub.done
	}
	return nil
}

// attached is true while every subscription is bound and pulling.
func (s *subscriber) attached() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sub := range s.subs {
		if !sub.attached() {
			return false
		}
	}
	return len(s.subs) > 0
}

// loads reports what each consumer has in hand and before it.
func (s *subscriber) loads(report func(consumer string, l load)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sub := range s.subs {
		report(sub.topic, sub.load())
	}
}

// reconnected makes every subscription ask again: the server forgot the pull
// requests of the old connection.
func (s *subscriber) reconnected() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sub := range s.subs {
		sub.reconnected()
	}
}
