package testbed_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"postbus.dev/deploy/testbed"
	"postbus.dev/deploy/testbed/internal/scratch"
)

const childEnv = "TESTBED_CHILD" // how the child of a test is to end

// TestChild is not a test: other tests run it in a process of its own.
func TestChild(t *testing.T) {
	how := os.Getenv(childEnv)
	if how == "" {
		t.Skip("only runs as a child")
	}
	exec1(t, testbed.Database(t), "CREATE TABLE x (n int)")
	testbed.NATS(t)
	fmt.Println("ready", filepath.Dir(testbed.Dir(t)))
	_, _ = io.Copy(io.Discard, os.Stdin) // until told, or killed
	if how == "panic" {
		panic("as told")
	}
}

// child is a run of TestChild.
type child struct {
	cmd   *exec.Cmd
	stdin io.Closer
	dir   string // what it shares among its tests
	pids  []int  // servers and janitors
}

func startChild(t *testing.T, how string, attr *syscall.SysProcAttr) *child {
	t.Helper()
	cmd := exec.Command(testBinary(t), "-test.run=^TestChild$", "-test.timeout=2m")
	cmd.Env = append(os.Environ(), childEnv+"="+how)
	cmd.Dir, cmd.SysProcAttr = "/", attr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: cmd, stdin: in}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait(); in.Close() })
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		dir, ok := strings.CutPrefix(lines.Text(), "ready ")
		if ok {
			c.dir, c.pids = dir, processesOf(t, dir)
			return c
		}
	}
	t.Fatalf("child did not get ready: %s", stderr.String())
	return nil
}

// testBinary is this program, where every user can run it.
func testBinary(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(testbed.Dir(t), "child.test")
	if err := os.WriteFile(file, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

// processesOf are those whose arguments name the directory.
func processesOf(t *testing.T, dir string) (pids []int) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(files) == 0 {
		t.Skip("processes are seen on Linux only")
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err == nil && strings.Contains(string(b), dir+"\x00") || strings.Contains(string(b), dir+"/") {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	return pids
}

// wantNothingLeft waits a moment for directory and processes to be gone.
func wantNothingLeft(t *testing.T, c *child) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		_, err := os.Stat(c.dir)
		left := processesOf(t, c.dir)
		if err != nil && len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("left: %s (%v), processes %v", c.dir, err, left)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestNothingIsLeftHoweverTestsEnd(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"end", "panic", "kill"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			c := startChild(t, how, nil)
			if len(c.pids) != 2 {
				t.Errorf("want a server and a janitor, got %v", c.pids)
			}
			if how == "kill" {
				_ = c.cmd.Process.Kill()
			}
			c.stdin.Close()
			_ = c.cmd.Wait()
			wantNothingLeft(t, c)
		})
	}
}

func TestTheNextRunSweepsWhatNobodyElseCould(t *testing.T) {
	t.Parallel()
	c := startChild(t, "kill", nil)
	// Janitor and owner die together: the janitor is stopped, so that it cannot
	// act on the owner's death, and then killed.
	for _, sig := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGKILL} {
		for _, pid := range c.pids {
			if isJanitor(pid) {
				if err := syscall.Kill(pid, sig); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
	}
	if _, err := os.Stat(c.dir); err != nil {
		t.Fatal("there is nothing to sweep:", err)
	}
	d, err := scratch.NewInMemory()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	wantNothingLeft(t, c)
}

func isJanitor(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && strings.Contains(string(b), "postbus-janitor")
}

func TestASweepLeavesTheLivingAlone(t *testing.T) {
	t.Parallel()
	mine := testbed.Dir(t)
	for range 3 {
		d, err := scratch.NewInMemory()
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(mine); err != nil {
		t.Fatal(err)
	}
}

func TestRootAndAnOrdinaryUserAreServedAlike(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	const nobody = 65534
	c := startChild(t, "end", &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}})
	c.stdin.Close()
	if err := c.cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	wantNothingLeft(t, c)
}
