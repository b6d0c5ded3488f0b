package bus

import (
	"context"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// subscription pulls the messages of one consumer and keeps them alive until
// they are settled.
type subscription struct {
	conf  *subscriberConfig
	topic string
	out   chan *message.Message
	gate  *gate
	tally *tally

	pulling context.Context // its end: pull no more
	halt    context.CancelFunc
	base    context.Context         // of the messages
	abandon context.CancelCauseFunc // ends the handlers that outlive the drain
	done    chan struct{}           // closed: all settled, out is closed
	wake    chan struct{}
	beats   *time.Ticker
	workers chan *delivery // to a goroutine that is idle
	running sync.WaitGroup // deliveries

	mu      sync.Mutex
	session *session             // nil while not pulling
	silent  bool                 // the consumer was lost and has not answered since
	inHand  map[uint64]*delivery // by stream sequence
	came    int64                // messages, ever
	waiting uint64               // in the stream behind the last one that came
}

func newSubscription(pulling context.Context, halt context.CancelFunc, c *subscriberConfig, topic string) *subscription {
	s := &subscription{
		conf: c, topic: topic, pulling: pulling, halt: halt,
		out:  make(chan *message.Message),
		gate: newGate(c.holdTime), tally: newTally(),
		done: make(chan struct{}), wake: make(chan struct{}, 1),
		beats:   time.NewTicker(time.Hour), // until the first bind knows AckWait
		workers: make(chan *delivery),
		inHand:  map[uint64]*delivery{},
	}
	// Handlers outlive pulling: its end means drain, not break off.
	s.base, s.abandon = context.WithCancelCause(context.WithoutCancel(pulling))
	return s
}

// run binds and pulls until the subscription is stopped, then drains.
func (s *subscription) run(ctx context.Context) {
	defer close(s.done)
	go s.keepAlive()
	var last binding
	for try := uint64(1); ctx.Err() == nil; try++ {
		b, answered, err := s.serve(ctx, last)
		if answered {
			try = 1
		}
		if err != nil && ctx.Err() == nil {
			s.conf.log.Warn("consumer lost, binding again", "consumer", s.topic, "error", err)
			s.pause(s.conf.rebind.after(try))
		}
		last = b
	}
	s.drain()
}

// serve binds, then pulls until the consumer is lost or the subscription stops.
func (s *subscription) serve(ctx context.Context, last binding) (b binding, answered bool, err error) {
	bindCtx, cancel := context.WithTimeout(ctx, bindTimeout)
	b, err = s.conf.bind(bindCtx, s.topic)
	cancel()
	if err != nil {
		return last, false, err
	}
	if !b.created.Equal(last.created) {
		s.tally.reset() // its sequences may be those of another stream
	}
	s.beats.Reset(max(b.ackWait/3, time.Millisecond))
	for ctx.Err() == nil && err == nil {
		var got bool
		got, err = s.stretch(b)
		answered = answered || got
	}
	return b, answered, err
}

// stretch pulls until the gate changes; while it is shut it waits for that, or
// until a witness is wanted.
func (s *subscription) stretch(b binding) (answered bool, err error) {
	open, changed, witnessAt := s.gate.state()
	switch {
	case open:
		return s.pull(b, changed, s.conf.slots, false)
	case !witnessAt.IsZero() && !time.Now().Before(witnessAt):
		s.gate.try(true)
		answered, err = s.pull(b, changed, 1, true)
		if !answered {
			s.gate.try(false)
		}
		return answered, err
	}
	s.await(changed, witnessAt)
	return false, nil
}

// start gives a delivery to a worker that is idle, or to a new one; there come to
// be as many as slots were ever used. Kept goroutines have grown their stacks.
func (s *subscription) start(d *delivery) {
	select {
	case s.workers <- d:
	default:
		go s.work(d)
	}
}

func (s *subscription) work(d *delivery) {
	for ok := true; ok; d, ok = <-s.workers {
		d.run()
	}
}

// release frees the slot of a settled delivery.
func (s *subscription) release(d *delivery) {
	s.mu.Lock()
	delete(s.inHand, d.seq)
	worth := s.session != nil && s.session.worthAsking()
	s.mu.Unlock()
	if worth {
		s.signal()
	}
	s.running.Done()
}

// drain waits for what is in hand, then breaks it off.
func (s *subscription) drain() {
	overdue := time.AfterFunc(s.conf.drainTimeout, func() { s.abandon(errDrained) })
	s.running.Wait()
	overdue.Stop()
	s.abandon(errDrained)
	close(s.workers)
	close(s.out)
}

func (s *subscription) attached() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.session != nil && !s.session.once && !s.silent
}

func (s *subscription) load() load {
	s.mu.Lock()
	defer s.mu.Unlock()
	return load{inHand: len(s.inHand), waiting: s.waiting}
}

func (s *subscription) reconnected() {
	s.mu.Lock()
	if s.session != nil {
		s.session.outstanding = 0
	}
	s.mu.Unlock()
	s.signal()
}

func (s *subscription) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// pause sleeps unless the subscription is stopped.
func (s *subscription) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.pulling.Done():
	}
}

// await waits for a change of the gate, or for a time if that is not zero.
func (s *subscription) await(changed <-chan struct{}, until time.Time) {
	var timeout <-chan time.Time
	if !until.IsZero() {
		t := time.NewTimer(time.Until(until))
		defer t.Stop()
		timeout = t.C
	}
	select {
	case <-changed:
	case <-timeout:
	case <-s.pulling.Done():
	}
}

const bindTimeout = 15 * time.Second
