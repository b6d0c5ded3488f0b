package connectors

import (
	"context"
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestCommitConnectionGivesUpUnacknowledgedBytesAndLeavesNoneBehind(t *testing.T) {
	t.Parallel()
	p := listen(t, func(p *peer, c net.Conn) { p.read(c, never) })
	conn, err := testClient(t, ClientConfig{}).dialCommit(context.Background(), commitRequest(p))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.open(Window{SendBy: time.Now().Add(time.Second), UserTimeout: 1500 * time.Microsecond}); err != nil {
		t.Fatal(err)
	}
	err = control(conn.guard.tcp, func(fd int) error {
		ms, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT)
		if err != nil || ms != 2 {
			t.Errorf("TCP_USER_TIMEOUT is %d ms, %v", ms, err)
		}
		l, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_LINGER)
		if err != nil || l != 1 { // the first word of struct linger: on
			t.Errorf("SO_LINGER is %d, %v", l, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestCommitThatGivesUpResetsTheConnection(t *testing.T) {
	t.Parallel()
	end := make(chan error, 1)
	p := listen(t, func(p *peer, c net.Conn) {
		p.read(c, requestSeen)
		_, err := c.Read(make([]byte, 1))
		end <- err
	})
	ctx := WithArm(context.Background(), func(context.Context) (Window, error) {
		return Window{SendBy: time.Now().Add(50 * time.Millisecond), UserTimeout: 50 * time.Millisecond}, nil
	})
	_, err := testClient(t, ClientConfig{}).Commit(ctx, commitRequest(p))
	wantKind(t, err, KindUnknown, false)
	if err := <-end; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the provider saw %v", err)
	}
}
