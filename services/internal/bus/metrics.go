package bus

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/semconv/v1.43.0/messagingconv"
)

// meters are the instruments of a bus.
type meters struct {
	handled     metric.Int64Counter
	deadLetters metric.Int64Counter
	redelivered metric.Int64Counter
	duration    messagingconv.ProcessDuration
	sentEvents  messagingconv.ClientSentMessages
	inHand      metric.Registration
}

// newMeters: loads reports the messages in hand when metrics are read.
func newMeters(m metric.Meter, loads func(func(consumer string, l load))) (*meters, error) {
	var all meters
	var errs [6]error
	all.handled, errs[0] = m.Int64Counter("postbus.bus.handled", metric.WithUnit("{message}"),
		metric.WithDescription("Handlings that ended, by consumer and outcome."))
	all.deadLetters, errs[1] = m.Int64Counter("postbus.bus.dead_letters", metric.WithUnit("{message}"),
		metric.WithDescription("Messages stored as dead letters, by consumer and reason."))
	all.redelivered, errs[2] = m.Int64Counter("postbus.bus.redeliveries", metric.WithUnit("{message}"),
		metric.WithDescription("Messages that came for a second or later time, by consumer."))
	all.duration, errs[3] = messagingconv.NewProcessDuration(m)
	all.sentEvents, errs[4] = messagingconv.NewClientSentMessages(m)
	gauge, err := m.Int64ObservableUpDownCounter("postbus.bus.in_flight", metric.WithUnit("{message}"),
		metric.WithDescription("Messages in hand, by consumer."))
	if errs[5] = err; err == nil {
		all.inHand, errs[5] = m.RegisterCallback(func(_ context.Context, o metric.Observer) error {
			loads(func(consumer string, l load) {
				o.ObserveInt64(gauge, int64(l.inHand), metric.WithAttributes(consumerKey.String(consumer)))
			})
			return nil
		}, gauge)
	}
	return &all, errors.Join(errs[:]...)
}

func (m *meters) close() error {
	if m.inHand == nil {
		return nil
	}
	return m.inHand.Unregister()
}

const (
	consumerKey = attribute.Key("messaging.destination.subscription.name")
	outcomeKey  = attribute.Key("outcome")
	reasonKey   = attribute.Key("reason")
)

// took counts a message that came again.
func (m *meters) took(d *delivery) {
	if d.deliveries() > 1 {
		m.redelivered.Add(d.ctx, 1, metric.WithAttributes(consumerKey.String(d.consumer)))
	}
}

// sent counts events that were published, or not.
func (m *meters) sent(ctx context.Context, n int, err error) {
	var attrs []attribute.KeyValue
	if err != nil {
		attrs = append(attrs, m.sentEvents.AttrErrorType(messagingconv.ErrorTypeAttr(errorType(err))))
	}
	m.sentEvents.Add(ctx, int64(n), "send", "nats", attrs...)
}

// consumerMeter has the attributes of one consumer made beforehand: this is
// the path of every message.
type consumerMeter struct {
	*meters
	consumer string
	byEnd    map[outcome]attribute.Set
}

func (m *meters) of(consumer string) consumerMeter {
	c := consumerMeter{meters: m, consumer: consumer, byEnd: map[outcome]attribute.Set{}}
	for _, o := range []outcome{outcomeDone, outcomeFailed, outcomeUnavailable, outcomeDead, outcomeReturned} {
		c.byEnd[o] = attribute.NewSet(consumerKey.String(consumer), outcomeKey.String(string(o)),
			messagingSystem, attribute.String("messaging.operation.name", "process"))
	}
	return c
}

func (c consumerMeter) ended(ctx context.Context, o outcome, took time.Duration) {
	set := c.byEnd[o]
	c.handled.Add(ctx, 1, metric.WithAttributeSet(set))
	c.duration.RecordSet(ctx, took.Seconds(), set)
}

func (c consumerMeter) buried(ctx context.Context, reason string) {
	c.deadLetters.Add(ctx, 1, metric.WithAttributes(consumerKey.String(c.consumer), reasonKey.String(reason)))
}
