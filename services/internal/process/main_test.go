package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"postbus.dev/deploy/testbed"
)

// The test binary is also the program that receives real signals.
const childVar = "PROCESS_TEST_CHILD"

func TestMain(m *testing.M) {
	if kind := os.Getenv(childVar); kind != "" {
		Main("child", "usage", child(kind))
	}
	os.Exit(testbed.Main(m))
}

func child(kind string) func(context.Context, func(string) string) error {
	return func(ctx context.Context, _ func(string) string) error {
		fmt.Println("ready")
		<-ctx.Done()
		fmt.Println("stopping")
		if kind == "stubborn" {
			select {}
		}
		return ctx.Err()
	}
}

func run(args []string, f func(ctx context.Context, getenv func(string) string) error) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = program{
		name: "svc", usage: "does things", run: f, args: args, getenv: func(string) string { return "" },
		stdout: &out, stderr: &errs, exit: func(int) {},
	}.main()
	return code, out.String(), errs.String()
}

func TestHelpIsPrintedWithoutRunning(t *testing.T) {
	t.Parallel()
	for _, arg := range []string{"--help", "-h", "help"} {
		code, stdout, _ := run([]string{arg}, nil)
		if code != 0 || stdout != "svc: does things\n" {
			t.Errorf("%s: exit %d, printed %q", arg, code, stdout)
		}
	}
	code, stdout, stderr := run([]string{"--port=1"}, nil)
	if code != 2 || stdout != "" || !strings.Contains(stderr, "environment variables") {
		t.Errorf("an argument: exit %d, %q, %q", code, stdout, stderr)
	}
}

func TestTheExitCodeTellsHowItEnded(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name string
		err  error
		code int
		says string
	}{
		{"well", nil, 0, ""},
		{"error", errors.New("boom"), 1, "svc: boom\n"},
		{"settings", fmt.Errorf("start: %w", &EnvError{[]Fault{{"A", "is not set"}}}), 2, "A: is not set"},
		{"canceled without a signal", context.Canceled, 1, "canceled"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			code, _, stderr := run(nil, func(context.Context, func(string) string) error { return c.err })
			if code != c.code || !strings.Contains(stderr, c.says) {
				t.Errorf("exit %d, %q", code, stderr)
			}
		})
	}
}

func startChild(t *testing.T, kind string) (*exec.Cmd, io.Reader) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVar+"="+kind)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	await(t, out, "ready")
	return cmd, out
}

func await(t *testing.T, r io.Reader, word string) {
	t.Helper()
	buf := make([]byte, len(word)+1)
	if _, err := io.ReadFull(r, buf); err != nil || string(buf[:len(word)]) != word {
		t.Fatalf("child said %q, %v; want %s", buf, err, word)
	}
}

func exitCode(t *testing.T, cmd *exec.Cmd) int {
	t.Helper()
	timer := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode()
}

func TestASignalStopsTheServiceWell(t *testing.T) {
	t.Parallel()
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		cmd, out := startChild(t, "polite")
		_ = cmd.Process.Signal(s)
		await(t, out, "stopping")
		if code := exitCode(t, cmd); code != 0 {
			t.Errorf("%v: exit %d", s, code)
		}
	}
}

func TestASecondSignalEndsTheProcessAtOnce(t *testing.T) {
	t.Parallel()
	cmd, out := startChild(t, "stubborn")
	_ = cmd.Process.Signal(syscall.SIGINT)
	await(t, out, "stopping")
	_ = cmd.Process.Signal(syscall.SIGINT)
	if code := exitCode(t, cmd); code != 130 {
		t.Errorf("exit %d", code)
	}
}
