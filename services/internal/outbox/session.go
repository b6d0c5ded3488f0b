package outbox

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

var errLockLost = errors.New("the session of the relay lock has ended")

// session is the database session that holds the relay lock. Everything that
// the lock protects runs on it: a statement that succeeds is the proof that
// the lock is held, and a session that ended can move no cursor.
type session struct {
	mu      sync.Mutex
	conn    *pgx.Conn
	timeout time.Duration // of one use

	provenMu sync.Mutex
	proven   time.Time // the lock was held then
}

// acquire waits for the lock, on a connection of its own that the pool no
// longer counts.
func (r *Relay) acquire(ctx context.Context) (*session, error) {
	c, err := r.config.Pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect for relay lock: %w", err)
	}
	s := &session{conn: c.Hijack(), timeout: r.config.IdleLimit * 2 / 3}
	if err := s.lock(ctx, r.config.Service, r.config.IdleLimit); err != nil {
		s.close(ctx)
		return nil, fmt.Errorf("take relay lock: %w", err)
	}
	return s, nil
}

// lock asks again and again instead of waiting in the database, where the
// waiting statement would hold back vacuum.
func (s *session) lock(ctx context.Context, service string, idleLimit time.Duration) error {
	set := func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, sessionSQL, fmt.Sprint(idleLimit.Milliseconds()), fmt.Sprint(s.timeout.Milliseconds()))
		return err
	}
	if err := s.do(ctx, set); err != nil {
		return err
	}
	for {
		var held bool
		err := s.do(ctx, func(ctx context.Context, conn *pgx.Conn) error {
			return conn.QueryRow(ctx, lockSQL, service).Scan(&held)
		})
		if err != nil || held {
			return err
		}
		if !pause(ctx, min(lockRetry, idleLimit/3)) {
			return ctx.Err()
		}
	}
}

// Cursor moves need no flush: whoever finds a cursor older than it was reads
// the stream from there. Every statement reads the head of an index and stops;
// a bitmap would be made of all that lies behind it first.
const sessionSQL = `SELECT set_config('idle_session_timeout', $1, false), set_config('statement_timeout', $2, false),
  set_config('synchronous_commit', 'off', false), set_config('enable_bitmapscan', 'off', false)`

const lockSQL = `SELECT pg_try_advisory_lock(hashtextextended('postbus outbox relay ' || $1::text, 0))`

// do runs f alone on the session. Its error wraps errLockLost if the session
// is gone.
func (s *session) do(ctx context.Context, f func(context.Context, *pgx.Conn) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	err := f(ctx, s.conn)
	if s.conn.IsClosed() {
		return fmt.Errorf("%w: %w", errLockLost, errors.Join(err, context.Cause(ctx)))
	}
	if err == nil {
		s.prove(start)
	}
	return err
}

func (s *session) touch(ctx context.Context) error {
	err := s.do(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return conn.Ping(ctx)
	})
	if err != nil {
		return fmt.Errorf("touch relay lock: %w", err)
	}
	return nil
}

// holds makes sure that the lock was held a moment ago, asking the database if
// no statement has shown it. What is sent after it may still be overtaken by a
// pause of this process; the server's duplicate window is there for that.
func (s *session) holds(ctx context.Context) error {
	s.provenMu.Lock()
	fresh := time.Since(s.proven) < s.timeout
	s.provenMu.Unlock()
	if fresh {
		return nil
	}
	return s.touch(ctx)
}

func (s *session) prove(at time.Time) {
	s.provenMu.Lock()
	defer s.provenMu.Unlock()
	if at.After(s.proven) {
		s.proven = at
	}
}

// close ends the session, which frees the lock, also when ctx has ended.
func (s *session) close(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = s.conn.Close(ctx) // a session that cannot be told ends by its idle limit
}
