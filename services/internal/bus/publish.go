package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	watermillnats "github.com/ThreeDotsLabs/watermill-nats/v2/pkg/nats"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"

	"postbus.dev/events"
)

// newSender makes watermill-nats' publisher with our codec. Its Close would close
// the connection, so it is never called.
func newSender(nc *nats.Conn, wait time.Duration) (message.Publisher, error) {
	return watermillnats.NewPublisherWithNatsConn(nc, watermillnats.PublisherPublishConfig{
		Marshaler:         events.Codec{},
		SubjectCalculator: watermillnats.DefaultSubjectCalculator,
		JetStream:         watermillnats.JetStreamConfig{ConnectOptions: []nats.JSOpt{nats.MaxWait(wait)}},
	}, nil)
}

// Send publishes one event and waits for the stream's ack, at most for the
// configured time (ctx cannot shorten it). Sending an event again is harmless: the
// stream takes its id once within the duplicate window.
func (b *Bus) Send(ctx context.Context, e event.Event) error {
	m, err := events.ToMessage(e)
	if err != nil {
		return fmt.Errorf("send %s: %w", e.Type(), err)
	}
	ctx, span := b.startSend(ctx, e)
	w3c.Inject(ctx, metadataCarrier(m.Metadata))
	began := time.Now()
	if err = b.ready(ctx); err == nil {
		err = b.sender.Publish(e.Type(), m)
	}
	err = b.classify(err, began)
	b.endSend(ctx, span, 1, err)
	if err != nil {
		return fmt.Errorf("send %s: %w", e.Type(), err)
	}
	return nil
}

// PublishOne publishes one event and returns its sequence in the stream, and
// whether the stream had it already. The error is one of the classes in
// errors.go, or an *EventError.
func (b *Bus) PublishOne(ctx context.Context, e event.Event) (seq uint64, duplicate bool, err error) {
	m, err := b.encode(e)
	if err != nil {
		return 0, false, fmt.Errorf("publish %s: %w", e.Type(), &EventError{0, err})
	}
	ctx, span := b.startSend(ctx, e)
	w3c.Inject(ctx, headerCarrier(m.Header))
	seq, duplicate, err = b.publishMsg(ctx, m)
	b.endSend(ctx, span, 1, err)
	if err != nil {
		return 0, false, fmt.Errorf("publish %s: %w", e.Type(), err)
	}
	return seq, duplicate, nil
}

func (b *Bus) publishMsg(ctx context.Context, m *nats.Msg) (seq uint64, duplicate bool, err error) {
	began := time.Now()
	if err := b.ready(ctx); err != nil {
		return 0, false, b.classify(err, began)
	}
	ctx, cancel := context.WithTimeout(ctx, b.conf.PublishTimeout)
	defer cancel()
	ack, err := b.js.PublishMsg(ctx, m)
	if err != nil {
		return 0, false, b.classify(err, began)
	}
	return ack.Sequence, ack.Duplicate, nil
}

// ready keeps a publish from being begun that cannot be sent.
func (b *Bus) ready(ctx context.Context) error {
	if !b.nc.IsConnected() {
		return errDisconnected
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", errDisconnected, err)
	}
	return nil
}

// encode checks what the server would check too late.
func (b *Bus) encode(e event.Event) (*nats.Msg, error) {
	m, err := events.Encode(e)
	if err != nil {
		return nil, err
	}
	if limit := b.nc.MaxPayload(); limit > 0 && int64(m.Size()-len(m.Subject))+traceHeaders > limit {
		return nil, ErrTooLarge
	}
	return m, nil
}

// traceHeaders is the room for the headers that are added on sending: those of
// the trace and of an atomic batch.
const traceHeaders = 1 << 10

// classify gives a failed publish its class, and names the refusal that the
// server told aside since began.
func (b *Bus) classify(err error, began time.Time) error {
	err = publishError(err)
	if !errors.Is(err, ErrUnclear) {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.denial.at.After(began) {
		return fmt.Errorf("%w; the server said meanwhile: %s", err, b.denial.text)
	}
	return err
}

// denial is a refusal that the server told outside of an answer.
type denial struct {
	text string
	at   time.Time
}

// onAsyncError is told what belongs to no call: above all refusals by rights,
// for which the caller only sees a time-out.
func (b *Bus) onAsyncError(_ *nats.Conn, sub *nats.Subscription, err error) {
	subject := ""
	if sub != nil {
		subject = sub.Subject
	}
	b.log.Error("NATS error", "subject", subject, "error", err)
	if errors.Is(err, nats.ErrPermissionViolation) || strings.Contains(strings.ToLower(err.Error()), "permissions violation") {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.denial = denial{text: err.Error(), at: time.Now()}
	}
}
