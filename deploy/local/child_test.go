package main

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	startWait = 2 * time.Minute // on a busy machine, first posts included
	stopWait  = 90 * time.Second
)

// output collects what a process writes.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// child is a local system in a process of its own, which leads a process group.
type child struct {
	t    *testing.T
	cmd  *exec.Cmd
	dir  string // its data
	out  *output
	done chan struct{}
}

// systemCommand is this program as the local system, on data in dir.
func systemCommand(dir string, env ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(environment(dir, childEnv+"=1"), env...)
	return cmd
}

// environment is the one of a new terminal, with free ports.
func environment(dir string, more ...string) []string {
	var env []string
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if !strings.HasPrefix(name, "POSTBUS_DEMO") && !strings.HasPrefix(name, "MAKE") && name != "MFLAGS" && !strings.HasPrefix(name, "INSTAGRAM_") && !strings.HasPrefix(name, "TIKTOK_") && !strings.HasPrefix(name, "ONLYFANS_") && !strings.HasPrefix(name, "REDDIT_") {
			env = append(env, v)
		}
	}
	const anyPort = "=127.0.0.1:0"
	return append(append(env, "POSTBUS_DATA_DIR="+dir, "POSTBUS_HTTP_ADDR"+anyPort, "POSTBUS_NATS_ADDR"+anyPort, "POSTBUS_SANDBOX_ADDR"+anyPort), more...)
}

// start starts cmd and collects its output.
func start(t *testing.T, dir string, cmd *exec.Cmd) *child {
	t.Helper()
	return startOn(t, dir, cmd, nil)
}

// startOn starts cmd with its output on a file of the caller's, or collected.
func startOn(t *testing.T, dir string, cmd *exec.Cmd, out *os.File) *child {
	t.Helper()
	c := &child{t: t, cmd: cmd, dir: dir, out: &output{}, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = c.out, c.out
	if out != nil {
		cmd.Stdout, cmd.Stderr = out, out
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	cmd.WaitDelay = 5 * time.Second // something may have kept its output open
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := c.done
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		c.signal(syscall.SIGKILL)
		<-c.done
		if t.Failed() {
			t.Logf("output of %s:\n%s", filepath.Base(cmd.Path), c.out)
		}
	})
	return c
}

// signal reaches the whole group, as a Ctrl-C in a terminal does.
func (c *child) signal(sig syscall.Signal) { _ = syscall.Kill(-c.cmd.Process.Pid, sig) }

// await returns the groups of the pattern in the output.
func (c *child) await(pattern string, within time.Duration) []string {
	c.t.Helper()
	re := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(within); ; time.Sleep(20 * time.Millisecond) {
		if m := re.FindStringSubmatch(c.out.String()); m != nil {
			return m
		}
		select {
		case <-c.done:
			if !re.MatchString(c.out.String()) {
				c.t.Fatalf("it ended and did not print %s", pattern)
			}
		default:
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("it did not print %s within %s", pattern, within)
		}
	}
}

// code waits for its end and returns the exit code.
func (c *child) code(within time.Duration) int {
	c.t.Helper()
	select {
	case <-c.done:
		return c.cmd.ProcessState.ExitCode()
	case <-time.After(within):
		c.t.Fatalf("it did not end within %s", within)
		return -1
	}
}

// place is where the parts of a running system are, as it says itself.
type place struct{ api, nats, sandbox, dsn, socket, key string }

func (c *child) place() place {
	c.t.Helper()
	c.await(`Ctrl-C ends everything`, startWait)
	find := func(pattern string) string { return c.await(pattern, time.Second)[1] }
	return place{
		api: find(`API +(http://\S+)`), nats: find(`NATS +(nats://\S+)`), sandbox: find(`Sandbox +(http://\S+)`),
		dsn:    find(`psql '([^']+)'`),
		socket: strings.ReplaceAll(find(`psql 'postgres:///postgres\?host=([^&]+)&`), "%2F", "/"), key: find(`API key +(pb_\S+)`),
	}
}

// wantNothingLeft waits a moment for all processes and ports to be gone.
func (c *child) wantNothingLeft(p place) {
	c.t.Helper()
	deadline := time.Now().Add(stopWait)
	for {
		left := append(c.processes(filepath.Dir(p.socket)), taken(c.t, p)...)
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			c.t.Errorf("left: %s", strings.Join(left, "\n"))
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// processes are those of the group, and those that work in or name the data
// directory or one of the others.
func (c *child) processes(others ...string) (found []string) {
	if err := syscall.Kill(-c.cmd.Process.Pid, 0); !errors.Is(err, syscall.ESRCH) {
		found = append(found, "process group "+strconv.Itoa(c.cmd.Process.Pid))
	}
	return append(found, processesOf(append(others, c.dir)...)...)
}

// processesOf are those that work in or name one of the directories.
func processesOf(dirs ...string) (found []string) {
	all, _ := filepath.Glob("/proc/[0-9]*") // none where there is no /proc
	for _, proc := range all {
		args, _ := os.ReadFile(filepath.Join(proc, "cmdline"))
		cwd, _ := os.Readlink(filepath.Join(proc, "cwd"))
		line := cwd + " " + strings.ReplaceAll(string(args), "\x00", " ")
		for _, dir := range dirs {
			if strings.Contains(line, dir+"/") || strings.Contains(line, dir+" ") {
				found = append(found, filepath.Base(proc)+": "+line)
			}
		}
	}
	return found
}

func taken(t *testing.T, p place) (found []string) {
	t.Helper()
	for _, url := range []string{p.api, p.nats, p.sandbox} {
		_, addr, _ := strings.Cut(url, "://")
		l, err := net.Listen("tcp", strings.Replace(addr, "localhost", "127.0.0.1", 1))
		if err != nil {
			found = append(found, err.Error())
			continue
		}
		_ = l.Close()
	}
	return found
}
