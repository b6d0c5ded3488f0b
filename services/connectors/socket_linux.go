package connectors

import (
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// setUserTimeout bounds how long the kernel goes on sending what the peer does
// not acknowledge. Rounded up: 0 would mean the system's default, minutes.
func setUserTimeout(c *net.TCPConn, d time.Duration) error {
	ms := int((d + time.Millisecond - 1) / time.Millisecond)
	return control(c, func(fd int) error {
		return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, ms))
	})
}

// peerClosed says whether the peer has closed or reset the connection already.
// A request written then would be taken by the kernel, and its outcome would
// have to be looked for although the provider never saw it.
func peerClosed(c *net.TCPConn) bool {
	const established = 1 // TCP_ESTABLISHED of the kernel's tcp_states.h
	closed := false
	err := control(c, func(fd int) error {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		closed = err == nil && info.State != established
		return nil
	})
	return closed || err != nil
}

func control(c *net.TCPConn, f func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// writeChecked writes p and asks check directly before each write call: a plain
// Write asks nobody between the parts of a long one, nor after the runtime had
// waited for the socket to take more.
func writeChecked(c *net.TCPConn, p []byte, check func() error) (n int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	waitErr := raw.Write(func(fd uintptr) bool {
		for n < len(p) && err == nil {
			if err = check(); err != nil {
				break
			}
			m, e := unix.Write(int(fd), p[n:])
			switch {
			case e == unix.EAGAIN:
				return false
			case e == unix.EINTR:
			case e != nil:
				err = &net.OpError{Op: "write", Net: "tcp", Addr: c.RemoteAddr(), Err: os.NewSyscallError("write", e)}
			default:
				n += m
			}
		}
		return true
	})
	if err == nil {
		err = waitErr
	}
	return n, err
}
