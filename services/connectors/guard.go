package connectors

import (
	"net"
	"time"
)

// guard is the TCP connection under a Commit. Once opened it counts every byte
// it writes and writes none after sendBy. It lies under TLS, so that records
// are counted and refused too.
//
// The embedded Conn is tcp. It is embedded as an interface so that the faster
// ways to write that *net.TCPConn has are not promoted past the guard.
type guard struct {
	net.Conn
	tcp    *net.TCPConn
	opened bool
	sendBy time.Time // with the monotonic clock
	wallBy time.Time // the same moment on the wall clock
	sent   int64
}

// open begins the time in which writes are counted and end at sendBy.
func (g *guard) open(sendBy time.Time) error {
	g.opened, g.sendBy, g.wallBy = true, sendBy, sendBy.Round(0)
	return g.SetWriteDeadline(sendBy)
}

// Write writes p as far as the window allows.
func (g *guard) Write(p []byte) (int, error) {
	if !g.opened {
		return g.Conn.Write(p)
	}
	n, err := writeChecked(g.tcp, p, g.check)
	g.sent += int64(n)
	return n, err
}

// check is asked directly before each write to the kernel. The monotonic clock
// is the one that counts; it stands still while a machine is suspended, which
// the wall clock does not. A wall clock that jumps ahead refuses a call that
// could have been sent: nothing is lost by that.
func (g *guard) check() error {
	now := time.Now()
	if !now.Before(g.sendBy) || !now.Before(g.wallBy) {
		return errWindowClosed
	}
	return nil
}
