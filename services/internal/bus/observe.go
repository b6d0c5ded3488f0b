package bus

import (
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// observe counts, times and logs each handling. What worked is told at debug
// level only, and so is an outage, since hold tells of its beginning and end.
func (p *pipeline) observe(next message.HandlerFunc) message.HandlerFunc {
	return func(m *message.Message) ([]*message.Message, error) {
		began := time.Now()
		out, err := next(m)
		took, end := time.Since(began), outcomeOf(err)
		p.meter.ended(m.Context(), end, took)
		if level := levelOf(end); p.bus.log.Enabled(m.Context(), level) {
			d := deliveryOf(m)
			p.bus.log.Log(m.Context(), level, "event handled", "outcome", string(end), "error", err,
				"consumer", p.handler.Consumer, "subject", d.latest().Subject, "event_id", m.UUID,
				"stream_sequence", d.seq, "deliveries", d.deliveries(), "took", took)
		}
		return out, err
	}
}

func levelOf(end outcome) slog.Level {
	switch end {
	case outcomeDead:
		return slog.LevelError
	case outcomeFailed, outcomeReturned:
		return slog.LevelWarn
	default:
		return slog.LevelDebug
	}
}

func (p *pipeline) logPanic(m *message.Message, value any) {
	p.bus.log.ErrorContext(m.Context(), "handler panicked", "panic", value,
		"consumer", p.handler.Consumer, "event_id", m.UUID, "stack", string(debug.Stack()))
}
