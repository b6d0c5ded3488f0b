package bus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"

	"postbus.dev/events"
)

// The headers that a dead letter has beside its own. The payload and all other
// headers are unchanged, except that what the server would act on once more
// (Nats-*) is renamed with HeaderDeadPrefix before it. Nats-Msg-Id is new, so that
// sending the message back is not taken for a repeat.
const (
	HeaderDeadPrefix     = "Deadletter-"
	HeaderDeadReason     = "Deadletter-Reason"     // for people, one line
	HeaderDeadConsumer   = "Deadletter-Consumer"   // whose handler gave up
	HeaderDeadStream     = "Deadletter-Stream"     // where the original is
	HeaderDeadSequence   = "Deadletter-Sequence"   // and its sequence there
	HeaderDeadDeliveries = "Deadletter-Deliveries" // how often it was delivered
	HeaderDeadTime       = "Deadletter-Time"       // RFC 3339, when it was given up
	// HeaderDeadOmitted says "payload" where the payload and these headers
	// together exceed what the server takes; the original is in the stream.
	HeaderDeadOmitted = "Deadletter-Omitted"
)

// Why a message is a dead letter; the metric's reasons.
const (
	reasonUndecodable = "undecodable"
	reasonRejected    = "rejected"
	reasonFailed      = "failed too often"
	reasonDelivered   = "delivered too often"
)

// buried tells that the message is stored as a dead letter.
type buried struct {
	reason string
	err    error
}

func (e *buried) Error() string {
	if e.err == nil {
		return e.reason
	}
	return fmt.Sprintf("%s: %v", e.reason, e.err)
}

func (e *buried) Unwrap() error { return e.err }

// bury decides which failures are final and stores those messages as dead letters.
func (p *pipeline) bury(next message.HandlerFunc) message.HandlerFunc {
	return func(m *message.Message) ([]*message.Message, error) {
		d := deliveryOf(m)
		if d.counted() > MaxDeliveries { // it may be what killed us the last times
			return nil, p.store(m, d, reasonDelivered, nil)
		}
		_, err := next(m)
		var rejected *rejection
		switch {
		case err == nil, outcomeOf(err) == outcomeUnavailable:
			return nil, err
		case errors.As(err, &rejected):
			if rejected.reason == reasonUndecodable {
				return nil, p.store(m, d, reasonUndecodable, rejected.err)
			}
			return nil, p.store(m, d, reasonRejected, rejected)
		case errors.Is(context.Cause(m.Context()), errDrained):
			return nil, fmt.Errorf("%w: %w", errDrained, err)
		case d.sub.tally.fail(d.seq) >= MaxFailures:
			return nil, p.store(m, d, reasonFailed, err)
		case d.counted() >= MaxDeliveries:
			return nil, p.store(m, d, reasonDelivered, err)
		}
		return nil, err
	}
}

// counted is how many deliveries speak against the message.
func (d *delivery) counted() uint64 {
	n := d.deliveries()
	return n - min(n, d.sub.tally.excused(d.seq))
}

// store publishes the dead letter and waits for the server's ack. Where that
// fails the message stays where it is and comes again.
func (p *pipeline) store(m *message.Message, d *delivery, reason string, why error) error {
	// The process may be stopping; a dead letter is worth the moment.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(m.Context()), p.bus.conf.PublishTimeout)
	defer cancel()
	dead := &buried{reason, why}
	letter := p.letter(d, dead)
	err := p.bus.storeDeadLetter(ctx, letter)
	if errors.Is(err, nats.ErrMaxPayload) {
		letter.Data = nil
		letter.Header[HeaderDeadOmitted] = []string{"payload"}
		err = p.bus.storeDeadLetter(ctx, letter)
	}
	if err != nil {
		return fmt.Errorf("%w: %w (it is one because: %s)", errNotBuried, err, dead.Error())
	}
	p.meter.buried(ctx, reason)
	return dead
}

func (b *Bus) storeDeadLetter(ctx context.Context, m *nats.Msg) error {
	// No expectation in a header: it would be stored, and refuse the sending back.
	ack, err := b.js.PublishMsg(ctx, m)
	if err == nil && ack.Stream != events.StreamDeadLetter {
		return fmt.Errorf("stream %s took it", ack.Stream)
	}
	return err
}

func (p *pipeline) letter(d *delivery, dead *buried) *nats.Msg {
	original := d.latest()
	h := nats.Header{}
	for name, values := range original.Header {
		if len(name) > 5 && strings.EqualFold(name[:5], "nats-") {
			name = HeaderDeadPrefix + name
		}
		h[name] = values
	}
	maps.Copy(h, nats.Header{
		HeaderDeadReason:     {oneLine(dead.Error())},
		HeaderDeadConsumer:   {p.handler.Consumer},
		HeaderDeadStream:     {d.stream},
		HeaderDeadSequence:   {strconv.FormatUint(d.seq, 10)},
		HeaderDeadDeliveries: {strconv.FormatUint(d.deliveries(), 10)},
		HeaderDeadTime:       {time.Now().UTC().Format(time.RFC3339Nano)},
		// The same for each try, so that an ack that was lost makes no second letter.
		nats.MsgIdHdr: {fmt.Sprintf("deadletter/%s/%s/%d", p.handler.Consumer, d.stream, d.seq)},
	})
	return &nats.Msg{Subject: events.DeadLetterPrefix + original.Subject, Header: h, Data: original.Data}
}

// maxReason bounds a reason in a header.
const maxReason = 1000

// oneLine makes text fit into a header.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7F {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > maxReason {
		s = strings.ToValidUTF8(s[:maxReason], "") + "..."
	}
	return s
}
