package proxy_test

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postbus.dev/services/connectors/sandbox/proxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// target is a server that keeps what comes and answers each read with "ok".
type target struct {
	addr string

	mu  sync.Mutex
	got []byte
	err error // what ended the last connection
}

func (s *target) received() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.got)
}

func (s *target) ending() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *target) keep(b []byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got, s.err = append(s.got, b...), err
}

func (s *target) serve(c net.Conn) {
	defer c.Close()
	buf := make([]byte, 1024)
	for {
		n, err := c.Read(buf)
		s.keep(buf[:n], err)
		if err == nil {
			_, err = c.Write([]byte("ok"))
			s.keep(nil, err)
		}
		if err != nil {
			return
		}
	}
}

func setup(t *testing.T) (*proxy.Proxy, *target) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &target{addr: ln.Addr().String()}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { s.serve(c) })
		}
	})
	p, err := proxy.Start(proxy.Config{Target: s.addr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		_ = ln.Close()
		wg.Wait()
	})
	return p, s
}

func dial(t *testing.T, p *proxy.Proxy) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c.(*net.TCPConn)
}

func say(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

// hear reads n bytes.
func hear(c net.Conn, n int) (string, error) {
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	buf := make([]byte, n)
	n, err := io.ReadFull(c, buf)
	return string(buf[:n]), err
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 2500 {
		if ok() {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
	t.Fatalf("never: %s", what)
}

func held(p *proxy.Proxy) int64 {
	var n int64
	for _, c := range p.Conns() {
		n += c.Held[proxy.Up]
	}
	return n
}

func TestItPassesBothWays(t *testing.T) {
	t.Parallel()
	p, s := setup(t)
	c := dial(t, p)
	say(t, c, "hello")
	if got, err := hear(c, 2); got != "ok" || err != nil || s.received() != "hello" {
		t.Errorf("%q %v, target has %q", got, err, s.received())
	}
	info := p.Conns()[0]
	if info.Client != c.LocalAddr().String() || info.Passed[proxy.Up] != 5 || info.Passed[proxy.Down] != 2 {
		t.Errorf("%+v", info)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := hear(c, 1); !errors.Is(err, io.EOF) {
		t.Errorf("the end did not go through: %v", err)
	}
	eventually(t, "done", func() bool { return p.Conns()[0].Done })
}

func TestHeldBytesAreDeliveredOnRelease(t *testing.T) {
	t.Parallel()
	p, s := setup(t)
	c := dial(t, p)
	p.Hold(proxy.Hold{})
	say(t, c, "late")
	eventually(t, "held", func() bool { return held(p) == 4 })
	if got := s.received(); got != "" {
		t.Fatalf("%q got through", got)
	}
	p.Release()
	if got, err := hear(c, 2); got != "ok" || err != nil || s.received() != "late" {
		t.Errorf("%q %v, target has %q", got, err, s.received())
	}
}

func TestHeldBytesOfASenderThatClosedInOrderAreDelivered(t *testing.T) {
	t.Parallel()
	p, s := setup(t)
	c := dial(t, p)
	p.Hold(proxy.Hold{})
	say(t, c, "late")
	_ = c.Close()
	eventually(t, "held", func() bool { return held(p) == 4 })
	p.Release()
	eventually(t, "delivered", func() bool { return s.received() == "late" })
}

func TestHeldBytesOfASenderThatResetAreLost(t *testing.T) {
	t.Parallel()
	p, s := setup(t)
	c := dial(t, p)
	p.Hold(proxy.Hold{})
	say(t, c, "never")
	eventually(t, "held", func() bool { return held(p) == 5 })
	_ = c.SetLinger(0)
	_ = c.Close()
	eventually(t, "lost", func() bool { return p.Conns()[0].Lost[proxy.Up] == 5 })
	if err := s.ending(); err != nil {
		t.Errorf("the reset went through while held: %v", err)
	}
	p.Release()
	eventually(t, "reset at the target", func() bool { return errors.Is(s.ending(), syscall.ECONNRESET) })
	if got := s.received(); got != "" {
		t.Errorf("target has %q", got)
	}
}

func TestTheSendersTimeoutThrowsHeldBytesAway(t *testing.T) {
	t.Parallel()
	p, s := setup(t)
	c := dial(t, p)
	p.Hold(proxy.Hold{UserTimeout: 20 * time.Millisecond})
	say(t, c, "never")
	if _, err := hear(c, 1); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the sender is not told: %v", err)
	}
	p.Release()
	eventually(t, "done", func() bool { return p.Conns()[0].Done })
	if got := s.received(); got != "" {
		t.Errorf("target has %q", got)
	}
}

func TestOneDirectionCanBeHeldAlone(t *testing.T) {
	t.Parallel()
	p, s := setup(t)
	c := dial(t, p)
	p.HoldDirection(proxy.Down, proxy.Hold{})
	say(t, c, "hello")
	eventually(t, "delivered", func() bool { return s.received() == "hello" })
	eventually(t, "answer held", func() bool { return p.Conns()[0].Held[proxy.Down] == 2 })
	p.Release()
	if got, err := hear(c, 2); got != "ok" || err != nil {
		t.Errorf("%q %v", got, err)
	}
}

func TestCuttingResetsBothSides(t *testing.T) {
	t.Parallel()
	p, s := setup(t)
	c := dial(t, p)
	say(t, c, "hello")
	if _, err := hear(c, 2); err != nil {
		t.Fatal(err)
	}
	if n := p.Cut(); n != 1 {
		t.Errorf("cut %d", n)
	}
	if _, err := hear(c, 1); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("client: %v", err)
	}
	eventually(t, "reset at the target", func() bool { return errors.Is(s.ending(), syscall.ECONNRESET) })
	if n := p.Cut(); n != 0 {
		t.Errorf("cut %d again", n)
	}
}

func TestATriggerActsAtItsByte(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		trigger proxy.Trigger
		want    string // what the target has of "second"
	}{
		{"before the send", proxy.Trigger{Direction: proxy.Up}, ""},
		{"during the send", proxy.Trigger{Direction: proxy.Up, Bytes: 3}, "sec"},
		{"after the send", proxy.Trigger{Direction: proxy.Down}, "second"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p, s := setup(t)
			conn := dial(t, p)
			say(t, conn, "first")
			if _, err := hear(conn, 2); err != nil {
				t.Fatal(err)
			}
			fired := p.Set(c.trigger)
			say(t, conn, "second")
			// What has come of a request may be answered.
			if got, err := hear(conn, 3); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("no reset: %q %v", got, err)
			}
			eventually(t, "the end at the target", func() bool { return s.ending() != nil })
			if got := s.received(); fired() != 1 || got != "first"+c.want {
				t.Errorf("target has %q, fired %d", got, fired())
			}
			next := dial(t, p) // the trigger is used up
			say(t, next, "x")
			if _, err := hear(next, 2); err != nil {
				t.Errorf("the next connection: %v", err)
			}
		})
	}
}

func TestATriggerHoldsItsConnectionAlone(t *testing.T) {
	t.Parallel()
	p, _ := setup(t)
	p.Set(proxy.Trigger{Direction: proxy.Up, Bytes: 2, Action: proxy.HoldConn})
	stuck := dial(t, p)
	say(t, stuck, "hello")
	eventually(t, "held", func() bool { return held(p) == 3 })
	free := dial(t, p)
	say(t, free, "x")
	if _, err := hear(free, 2); err != nil {
		t.Errorf("the other connection: %v", err)
	}
	p.Release()
	eventually(t, "delivered", func() bool { return p.Conns()[0].Passed[proxy.Up] == 5 })
}

func TestDelayAndRefusal(t *testing.T) {
	t.Parallel()
	p, _ := setup(t)
	c := dial(t, p)
	const delay = 400 * time.Millisecond
	p.Delay(proxy.Up, delay)
	start := time.Now()
	say(t, c, "x")
	if _, err := hear(c, 2); err != nil || time.Since(start) < delay {
		t.Errorf("%v after %v", err, time.Since(start))
	}
	p.Refuse(true)
	if refused, err := net.Dial("tcp", p.Addr()); err == nil { // the reset may come before the dial has returned
		if _, err := hear(refused, 1); err == nil {
			t.Error("a refused connection was served")
		}
		_ = refused.Close()
	}
	p.Reset()
	start = time.Now()
	next := dial(t, p)
	say(t, next, "x")
	if _, err := hear(next, 2); err != nil || time.Since(start) >= delay {
		t.Errorf("after the reset: %v in %v", err, time.Since(start))
	}
}

func TestStartNeedsATarget(t *testing.T) {
	t.Parallel()
	if _, err := proxy.Start(proxy.Config{}); err == nil {
		t.Error("started without a target")
	}
}
