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
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"postbus.dev/deploy/testbed/internal/scratch"
)

const (
	startWait  = 2 * time.Minute // recovery after a crash included
	stopWait   = 30 * time.Second
	logMaxSize = 8 << 20
)

// Config describes a server.
type Config struct {
	Dir       string   // required; holds data/, which is kept, and postgres.log
	SocketDir string   // an existing directory; default: a temporary one, removed by Close
	Binaries  Binaries // default: what Provision returns for Search and the version of the data
	Search    Search
	Settings  []string // "name=value" each; they override those of this package
	Seed      string   // what Keep kept: new data is a copy of it; default: made by initdb
	Durable   bool     // false gives committed data up when the machine (not the server) crashes, for speed
	Port      int      // if set, it listens on 127.0.0.1 too, where roles need their passwords
}

// Server is a PostgreSQL that this process runs.
type Server struct {
	config  Config
	owner   owner
	lock    *os.File
	scratch *scratch.Dir // of the socket; nil where the caller gave a directory

	mu   sync.Mutex
	proc *process // nil while stopped
}

// process is one run of the server program.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error
}

// Start runs a server on the data in Config.Dir, which it makes if there is
// none, and returns when it answers. Of a directory there is one server at a
// time; what a killed process left behind is put in order. What cannot be used
// (someone else's files, another major version) is an error that says what to do.
func Start(ctx context.Context, c Config) (*Server, error) {
	s, err := open(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := s.Start(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func open(ctx context.Context, c Config) (s *Server, err error) {
	if c.Dir, err = filepath.Abs(c.Dir); err != nil {
		return nil, fmt.Errorf("find PostgreSQL directory: %w", err)
	}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("make PostgreSQL directory: %w", err)
	}
	s = &Server{config: c}
	if s.lock, err = lockFile(filepath.Join(c.Dir, "owner.lock")); err != nil {
		return nil, fmt.Errorf("use PostgreSQL directory %s: %w", c.Dir, err)
	}
	if err := s.outfit(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// outfit finds programs, user and a place for the socket, and makes the data.
func (s *Server) outfit(ctx context.Context) (err error) {
	if s.config.Binaries.Dir == "" {
		search := s.config.Search
		if search.Major, err = DataMajor(s.config.Dir); err != nil {
			return err
		}
		if s.config.Binaries, err = Provision(ctx, search); err != nil {
			return err
		}
	}
	if s.owner, err = findOwner(s.dataDir()); err != nil {
		return err
	}
	if s.config.SocketDir == "" {
		if s.scratch, err = scratch.New(); err != nil {
			return err
		}
		s.config.SocketDir = filepath.Join(s.scratch.Path, "socket")
	}
	if err := s.owner.mkdir(s.config.SocketDir); err != nil {
		return fmt.Errorf("make socket directory: %w", err)
	}
	return s.prepare(ctx)
}

// lockFile takes the lock of a directory, or says that another process has it.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(errors.New("another process uses it: stop that first, or use another directory"), f.Close())
	}
	return f, nil
}

// Binaries are the programs that the server runs.
func (s *Server) Binaries() Binaries { return s.config.Binaries }

// DSN is the URL of a database of this server, for pgx and libpq alike.
func (s *Server) DSN(database string) string {
	q := url.Values{"host": {s.config.SocketDir}, "user": {superuser}}
	if s.config.Port != 0 {
		q.Set("port", strconv.Itoa(s.config.Port)) // it is in the socket's name
	}
	return "postgres:///" + url.PathEscape(database) + "?" + q.Encode()
}

// As returns what DSN returned for another role of the server. Over the socket
// no role needs a password.
func As(dsn, role string) string {
	u, err := url.Parse(dsn)
	if err != nil {
		panic("not a DSN of a Server") // and not printed: it is somebody's
	}
	q := u.Query()
	q.Set("user", role)
	u.RawQuery = q.Encode()
	return u.String()
}

// Running tells whether the server was started and not stopped since.
func (s *Server) Running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proc != nil
}

// LogFile is the path of the server's log.
func (s *Server) LogFile() string { return filepath.Join(s.config.Dir, "postgres.log") }

func (s *Server) dataDir() string { return filepath.Join(s.config.Dir, "data") }

// Start runs the server again after Stop or Kill, on the same data and under
// the same DSN. It returns when the server answers.
func (s *Server) Start(ctx context.Context) error {
	p, err := s.launch(ctx)
	if err != nil {
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	if err := s.await(ctx, p); err != nil {
		return errors.Join(fmt.Errorf("start PostgreSQL: %w", err), s.Stop())
	}
	return nil
}

func (s *Server) launch(ctx context.Context) (*process, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc != nil {
		return nil, errors.New("it runs already")
	}
	log, err := s.openLog()
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.CommandContext(context.WithoutCancel(ctx), filepath.Join(s.config.Binaries.Dir, "postgres"), s.settings()...)
	closeDir, err := s.enter(cmd, s.dataDir())
	if err != nil {
		return nil, err
	}
	defer closeDir()
	detach(cmd.SysProcAttr)
	cmd.Stdout, cmd.Stderr = log, log
	s.proc, err = run(cmd)
	return s.proc, err
}

func (s *Server) settings() (args []string) {
	settings := []string{"listen_addresses=", "unix_socket_directories=" + s.config.SocketDir, "logging_collector=off",
		"dynamic_shared_memory_type=mmap"} // in the data directory, where nothing is left behind
	if s.config.Port != 0 {
		settings = append(settings, "listen_addresses=127.0.0.1", fmt.Sprintf("port=%d", s.config.Port))
	}
	if !s.config.Durable {
		// Commits are still written at once: data survives Kill.
		settings = append(settings, "fsync=off", "full_page_writes=off")
	}
	for _, v := range append(settings, s.config.Settings...) {
		args = append(args, "-c", v)
	}
	return args
}

// openLog appends to the log, and begins a new one when it has grown.
func (s *Server) openLog() (*os.File, error) {
	if info, err := os.Stat(s.LogFile()); err == nil && info.Size() > logMaxSize {
		if err := os.Rename(s.LogFile(), s.LogFile()+".old"); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(s.LogFile(), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o644)
}

// run starts cmd from a thread that lives as long as the process does: the
// kernel sends the death signal when that thread ends.
func run(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1)
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
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
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
			return fmt.Errorf("it ended: %w: %s", p.err, s.lastLog())
		case <-ctx.Done():
			return fmt.Errorf("%w: %s", ctx.Err(), s.lastLog())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// lastLog is the end of the log, in one line.
func (s *Server) lastLog() string {
	b, err := os.ReadFile(s.LogFile())
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(tail(b, 4))
}
