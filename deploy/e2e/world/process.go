package world

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"postbus.dev/deploy/testbed"
	"postbus.dev/migrations"
	"postbus.dev/services/account"
	"postbus.dev/services/publisher"
	tokenrefresher "postbus.dev/services/token-refresher"
)

// roleVariable makes a test binary or benchmark be a service instead: the
// program that runs the tests starts itself again with it.
const roleVariable = "POSTBUS_E2E_SERVICE"

// The services.
const (
	publisherService = "publisher"
	accountService   = "account"
	refresherService = "token-refresher"
)

// spec is what a started process is told.
type spec struct {
	Service    string        `json:"service"`
	TimeFactor float64       `json:"timeFactor"`
	Lease      time.Duration `json:"lease"`
	Poll       time.Duration `json:"poll"`
	Recheck    time.Duration `json:"recheck"`
	Slots      int           `json:"slots"`
	// Die names the failpoint at which the process kills itself, at its Nth hit.
	Die string `json:"die"`
	Nth int    `json:"nth"`
	// Stop does the same with SIGSTOP.
	Stop string `json:"stop"`
}

// Main runs a service and does not return, if this process was started as one.
// A TestMain calls it first.
func Main() {
	raw := os.Getenv(roleVariable)
	if raw == "" {
		return
	}
	if err := runService(raw); err != nil {
		fmt.Fprintln(os.Stderr, "service:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func runService(raw string) error {
	var s spec
	if err := json.Unmarshal([]byte(raw), &s); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { // the parent's end of standard input closes when it dies
		_, _ = os.Stdin.Read(make([]byte, 1))
		cancel()
	}()
	switch s.Service {
	case accountService:
		return s.runAccount(ctx)
	case refresherService:
		return s.runRefresher(ctx)
	}
	return s.runPublisher(ctx)
}

func listening(addr string) { fmt.Println("listening " + addr) }

func (s spec) runPublisher(ctx context.Context) error {
	cfg, err := publisher.FromEnv(os.Getenv)
	if err != nil {
		return err
	}
	cfg.TimeFactor, cfg.Lease, cfg.Poll, cfg.Slots, cfg.Recheck = s.TimeFactor, s.Lease, s.Poll, s.Slots, s.Recheck
	cfg.Failpoint, cfg.Grace, cfg.Listening, cfg.LogWriter = s.failpoint(), 10*time.Second, listening, os.Stderr
	return publisher.Run(ctx, cfg)
}

func (s spec) runAccount(ctx context.Context) error {
	cfg, err := account.FromEnv(os.Getenv)
	if err != nil {
		return err
	}
	cfg.TimeFactor, cfg.Poll, cfg.Connectors = s.TimeFactor, s.Poll, chirpConnectors(os.Getenv(chirpVariable))
	cfg.Failpoint, cfg.Listening, cfg.LogWriter = s.failpoint(), listening, os.Stderr
	return account.Run(ctx, cfg)
}

func (s spec) runRefresher(ctx context.Context) error {
	cfg, err := tokenrefresher.FromEnv(os.Getenv)
	if err != nil {
		return err
	}
	cfg.TimeFactor, cfg.Margin, cfg.Poll = s.TimeFactor, s.Lease, s.Poll
	cfg.Failpoint, cfg.Listening, cfg.LogWriter = s.failpoint(), listening, os.Stderr
	return tokenrefresher.Run(ctx, cfg)
}

// failpoint reports each first hit and acts at the nth.
func (s spec) failpoint() func(string) {
	var mu sync.Mutex
	hits := map[string]int{}
	return func(name string) {
		mu.Lock()
		defer mu.Unlock()
		hits[name]++
		if hits[name] != max(s.Nth, 1) {
			return
		}
		switch name {
		case s.Die:
			fmt.Println("hit " + name)
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // the kill is on its way
		case s.Stop:
			fmt.Println("hit " + name)
			_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
			time.Sleep(50 * time.Millisecond) // the signal may reach another thread first; the stop falls into this
		}
	}
}

// ProcessConfig says how a process is started.
type ProcessConfig struct {
	Die, Stop string        // failpoints; see the package publisher's calls
	Nth       int           // at which hit; 1
	Lease     time.Duration // 3 s
	Poll      time.Duration // 250 ms
	Recheck   time.Duration // as in production
	Slots     int
	Env       []string
}

// Process is a service of its own.
type Process struct {
	w     *World
	name  string
	cmd   *exec.Cmd
	stdin interface{ Close() error }
	out   *lines
	log   *lines
	done  chan struct{}
	err   error
}

// Publisher starts a publisher process, and ends it with the test.
func (w *World) Publisher(c ProcessConfig) *Process {
	w.T.Helper()
	return w.start(publisherService, migrations.RolePublisher, c)
}

// Refresher starts a token-refresher process, and ends it with the test.
func (w *World) Refresher(c ProcessConfig) *Process {
	w.T.Helper()
	return w.start(refresherService, migrations.RoleRefresher, c)
}

func (w *World) start(service, role string, c ProcessConfig) *Process {
	w.T.Helper()
	s := spec{Service: service, TimeFactor: w.Config.Factor, Lease: c.Lease, Poll: c.Poll, Slots: c.Slots, Recheck: c.Recheck, Die: c.Die, Stop: c.Stop, Nth: c.Nth}
	if s.Lease == 0 {
		s.Lease = 3 * time.Second
	}
	if s.Poll == 0 {
		s.Poll = 250 * time.Millisecond
	}
	raw, err := json.Marshal(s)
	if err != nil {
		w.T.Fatal(err)
	}
	p := &Process{w: w, name: service, out: newLines(), log: newLines(), done: make(chan struct{})}
	p.cmd = exec.CommandContext(context.WithoutCancel(w.T.Context()), os.Args[0]) // it is ended by hand, when the test is over
	p.cmd.Env = slices.Concat(os.Environ(), w.providers(), []string{
		roleVariable + "=" + string(raw), "DATABASE_URL=" + testbed.As(w.DSN, role), "NATS_URL=" + w.Bus.URL(), "POSTBUS_KEYSET=" + w.Keyset(),
		"POSTBUS_HTTP_ADDR=127.0.0.1:0", "POSTBUS_PUBLIC_URL=" + w.PublicURL, "INSTAGRAM_BASE_URL=" + w.BaseURL, "SSL_CERT_FILE=" + w.CAFile,
	}, c.Env)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.log
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		w.T.Fatal(err)
	}
	p.stdin = stdin
	if err := p.cmd.Start(); err != nil {
		w.T.Fatal(err)
	}
	go func() { p.err = p.cmd.Wait(); close(p.done) }()
	w.mu.Lock()
	w.processes = append(w.processes, p)
	w.mu.Unlock()
	w.T.Cleanup(p.end)
	return p
}

// end stops a process that still runs, gracefully if it can.
func (p *Process) end() {
	_ = p.cmd.Process.Signal(syscall.SIGCONT)
	_ = p.stdin.Close()
	select {
	case <-p.done:
	case <-time.After(60 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
		p.w.T.Errorf("a %s did not stop within 60 s", p.name)
	}
	if text := p.log.text(); strings.Contains(text, "DATA RACE") || strings.Contains(text, "panic:") || p.w.T.Failed() {
		p.w.T.Logf("log of %s %d:\n%s", p.name, p.cmd.Process.Pid, last(text, 6000))
		if strings.Contains(text, "DATA RACE") || strings.Contains(text, "panic:") {
			p.w.T.Errorf("a %s raced or panicked", p.name)
		}
	}
}

// Stop ends it gracefully and waits.
func (p *Process) Stop() { p.end() }

// Kill ends it at once.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Pause and Continue are SIGSTOP and SIGCONT.
func (p *Process) Pause() { _ = p.cmd.Process.Signal(syscall.SIGSTOP) }

// Continue lets a paused process go on.
func (p *Process) Continue() { _ = p.cmd.Process.Signal(syscall.SIGCONT) }

// Exited is closed when the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.done }

// Hit says whether the process reached its failpoint.
func (p *Process) Hit() bool { return strings.Contains(p.out.text(), "hit ") }

// API is the address of its HTTP API, once it listens.
func (p *Process) API() string {
	var addr string
	p.w.Eventually(30*time.Second, "a service listens", func() bool {
		for line := range strings.Lines(p.out.text()) {
			if a, ok := strings.CutPrefix(strings.TrimSpace(line), "listening "); ok {
				addr = a
			}
		}
		return addr != ""
	})
	return addr
}

// Log is what it wrote to its log so far.
func (p *Process) Log() string { return p.log.text() }

// lines collects output.
type lines struct {
	mu  sync.Mutex
	buf []byte
}

func newLines() *lines { return &lines{} }

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = append(l.buf, b...)
	return len(b), nil
}

func (l *lines) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.buf)
}

func last(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return "..." + s[len(s)-n:]
}
