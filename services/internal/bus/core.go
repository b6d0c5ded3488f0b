package bus

import (
	"fmt"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"

	"postbus.dev/events"
)

// Poke sends a small message to whoever listens right now. It may be lost, and
// is not sent at all without a connection: the receiver polls too.
func (b *Bus) Poke(subject string, payload []byte) error {
	if err := b.nc.Publish(subject, payload); err != nil {
		return fmt.Errorf("poke %s: %w", subject, err)
	}
	return nil
}

// OnPoke calls f for each poke on a subject, one after the other, until stop.
// It survives reconnects; what is sent meanwhile is lost.
func (b *Bus) OnPoke(subject string, f func(payload []byte)) (stop func(), err error) {
	return b.listen(subject, func(m *nats.Msg) { f(m.Data) })
}

// Subscribe calls f for each event that is published on a subject from now on,
// one after the other, until stop. It is a view without storage: what is sent
// during a reconnect is missed (see OnReconnect), an event may come twice, and
// one of an atomic batch comes before the batch is complete. What cannot be
// decoded is left out; the consumers deal with it.
func (b *Bus) Subscribe(subject string, f func(event.Event)) (stop func(), err error) {
	return b.listen(subject, func(m *nats.Msg) {
		e, err := events.Decode(m)
		if err != nil {
			b.log.Debug("skip what is no event", "subject", m.Subject, "error", err)
			return
		}
		f(e)
	})
}

func (b *Bus) listen(subject string, f nats.MsgHandler) (stop func(), err error) {
	sub, err := b.nc.Subscribe(subject, f)
	if err != nil {
		return nil, fmt.Errorf("subscribe to %s: %w", subject, err)
	}
	return func() {
		if err := sub.Unsubscribe(); err != nil {
			b.log.Debug("unsubscribe", "subject", subject, "error", err)
		}
	}, nil
}

// OnReconnect calls f after each connection that is made from now on, the first
// included if there is none yet. f must not block.
func (b *Bus) OnReconnect(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reconnected = append(b.reconnected, f)
}
