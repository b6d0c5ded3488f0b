//go:build !linux

package connectors

import (
	"net"
	"time"
)

// Outside of Linux a Commit has the write deadline and the check before each
// Write, and no TCP_USER_TIMEOUT: good for development, not for production.

func setUserTimeout(*net.TCPConn, time.Duration) error { return nil }

func peerClosed(*net.TCPConn) bool { return false }

func writeChecked(c *net.TCPConn, p []byte, check func() error) (int, error) {
	if err := check(); err != nil {
		return 0, err
	}
	return c.Write(p)
}
