package outbox_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"postbus.dev/events"
	"postbus.dev/services/internal/bus"
	"postbus.dev/services/internal/outbox"
	"postbus.dev/services/internal/postgres"
)

const (
	pausedEnv = "OUTBOX_TEST_PAUSED_RELAY"
	idleLimit = time.Second
)

// pausedRelay is the program of the process that the test below stops and
// continues: at its first acknowledgment it says so and waits for a word.
func pausedRelay() int {
	ctx := context.Background()
	pool, err := postgres.Open(ctx, postgres.Config{DSN: os.Getenv("DSN")})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	b, err := bus.Connect(ctx, bus.Config{URL: os.Getenv("URL"), Name: "paused"})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	in := bufio.NewReader(os.Stdin)
	say := func(what string) { fmt.Println(what); _, _ = in.ReadString('\n') }
	r, err := outbox.NewRelay(outbox.RelayConfig{
		Pool: pool, Bus: b, Service: service, IdleLimit: idleLimit,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Failpoint: func(name string) {
			if name != "relay.before_send" {
				say(name)
			}
		},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	_ = r.Run(ctx)
	return 0
}

func TestAPausedHolderLosesTheLockAndCannotMoveTheCursor(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.forgetful(events.StreamPublish)
	first := notified(t, 1)
	b.append(first...)

	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), pausedEnv+"=1", "DSN="+b.dsn, "URL="+b.url)
	cmd.Stderr = t.Output()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	out := bufio.NewScanner(pipe)
	if !out.Scan() || out.Text() != "relay.after_ack" {
		t.Fatalf("the relay said %q", out.Text())
	}
	signal := func(s syscall.Signal) {
		if err := cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	signal(syscall.SIGSTOP)

	b.relay(outbox.RelayConfig{IdleLimit: idleLimit})
	second := notified(t, 1)
	b.append(second...)
	b.settled(events.StreamPublish, second[0]) // the lock was taken from the paused one
	id, seq := b.cursor(events.StreamPublish)

	signal(syscall.SIGCONT)
	if _, err := fmt.Fprintln(in, "go on"); err != nil { // and move the cursor back to the first
		t.Fatal(err)
	}
	said := make(chan string, 1)
	go func() {
		if out.Scan() {
			said <- out.Text()
		}
		close(said)
	}()
	select {
	case what := <-said:
		t.Fatalf("the relay went on and said %q", what)
	case <-time.After(500 * time.Millisecond):
	}
	if nowID, nowSeq := b.cursor(events.StreamPublish); nowID != id || nowSeq != seq {
		t.Fatalf("the cursor went from %s, %d to %s, %d", id, seq, nowID, nowSeq)
	}
	b.holds(events.StreamPublish, first[0], second[0])
	_ = cmd.Process.Kill()
	<-said
}
