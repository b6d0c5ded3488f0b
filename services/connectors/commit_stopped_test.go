package connectors

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

const stoppedChildEnv = "POSTBUS_TEST_STOPPED_CHILD"

// stoppedChild is the process that the test below stops: its Arm hook says that
// it is armed and stops the whole process before it returns.
func stoppedChild() int {
	c := NewClient(ClientConfig{})
	ctx := WithArm(context.Background(), func(context.Context) (Window, error) {
		w := Window{SendBy: time.Now().Add(200 * time.Millisecond), UserTimeout: time.Second}
		fmt.Println("armed")
		// The stop reaches this thread at any time from here on. It shows as a gap
		// in time; after it the hook returns.
		last := time.Now()
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		for now := time.Now(); now.Sub(last) < 200*time.Millisecond; now = time.Now() {
			last = now
			time.Sleep(time.Millisecond)
		}
		return w, nil
	})
	_, err := c.Commit(ctx, commitRequest(&peer{addr: os.Getenv(stoppedChildEnv)}))
	fmt.Println(err, AsError(err).NotSent)
	return 0
}

func TestProcessStoppedBetweenArmAndWriteSendsNothingWhenItGoesOn(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("the check before each write exists on Linux only")
	}
	p := listen(t, func(p *peer, c net.Conn) { p.read(c, never) })
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), stoppedChildEnv+"="+p.addr)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "armed" {
		t.Fatalf("got %q", lines.Text())
	}
	time.Sleep(400 * time.Millisecond) // past the child's SendBy, whose clock runs on
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	lines.Scan()
	said := lines.Text()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(said, "send window closed true") {
		t.Errorf("the child said %q", said)
	}
	if n := len(p.bytes()); n != 0 {
		t.Errorf("%d bytes were sent", n)
	}
}
