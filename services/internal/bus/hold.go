package bus

import (
	"context"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// hold is what Unavailable does: the first message to find out shuts the gate
// and is kept and tried again until it gets through; the others go back, excused.
func (p *pipeline) hold(next message.HandlerFunc) message.HandlerFunc {
	return func(m *message.Message) ([]*message.Message, error) {
		d, began := deliveryOf(m), time.Now()
		gate := d.sub.gate
		passes := gate.enter(d)
		for try := uint64(1); ; try++ {
			overtaken := gate.passed() != passes
			_, err := next(m)
			if outcomeOf(err) != outcomeUnavailable {
				p.resume(d)
				return nil, err
			}
			if overtaken {
				// Others got through: nothing is away but for this one, and it
				// shall not stop them again.
				d.sub.tally.suspect(d.seq)
			}
			if overtaken || !p.stop(d, err) || !p.again(d, try, began) {
				d.sub.tally.excuse(d.seq)
				return nil, err
			}
			d.again()
			m.SetContext(d.ctx)
		}
	}
}

// stop shuts the gate. It is true if d is kept.
func (p *pipeline) stop(d *delivery, err error) bool {
	if d.sub.tally.suspected(d.seq) {
		p.bus.log.Warn("an event finds something unavailable that others do not", "consumer", p.handler.Consumer,
			"stream_sequence", d.seq, "deliveries", d.deliveries(), "error", err)
		return false
	}
	kept, first := d.sub.gate.shut(d)
	if first {
		p.bus.log.Warn("pulling stops until an event gets through", "consumer", p.handler.Consumer, "error", err)
	}
	return kept
}

// resume opens the gate if d was kept.
func (p *pipeline) resume(d *delivery) {
	if was, opened := d.sub.gate.pass(d); opened {
		p.bus.log.Info("pulling resumes", "consumer", p.handler.Consumer, "after", was)
	}
}

// again waits for the next try of a message that is kept. It is false when the
// process stops, and when the message was kept for long while others of the fleet
// make progress: then the outage is ours alone, and they should have it.
func (p *pipeline) again(d *delivery, try uint64, began time.Time) bool {
	s := d.sub
	s.pause(backoff{p.bus.conf.ProbeMin, p.bus.conf.ProbeMax}.after(try))
	if s.pulling.Err() != nil {
		return false
	}
	if time.Since(began) > p.bus.conf.HoldTime && s.othersProgress(d) {
		p.bus.log.Warn("others make progress, they may have what is kept here", "consumer", p.handler.Consumer)
		s.gate.giveUp()
		return false
	}
	return true
}

// othersProgress is whether the consumer has delivered anything to others since
// the last call for this delivery.
func (s *subscription) othersProgress(d *delivery) bool {
	ctx, cancel := context.WithTimeout(s.pulling, bindTimeout)
	defer cancel()
	all, err := s.conf.progress(ctx, d.stream, d.consumer)
	if err != nil {
		return false
	}
	s.mu.Lock()
	others := int64(all) - s.came
	s.mu.Unlock()
	progress := d.othersKnown && others > d.others
	d.others, d.othersKnown = others, true
	return progress
}
