package outbox

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	minHeld     = time.Millisecond     // first look again at rows that an older transaction holds back
	minLook     = 2 * time.Millisecond // between a look that found nothing and the next
	minPatience = 4 * time.Second      // of reading the stream
	maxPatience = 2 * time.Minute
	storeIdle   = 4    // upkeeps for which a scan may be ahead of the stored cursor
	storeIdleBy = 1000 // transactions that it must be ahead to be worth a write
)

// stream relays to one stream. All but woken and the gauges belongs to the
// goroutine of the current term.
type stream struct {
	relay *Relay
	name  string
	woken chan struct{} // holds one

	loaded  bool
	cursor  cursor    // as the database has it
	movedAt time.Time // when it was written last
	scanned position  // at or past the cursor: no row of this stream lies between
	unclear bool      // a send failed: it may have arrived, or the batch was refused

	// What the stream was found to hold of the rows up to knownTo.
	known   map[string]uint64
	knownTo position

	heldPause time.Duration
	vainLooks int // in a row

	lagRows atomic.Int64
	lagAge  atomic.Int64 // milliseconds
}

func newStream(r *Relay, name string) *stream {
	return &stream{relay: r, name: name, woken: make(chan struct{}, 1)}
}

// run relays until the session is lost or ctx ends. Other errors are this
// stream's own: it backs off, and the others go on.
func (s *stream) run(ctx context.Context, sess *session) error {
	s.loaded, s.heldPause = false, minHeld
	failures := 0
	for {
		p, err := s.step(ctx, sess)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errLockLost):
			return err
		case err != nil:
			failures++
			s.report(ctx, err, failures)
			pause(ctx, backoff(failures))
			continue
		}
		s.recovered(ctx, failures)
		failures = 0
		s.rest(ctx, p)
	}
}

// rest waits until another look may find something.
func (s *stream) rest(ctx context.Context, p page) {
	found := len(p.entries) > 0
	if found {
		s.heldPause = minHeld
	}
	switch {
	case p.more:
	case p.held: // a poke cannot hasten the older transaction
		pause(ctx, s.heldPause)
		s.heldPause = min(s.heldPause*2, s.relay.config.Poll)
	case found:
		s.wait(ctx)
	default: // pokes of other streams' events come here too
		pause(ctx, minLook)
		s.wait(ctx)
	}
}

// step relays one page.
func (s *stream) step(ctx context.Context, sess *session) (page, error) {
	if !s.loaded {
		if err := s.load(ctx, sess); err != nil {
			return page{}, err
		}
	}
	var p page
	err := sess.do(ctx, func(ctx context.Context, conn *pgx.Conn) (err error) {
		p, err = read(ctx, conn, s.relay.config.Service, s.name, s.scanned)
		return err
	})
	if err != nil {
		return page{}, err
	}
	if len(p.entries) > 0 {
		return p, s.send(ctx, sess, p.entries)
	}
	return p, s.skipTo(ctx, sess, position{xid: p.horizon})
}

// load takes the cursor over from whoever relayed before, who may have sent
// more than it says.
func (s *stream) load(ctx context.Context, sess *session) error {
	var c cursor
	var horizon uint64
	var pending bool
	service := s.relay.config.Service
	err := sess.do(ctx, func(ctx context.Context, conn *pgx.Conn) (err error) {
		if c, err = loadCursor(ctx, conn, service, s.name); err != nil {
			return err
		}
		horizon, pending, err = readPending(ctx, conn, service, s.name, c.position)
		return err
	})
	if err != nil {
		return err
	}
	s.cursor, s.scanned, s.movedAt = c, c.position, time.Now()
	s.known, s.knownTo = nil, position{}
	if pending { // rows beyond the horizon could not have been sent
		if err := s.look(ctx, position{xid: horizon}); err != nil {
			return err
		}
	}
	s.loaded, s.unclear = true, false
	return nil
}

// look reads which of the events up to the given position the stream holds. It
// may have to read much of a long stream, or wait for a server that has gone:
// so its patience is short at first and grows.
func (s *stream) look(ctx context.Context, to position) error {
	patience := min(minPatience<<min(s.vainLooks, 10), maxPatience)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	known, _, err := s.relay.config.Bus.IDsAfter(ctx, s.name, s.cursor.seq)
	if err != nil {
		s.vainLooks++
		return fmt.Errorf("read stream %s after %d: %w", s.name, s.cursor.seq, err)
	}
	s.vainLooks = 0
	s.known = known
	if s.knownTo.before(to) {
		s.knownTo = to
	}
	return nil
}

// skipTo remembers that no row lies before to. It is written now and then, so
// that the next holder does not begin at the last event of a quiet stream.
func (s *stream) skipTo(ctx context.Context, sess *session, to position) error {
	if s.scanned.before(to) {
		s.scanned = to
	}
	if time.Since(s.movedAt) < storeIdle*s.relay.config.Upkeep || s.scanned.xid-s.cursor.xid < storeIdleBy {
		return nil
	}
	return s.move(ctx, sess, cursor{position: s.scanned, seq: s.cursor.seq})
}

// move writes the cursor. It is not given up when the process shuts down.
func (s *stream) move(ctx context.Context, sess *session, to cursor) error {
	err := sess.do(context.WithoutCancel(ctx), func(ctx context.Context, conn *pgx.Conn) error {
		return moveCursor(ctx, conn, s.relay.config.Service, s.name, s.cursor.position, to)
	})
	if err != nil {
		s.loaded = false // as after a takeover
		return err
	}
	s.cursor, s.scanned, s.movedAt = to, to.position, time.Now()
	if !s.cursor.before(s.knownTo) {
		s.known, s.knownTo = nil, position{}
	}
	return nil
}

// wait returns when there may be something to do.
func (s *stream) wait(ctx context.Context) {
	t := time.NewTimer(s.relay.config.Poll)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-s.woken:
	case <-t.C:
	}
}

// report tells of the first failure in a row and then of each tenth.
func (s *stream) report(ctx context.Context, err error, failures int) {
	s.relay.metrics.failed(ctx, s.name)
	if failures%10 == 1 {
		s.relay.log.ErrorContext(ctx, "relay cannot send", "stream", s.name, "failures", failures, "error", err)
	}
}

func (s *stream) recovered(ctx context.Context, failures int) {
	if failures > 0 {
		s.relay.log.InfoContext(ctx, "relay sends again", "stream", s.name, "failures", failures)
	}
}
