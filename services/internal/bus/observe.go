package bus

import (
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// observe counts, times and logs each handling. What worked is told at debug
// level only, and an outage once, by its probe.
func (p *pipeline) observe(next message.HandlerFunc) message.HandlerFunc {
	return func(m *message.Message) ([]*message.Message, error) {
		began := time.Now()
		out, err := next(m)
		took, end := time.Since(began), outcomeOf(err)
		p.meter.ended(m.Context(), end, took)
		if level := p.level(m, end); p.bus.log.Enabled(m.Context(), level) {
			d := deliveryOf(m)
			p.bus.log.Log(m.Context(), level, "event handled", "outcome", string(end), "error", err,
				"consumer", p.handler.Consumer, "subject", d.latest().Subject, "event_id", m.UUID,
				"stream_sequence", d.seq, "deliveries", d.deliveries(), "took", took)
		}
		return out, err
	}
}

func (p *pipeline) level(m *message.Message, end outcome) slog.Level {
	switch end {
	case outcomeDead:
		return slog.LevelError
	case outcomeFailed, outcomeReturned:
		return slog.LevelWarn
	case outcomeUnavailable:
		if open, _ := deliveryOf(m).sub.gate.state(); open {
			return slog.LevelWarn
		}
	}
	return slog.LevelDebug
}

func (p *pipeline) logPanic(m *message.Message, value any) {
	p.bus.log.ErrorContext(m.Context(), "handler panicked", "panic", value,
		"consumer", p.handler.Consumer, "event_id", m.UUID, "stack", string(debug.Stack()))
}
