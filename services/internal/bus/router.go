package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/cloudevents/sdk-go/v2/event"
)

// Handler takes the events of one consumer.
type Handler struct {
	// Consumer is a durable consumer of the declared topology.
	Consumer string
	// Concurrency is how many events are in hand at once, default 256.
	Concurrency int
	// Handle stores the event and returns. Its error is nil, Reject, Unavailable
	// or a failure of this event (see the package comment). The context ends
	// when the handler takes too long or the drain has run out.
	Handle func(ctx context.Context, e event.Event) error
}

const defaultConcurrency = 256

// Run hands the events of the named consumers to their handlers until ctx ends;
// then it stops pulling, lets the handlers finish, and returns nil. It waits for
// the server and for missing consumers as long as it takes. Call it once.
func (b *Bus) Run(ctx context.Context, hs ...Handler) error {
	if len(hs) == 0 {
		return errors.New("run handlers: there are none")
	}
	conf := message.RouterConfig{CloseTimeout: b.conf.DrainTimeout + 2*abandonGrace}
	router, err := message.NewRouter(conf, routerLog{b.log})
	if err != nil {
		return fmt.Errorf("make router: %w", err)
	}
	for _, h := range hs {
		if err := b.add(router, h); err != nil {
			return fmt.Errorf("add handler of consumer %q: %w", h.Consumer, err)
		}
	}
	err = router.Run(ctx)
	b.detach()
	b.flush() // the last acks
	if err != nil {
		return fmt.Errorf("run router: %w", err)
	}
	return nil
}

func (b *Bus) add(router *message.Router, h Handler) error {
	if h.Handle == nil {
		return errors.New("no Handle function")
	}
	if _, ok := b.streamOf(h.Consumer); !ok {
		return errors.New("no such consumer is declared")
	}
	sub := b.subscriber(h)
	p := &pipeline{bus: b, handler: h, meter: b.meter.of(h.Consumer)}
	router.AddConsumerHandler(h.Consumer, h.Consumer, sub, p.handle).AddMiddleware(
		p.settle,  // outermost: however the rest ends, there is exactly one verdict
		p.hold,    // outside of the trace: each try of a kept message is a span of its own
		p.trace,   // all below, and what it sends, belongs to the event's trace
		p.observe, // inside the trace for its ids; outside of the rest to see how it ended
		p.bury,    // sees every failure, panics included; its dead letter is in the trace
		p.recover, // innermost: a panic is an ordinary error to all above
	)
	return nil
}

// pipeline is the way of a message to its handler.
type pipeline struct {
	bus     *Bus
	handler Handler
	meter   consumerMeter
}

// handle is the end of the pipeline.
func (p *pipeline) handle(m *message.Message) error {
	d := deliveryOf(m)
	if d.malformed != nil {
		return Reject(reasonUndecodable, d.malformed)
	}
	return p.handler.Handle(m.Context(), d.event)
}

// settle turns the error into the verdict. The router is told nothing: it would
// log what observe has logged.
func (p *pipeline) settle(next message.HandlerFunc) message.HandlerFunc {
	return func(m *message.Message) ([]*message.Message, error) {
		_, err := next(m)
		d := deliveryOf(m)
		var dead *buried
		switch {
		case err == nil:
		case errors.As(err, &dead):
			d.term = dead.reason
		case errors.Is(err, errDrained):
			d.putBack(0)
			m.Nack()
		default: // the pause grows with the deliveries
			m.Nack()
		}
		return nil, nil
	}
}

// recover makes a panic an error and logs where it came from.
func (p *pipeline) recover(next message.HandlerFunc) message.HandlerFunc {
	return func(m *message.Message) (_ []*message.Message, err error) {
		defer func() {
			if r := recover(); r != nil {
				err = &panicked{value: r}
				p.logPanic(m, r)
			}
		}()
		return next(m)
	}
}

// routerLog passes the router's errors on. Its other messages tell of each
// message or of start and stop, which is told elsewhere.
type routerLog struct{ log *slog.Logger }

func (l routerLog) Error(msg string, err error, _ watermill.LogFields) {
	l.log.Error("router: "+msg, "error", err)
}
func (l routerLog) Info(string, watermill.LogFields)                 {}
func (l routerLog) Debug(string, watermill.LogFields)                {}
func (l routerLog) Trace(string, watermill.LogFields)                {}
func (l routerLog) With(watermill.LogFields) watermill.LoggerAdapter { return l }
