package bus

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// session is one stretch of pulling: an inbox, and the count of messages that
// were asked for and have not come yet. Together with what is in hand these never
// exceed the slots. When it ends, the server takes back what it has not sent.
//
// It speaks the pull protocol itself (JetStream ADR-37) because the batch
// calls of the client library cannot be ended without stranding messages that are
// on their way until their ack runs out.
type session struct {
	sub     *subscription
	binding binding
	most    int  // messages asked for at once
	once    bool // ends when they came
	inbox   *nats.Subscription
	prefix  string
	lost    chan error    // why pulling cannot go on
	closed  chan struct{} // no callback runs any more

	// Under sub.mu:
	came        int       // messages
	outstanding int       // asked for, not come
	answerBy    time.Time // when the newest request must have been answered
	lingerUntil time.Time
	pauseUntil  time.Time
	answered    bool // the server has answered at least once
	ended       bool // what still comes goes back
}

const (
	// linger is how long a full pump waits for more slots to become free, so
	// that it does not ask for one message at a time.
	linger = time.Millisecond
	// answerGrace is how late the end of a pull request may be told.
	answerGrace = 2 * time.Second
	// refusedPause keeps a refused request from being repeated at once.
	refusedPause = 500 * time.Millisecond
	// endWait bounds the farewell to the server.
	endWait = 2 * time.Second
	// enough in place of a number: nothing more is to be asked for.
	enough = -1
)

var (
	errConsumerGone = errors.New("consumer or stream is gone")
	errNoAnswer     = errors.New("pull request was not answered")
)

// pull asks for up to most messages at once, until the subscription stops, the
// gate changes, or with once so many have come (nil error all), or the consumer is
// lost. It is true if the server ever answered; with once, if a message came.
func (s *subscription) pull(b binding, gateChanged <-chan struct{}, most int, once bool) (bool, error) {
	ses := &session{sub: s, binding: b, most: most, once: once, lost: make(chan error, 1), closed: make(chan struct{})}
	if err := ses.begin(); err != nil {
		return false, err
	}
	err := ses.loop(gateChanged)
	ses.end()
	s.mu.Lock()
	defer s.mu.Unlock()
	if once {
		return ses.came > 0, err
	}
	return ses.answered, err
}

func (ses *session) begin() error {
	s := ses.sub
	ses.prefix = s.conf.conn.NewInbox()
	inbox, err := s.conf.conn.Subscribe(ses.prefix+".*", ses.receive)
	if err != nil {
		return fmt.Errorf("subscribe to pull inbox: %w", err)
	}
	inbox.SetClosedHandler(func(string) { close(ses.closed) })
	// The slots are the limit; the library's own would drop messages.
	if err := inbox.SetPendingLimits(-1, -1); err != nil {
		return errors.Join(fmt.Errorf("lift limits of pull inbox: %w", err), inbox.Unsubscribe())
	}
	ses.inbox = inbox
	s.mu.Lock()
	defer s.mu.Unlock()
	s.session = ses
	return nil
}

func (ses *session) loop(gateChanged <-chan struct{}) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ses.sub.pulling.Done():
			return nil
		case <-gateChanged:
			return nil
		case err := <-ses.lost:
			return err
		case <-timer.C:
		case <-ses.sub.wake:
		}
		n, again, err := ses.due(time.Now())
		if err == nil && n == enough {
			return nil
		}
		if err == nil && n > 0 {
			err = ses.ask(n)
		}
		if err != nil {
			return err
		}
		timer.Reset(again)
	}
}

// due decides how many messages to ask for now, and when to look again at the
// latest. While a request is open small numbers wait, since the server can still
// deliver; with none open they wait for a moment only.
func (ses *session) due(now time.Time) (n int, again time.Duration, err error) {
	s := ses.sub
	s.mu.Lock()
	defer s.mu.Unlock()
	if ses.once && ses.came >= ses.most {
		return enough, 0, nil
	}
	if !s.conf.conn.IsConnected() {
		ses.outstanding = 0
		return 0, s.conf.expires, nil // a reconnect wakes us
	}
	if now.Before(ses.pauseUntil) {
		return 0, ses.pauseUntil.Sub(now), nil
	}
	if ses.outstanding > 0 && now.After(ses.answerBy) {
		ses.outstanding, s.silent = 0, true
		return 0, 0, errNoAnswer
	}
	free := ses.free()
	switch {
	case free <= 0:
		return 0, s.conf.expires, nil
	case free >= ses.threshold():
	case ses.outstanding > 0:
		return 0, ses.answerBy.Sub(now) + time.Millisecond, nil
	case ses.lingerUntil.IsZero():
		ses.lingerUntil = now.Add(linger)
		return 0, linger, nil
	case now.Before(ses.lingerUntil):
		return 0, ses.lingerUntil.Sub(now), nil
	}
	ses.lingerUntil = time.Time{}
	ses.outstanding += free
	ses.answerBy = now.Add(s.conf.expires + answerGrace)
	return free, s.conf.expires + answerGrace + time.Millisecond, nil
}

// ask sends a pull request. The number is part of the inbox, so that a refusal
// tells how many will not come.
func (ses *session) ask(n int) error {
	req, err := json.Marshal(struct {
		Batch   int           `json:"batch"`
		Expires time.Duration `json:"expires"`
	}{n, ses.sub.conf.expires})
	if err != nil {
		return fmt.Errorf("encode pull request: %w", err)
	}
	subject := "$JS.API.CONSUMER.MSG.NEXT." + ses.binding.stream + "." + ses.binding.consumer
	if err := ses.sub.conf.conn.PublishRequest(subject, ses.prefix+"."+strconv.Itoa(n), req); err != nil {
		// Disconnected in this instant; the reconnect counts anew and wakes us.
		ses.sub.conf.log.Debug("send pull request", "error", err)
	}
	return nil
}

// receive is the callback of the inbox.
func (ses *session) receive(m *nats.Msg) {
	if m.Reply == "" {
		ses.status(m)
		return
	}
	md, err := m.Metadata()
	if err != nil {
		ses.sub.conf.log.Warn("unexpected message in pull inbox", "error", err)
		return
	}
	d, ended := ses.take(m, md)
	switch {
	case ended:
		ses.returnUnseen(m, md)
	case d != nil:
		ses.sub.start(d)
	}
}

// take makes a delivery of a message that came; none if the session has ended,
// or if the message is already in hand here: then the server lost patience, and
// only the newer reply counts.
func (ses *session) take(m *nats.Msg, md *nats.MsgMetadata) (d *delivery, ended bool) {
	s := ses.sub
	s.mu.Lock()
	defer s.mu.Unlock()
	ses.answered, s.silent = true, false
	s.came++
	s.waiting = md.NumPending
	ses.outstanding = max(0, ses.outstanding-1)
	if ses.ended {
		return nil, true
	}
	if known := s.inHand[md.Sequence.Stream]; known != nil {
		known.renew(m, md)
	} else {
		d = newDelivery(s, m, md)
		s.inHand[d.seq] = d
		s.running.Add(1)
		ses.came++
	}
	if ses.once || ses.outstanding == 0 && ses.free() > 0 {
		s.signal()
	}
	return d, false
}

// returnUnseen hands back what came after the end: at once if the process
// stops, for others to take; later, and excused, if something is away.
func (ses *session) returnUnseen(m *nats.Msg, md *nats.MsgMetadata) {
	s := ses.sub
	s.tally.excuse(md.Sequence.Stream)
	var delay time.Duration
	if s.pulling.Err() == nil {
		delay = s.conf.retry.after(md.NumDelivered)
	}
	if err := m.NakWithDelay(delay); err != nil {
		s.conf.log.Debug("hand message back", "error", err)
	}
}

// status handles what the server says instead of a message.
func (ses *session) status(m *nats.Msg) {
	code, text := m.Header.Get("Status"), m.Header.Get("Description")
	pending, err := strconv.Atoi(m.Header.Get("Nats-Pending-Messages"))
	asked, _ := strconv.Atoi(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:])
	switch {
	case code == "100": // idle heartbeat; we ask for none
	case err == nil: // the request ended with so many not delivered
		ses.forget(pending, 0)
	case code == "503", code == "409" && strings.HasPrefix(text, "Consumer"):
		ses.lose(fmt.Errorf("%w: %s %s", errConsumerGone, code, text))
	case strings.HasPrefix(text, "Exceeded"), code == "400":
		ses.sub.conf.log.Warn("pull request refused", "consumer", ses.binding.consumer, "status", code, "reason", text)
		ses.forget(asked, refusedPause)
	default: // leadership change, server shutdown: all requests are forgotten
		ses.forget(ses.sub.conf.slots, refusedPause)
	}
}

// forget takes n messages off the count of the outstanding: the server will not
// send them. The next request waits for the pause.
func (ses *session) forget(n int, pause time.Duration) {
	s := ses.sub
	s.mu.Lock()
	ses.answered, s.silent = true, false
	ses.outstanding = max(0, ses.outstanding-n)
	ses.pauseUntil = time.Now().Add(pause)
	s.mu.Unlock()
	s.signal()
}

func (ses *session) lose(err error) {
	ses.sub.mu.Lock()
	ses.sub.silent = true
	ses.sub.mu.Unlock()
	select {
	case ses.lost <- err:
	default:
	}
}

// end takes the inbox away. The server drops our requests when it hears of it,
// and after its answer to the flush nothing more can come.
func (ses *session) end() {
	s := ses.sub
	s.mu.Lock()
	ses.ended = true
	s.session = nil
	s.mu.Unlock()
	if s.conf.conn.IsConnected() && ses.inbox.Drain() == nil {
		select {
		case <-ses.closed:
			return
		case <-time.After(endWait):
		}
	}
	if err := ses.inbox.Unsubscribe(); err != nil {
		s.conf.log.Debug("unsubscribe pull inbox", "error", err)
	}
}

// free is how many messages may still be asked for; sub.mu is held.
func (ses *session) free() int {
	if ses.once { // beside what is in hand: those wait for it
		return ses.most - ses.came - ses.outstanding
	}
	return ses.most - len(ses.sub.inHand) - ses.outstanding
}

func (ses *session) threshold() int { return max(1, ses.most/4) }

// worthAsking is whether a freed slot should wake the loop; sub.mu is held.
func (ses *session) worthAsking() bool {
	free := ses.free()
	return free == ses.threshold() || ses.outstanding == 0 && free == 1
}
