package outbox

import (
	"context"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
)

const (
	// Up to this many events are sent one by one. Measured on a server that
	// flushes each write: an event costs 1 ms, a batch 10 to 25 ms whatever its
	// size.
	fewEvents = 10

	sendTimeout = 10 * time.Second
	sendGrace   = 2 * time.Second // of that, when the process shuts down
)

// send puts the entries on the stream and then moves the cursor past them.
// After a send that failed, it skips what arrived all the same and sends the
// rest one by one, each after the acknowledgment of the one before.
func (s *stream) send(ctx context.Context, sess *session, entries []entry) error {
	if s.unclear {
		if err := s.look(ctx, entries[len(entries)-1].position); err != nil {
			return err
		}
	}
	var to cursor
	var err error
	if s.unclear || s.fresh(entries) <= fewEvents {
		to, err = s.sendSingly(ctx, sess, entries)
	} else {
		to, err = s.sendBatch(ctx, sess, entries)
	}
	s.unclear = err != nil
	if to.position != s.cursor.position { // also after an error: as far as it got
		s.relay.config.Failpoint("relay.after_ack")
		if moveErr := s.move(ctx, sess, to); moveErr != nil {
			return moveErr
		}
		s.relay.config.Failpoint("relay.after_cursor")
	}
	return err
}

func (s *stream) sendBatch(ctx context.Context, sess *session, entries []entry) (cursor, error) {
	to := cursor{position: entries[len(entries)-1].position, seq: s.cursor.seq}
	evs := make([]event.Event, 0, len(entries))
	for _, e := range entries {
		if seq, ok := s.known[e.key]; ok {
			to.seq = max(to.seq, seq)
			continue
		}
		evs = append(evs, e.event)
	}
	s.relay.metrics.skipped(ctx, s.name, len(entries)-len(evs))
	ctx, cancel, err := s.beforeSend(ctx, sess)
	if err != nil {
		return s.cursor, err
	}
	defer cancel()
	to.seq, err = s.relay.config.Bus.PublishBatch(ctx, s.name, evs)
	if err != nil {
		s.relay.metrics.refused(ctx, s.name)
		return s.cursor, fmt.Errorf("send batch of %d: %w", len(evs), err)
	}
	s.relay.metrics.sent(ctx, s.name, len(evs))
	return to, nil
}

// sendSingly returns how far it got, also with an error.
func (s *stream) sendSingly(ctx context.Context, sess *session, entries []entry) (cursor, error) {
	done := s.cursor
	for _, e := range entries {
		seq, known := s.known[e.key]
		if !known {
			var err error
			if seq, known, err = s.sendOne(ctx, sess, e); err != nil {
				return done, err
			}
		}
		if known {
			s.relay.metrics.skipped(ctx, s.name, 1)
			seq = max(seq, done.seq)
		}
		done = cursor{position: e.position, seq: seq}
	}
	return done, nil
}

func (s *stream) sendOne(ctx context.Context, sess *session, e entry) (seq uint64, duplicate bool, err error) {
	ctx, cancel, err := s.beforeSend(ctx, sess)
	if err != nil {
		return 0, false, err
	}
	defer cancel()
	seq, duplicate, err = s.relay.config.Bus.PublishOne(ctx, e.event)
	if err != nil {
		return 0, false, fmt.Errorf("send %s %s: %w", e.event.Type(), e.event.ID(), err)
	}
	if !duplicate {
		s.relay.metrics.sent(ctx, s.name, 1)
	}
	return seq, duplicate, nil
}

// beforeSend makes sure of the lock and returns the context of a send: one
// that has a limit, and outlives a shutdown for a moment.
func (s *stream) beforeSend(ctx context.Context, sess *session) (context.Context, context.CancelFunc, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	if err := sess.holds(ctx); err != nil {
		return nil, nil, err
	}
	s.relay.config.Failpoint("relay.before_send")
	sendCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sendTimeout)
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(sendGrace, cancel) })
	return sendCtx, func() { stop(); cancel() }, nil
}

// fresh counts the entries that the stream is not known to hold.
func (s *stream) fresh(entries []entry) int {
	n := 0
	for _, e := range entries {
		if _, ok := s.known[e.key]; !ok {
			n++
		}
	}
	return n
}
