// Package postgres finds or fetches PostgreSQL and runs private servers of it.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	startWait = 60 * time.Second
	stopWait  = 20 * time.Second
	superuser = "postgres"
)

// Config describes a server. Dir and Binaries are required.
type Config struct {
	Dir      string   // holds data/ (kept), socket/ and postgres.log
	Binaries Binaries // from Find or Provision
	Settings []string // "name=value" each, beside and before those of this package
	Durable  bool     // false gives up everything at a crash of the machine, for speed
}

// Server is a PostgreSQL that this process started. It listens on a unix
// socket only.
type Server struct {
	config Config
	owner  owner
	mu     sync.Mutex
	proc   *process
}

// process is one run of the server program.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it was waited for
	err  error
}

// Start initializes Dir if it is empty, starts a server on it and waits until
// it answers.
func Start(ctx context.Context, c Config) (*Server, error) {
	o, err := findOwner()
	if err != nil {
		return nil, err
	}
	s := &Server{config: c, owner: o}
	if err := s.prepare(ctx); err != nil {
		return nil, err
	}
	if err := s.run(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// DSN is the URL of a database of this server, for pgx and libpq alike.
func (s *Server) DSN(database string) string {
	q := url.Values{"host": {s.socketDir()}, "user": {superuser}}
	return "postgres:///" + url.PathEscape(database) + "?" + q.Encode()
}

func (s *Server) dataDir() string   { return filepath.Join(s.config.Dir, "data") }
func (s *Server) socketDir() string { return filepath.Join(s.config.Dir, "socket") }
func (s *Server) logFile() string   { return filepath.Join(s.config.Dir, "postgres.log") }

func (s *Server) prepare(ctx context.Context) error {
	if err := os.MkdirAll(s.config.Dir, 0o755); err != nil {
		return fmt.Errorf("make PostgreSQL directory: %w", err)
	}
	for _, d := range []string{s.dataDir(), s.socketDir()} {
		if err := s.owner.mkdir(d); err != nil {
			return fmt.Errorf("make PostgreSQL directory: %w", err)
		}
	}
	if _, err := os.Stat(filepath.Join(s.dataDir(), "PG_VERSION")); err == nil {
		return nil
	}
	return s.initdb(ctx)
}

func (s *Server) initdb(ctx context.Context) error {
	args := []string{"-D", s.dataDir(), "-U", superuser, "--auth-local=trust", "--auth-host=scram-sha-256",
		"-E", "UTF8", "--locale=C.UTF-8", "--no-instructions"}
	if !s.config.Durable {
		args = append(args, "--no-sync")
	}
	cmd := exec.CommandContext(ctx, filepath.Join(s.config.Binaries.Dir, "initdb"), args...)
	cmd.SysProcAttr = s.owner.attr()
	cmd.Dir = "/"
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

func (s *Server) args() []string {
	settings := append([]string(nil), s.config.Settings...)
	if !s.config.Durable {
		settings = append(settings, "fsync=off", "synchronous_commit=off", "full_page_writes=off", "dynamic_shared_memory_type=mmap")
	}
	settings = append(settings, "listen_addresses=", "unix_socket_directories="+s.socketDir(), "logging_collector=off")
	args := []string{"-D", s.dataDir()}
	for _, v := range settings {
		args = append(args, "-c", v)
	}
	return args
}

func (s *Server) run(ctx context.Context) error {
	log, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("open PostgreSQL log: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(filepath.Join(s.config.Binaries.Dir, "postgres"), s.args()...)
	cmd.SysProcAttr = s.owner.attr()
	detach(cmd.SysProcAttr)
	cmd.Dir = "/" // the server's user may not be able to read ours
	cmd.Stdout, cmd.Stderr = log, log
	p, err := launch(cmd)
	if err != nil {
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	s.mu.Lock()
	s.proc = p
	s.mu.Unlock()
	if err := s.await(ctx, p); err != nil {
		s.Stop()
		return err
	}
	return nil
}

// launch starts cmd from a thread that lives as long as the process: the
// kernel's death signal belongs to the thread, not to the process.
func launch(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.done)
		}
	}()
	return p, <-started
}

func (s *Server) await(ctx context.Context, p *process) error {
	ctx, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, s.DSN("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-p.done:
			return fmt.Errorf("start PostgreSQL: it ended: %w: %s", p.err, s.logTail())
		case <-ctx.Done():
			return fmt.Errorf("start PostgreSQL: %w: %w: %s", ctx.Err(), err, s.logTail())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (s *Server) logTail() string {
	b, err := os.ReadFile(s.logFile())
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "; ")
}

// Stop shuts the server down: open sessions are ended, committed data is kept.
// Stopping a stopped server does nothing.
func (s *Server) Stop() error {
	s.mu.Lock()
	p := s.proc
	s.proc = nil
	s.mu.Unlock()
	if p == nil {
		return nil
	}
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop PostgreSQL: %w", err)
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(stopWait):
	}
	_ = p.cmd.Process.Signal(syscall.SIGQUIT)
	<-p.done
	return fmt.Errorf("stop PostgreSQL: still there after %s, ended at once", stopWait)
}
