package bus

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"

	"postbus.dev/events"
)

// delivery is one message in hand, from its arrival until it is settled.
type delivery struct {
	sub      *subscription
	seq      uint64 // in the stream
	stream   string
	consumer string

	event     event.Event
	malformed error // why there is no event

	// The verdict, written by the handling before it acks or nacks.
	term  string        // not empty: never deliver again, and why
	delay time.Duration // before the next delivery
	set   bool          // the delay was set

	mu        sync.Mutex
	msg       *nats.Msg // the newest one: its reply is the one that counts
	delivered uint64
	since     time.Time // start of the current try
	ctx       context.Context
	cancel    context.CancelCauseFunc

	// Of the hold: how much the consumer had delivered to others at the last look.
	others      int64
	othersKnown bool
}

type deliveryKey struct{}

func newDelivery(s *subscription, m *nats.Msg, md *nats.MsgMetadata) *delivery {
	d := &delivery{
		sub: s, seq: md.Sequence.Stream, stream: md.Stream, consumer: md.Consumer,
		msg: m, delivered: md.NumDelivered,
	}
	d.again()
	return d
}

// deliveryOf finds the delivery of a message that our subscriber made.
func deliveryOf(m *message.Message) *delivery {
	d, _ := m.Context().Value(deliveryKey{}).(*delivery)
	return d
}

// run hands the message over, waits for the answer and settles it.
func (d *delivery) run() {
	s := d.sub
	s.conf.meter.took(d)
	defer s.release(d)
	defer d.end(nil)
	m := d.decode()
	m.SetContext(d.ctx)
	select {
	case s.out <- m:
	case <-s.pulling.Done(): // nobody takes it any more
		d.putBack(0)
		d.nak()
		return
	}
	if d.answer(m) {
		d.settle()
	} else {
		d.nak()
	}
}

// answer waits for ack (true) or nack. When the drain has run out, the context
// of the message has ended, and the handler has a moment left to say so.
func (d *delivery) answer(m *message.Message) bool {
	select {
	case <-m.Acked():
		return true
	case <-m.Nacked():
		return false
	case <-d.sub.base.Done():
	}
	select {
	case <-m.Acked():
		return true
	case <-m.Nacked():
		return false
	case <-time.After(abandonGrace):
		m.Nack()
		return false
	}
}

// abandonGrace is for handlers whose context was canceled by the drain.
const abandonGrace = time.Second

// decode never lets a message crash the process: it would come back and do so
// again.
func (d *delivery) decode() (m *message.Message) {
	defer func() {
		if r := recover(); r != nil {
			d.sub.conf.log.Error("decoder panicked", "panic", r, "stack", string(debug.Stack()))
			d.malformed = fmt.Errorf("decoder panicked: %v", r)
			m = message.NewMessage("", d.msg.Data)
		}
	}()
	m, d.event, d.malformed = d.sub.conf.decode(d.msg)
	return m
}

// decodeEvent is the decoder of our handlers. They read the event, so the
// message has no copy of its attributes as metadata.
func decodeEvent(m *nats.Msg) (*message.Message, event.Event, error) {
	e, err := events.Decode(m)
	if err != nil {
		return message.NewMessage("", m.Data), e, err
	}
	return message.NewMessage(e.ID(), m.Data), e, nil
}

// settle acks, or terminates what is a dead letter by now. It is done either
// way, so its failures are forgotten.
func (d *delivery) settle() {
	m := d.latest()
	var err error
	if d.term == "" {
		err = m.Ack()
	} else {
		err = m.Respond([]byte("+TERM " + d.term))
	}
	d.sub.tally.forget(d.seq)
	d.report(err)
}

func (d *delivery) nak() {
	delay := d.delay
	if !d.set {
		delay = d.sub.conf.retry.after(d.deliveries())
	}
	d.report(d.latest().NakWithDelay(delay))
}

// report: what could not be said to the server is no loss, it delivers again.
func (d *delivery) report(err error) {
	if err != nil {
		d.sub.conf.log.Debug("settle message", "consumer", d.sub.topic, "stream_sequence", d.seq, "error", err)
	}
}

// putBack sets the pause before the next delivery.
func (d *delivery) putBack(after time.Duration) { d.delay, d.set = after, true }

// renew takes over a redelivery of a message that is still in hand; sub.mu is held.
func (d *delivery) renew(m *nats.Msg, md *nats.MsgMetadata) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.msg, d.delivered = m, md.NumDelivered
}

func (d *delivery) latest() *nats.Msg {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.msg
}

// deliveries is how often the server has delivered the message.
func (d *delivery) deliveries() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.delivered
}

// again starts a try with a context of its own, which ends when it takes too
// long or the message is settled.
func (d *delivery) again() {
	ctx, cancel := context.WithCancelCause(context.WithValue(d.sub.base, deliveryKey{}, d))
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cancel != nil {
		d.cancel(nil)
	}
	d.since, d.ctx, d.cancel = time.Now(), ctx, cancel
}

// end ends the context of the current try.
func (d *delivery) end(cause error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cancel(cause)
}

// beat tells the server that the message is in hand, unless the handler is
// overdue: then its context ends, and the server may deliver elsewhere.
func (d *delivery) beat(now time.Time) {
	d.mu.Lock()
	late, m := now.Sub(d.since) > d.sub.conf.handleTimeout, d.msg
	d.mu.Unlock()
	if late {
		d.end(errOverdue)
		return
	}
	d.report(m.InProgress())
}

// keepAlive beats for all that is in hand until the drain is over. The ticker
// ticks every third of AckWait, so that one lost beat does no harm.
func (s *subscription) keepAlive() {
	defer s.beats.Stop()
	for {
		select {
		case now := <-s.beats.C:
			for _, d := range s.held() {
				d.beat(now)
			}
		case <-s.base.Done():
			return
		}
	}
}

func (s *subscription) held() []*delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*delivery, 0, len(s.inHand))
	for _, d := range s.inHand {
		all = append(all, d)
	}
	return all
}
