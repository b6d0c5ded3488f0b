// Package nats runs NATS servers with JetStream inside the calling process, for
// tests and for the local system.
package nats

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const startWait = 30 * time.Second // a large store is read first

// Config describes a server. Dir is required.
type Config struct {
	Dir        string       // JetStream's store, kept; of one server at a time
	Addr       string       // host:port; default: a free port of 127.0.0.1
	Name       string       // default "postbus"
	SyncAlways bool         // fsync every write, as in production; about ten times slower
	MaxStore   int64        // bytes on disk, default 8 GiB
	Logger     *slog.Logger // warnings and errors of the server; default: silent
}

// Server is a NATS server. It listens on the same port again after Stop and Start.
type Server struct {
	config Config
	lock   *os.File

	mu  sync.Mutex
	ns  *server.Server // nil while stopped
	url string
}

// Start runs a server and returns when it takes connections. A port or a store
// that another process has is an error that says so.
func Start(c Config) (*Server, error) {
	if c.Dir == "" {
		return nil, errors.New("configure NATS server: Dir is required")
	}
	c.Addr = cmp.Or(c.Addr, "127.0.0.1:0")
	c.Name = cmp.Or(c.Name, "postbus")
	c.MaxStore = cmp.Or(c.MaxStore, 8<<30)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	s := &Server{config: c}
	if err := s.Start(); err != nil {
		return nil, err
	}
	return s, nil
}

// Start runs the server again after Stop, on the same port and store.
func (s *Server) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ns != nil {
		return errors.New("start NATS server: it runs already")
	}
	lock, err := lockStore(s.config.Dir)
	if err != nil {
		return fmt.Errorf("start NATS server: %w", err)
	}
	ns, err := run(s.config)
	if err != nil {
		return errors.Join(fmt.Errorf("start NATS server: %w", err), lock.Close())
	}
	s.ns, s.lock, s.url = ns, lock, ns.ClientURL()
	s.config.Addr = ns.Addr().String() // what a free port turned out to be
	return nil
}

func run(c Config) (*server.Server, error) {
	opts, err := options(c)
	if err != nil {
		return nil, err
	}
	if err := portIsFree(c.Addr); err != nil {
		return nil, err
	}
	ns, err := server.NewServer(opts)
	if err != nil {
		return nil, err
	}
	log := &logger{out: c.Logger}
	ns.SetLoggerV2(log, false, false, false)
	ns.Start()
	if ns.ReadyForConnections(startWait) && ns.JetStreamEnabled() {
		return ns, nil
	}
	ns.Shutdown()
	ns.WaitForShutdown()
	return nil, fmt.Errorf("not ready on %s with store %s: %s", c.Addr, c.Dir, cmp.Or(log.last(), "no reason given"))
}

func options(c Config) (*server.Options, error) {
	host, portText, err := net.SplitHostPort(c.Addr)
	if err != nil {
		return nil, err
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return nil, fmt.Errorf("port %q: %w", portText, err)
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	return &server.Options{
		ServerName: c.Name, Host: host, Port: port,
		JetStream: true, StoreDir: c.Dir, SyncAlways: c.SyncAlways,
		JetStreamMaxMemory: 256 << 20, JetStreamMaxStore: c.MaxStore,
		NoSigs: true, // signals are the business of the process around it
	}, nil
}

// portIsFree asks before the server does, which words it less plainly.
func portIsFree(addr string) error {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s is taken by another process: stop that, or choose another address", addr)
	}
	if err != nil {
		return err
	}
	return l.Close()
}

// lockStore keeps two servers from writing one store, which they would not notice.
func lockStore(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "owner.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("store %s is used by another process: stop that first", dir), f.Close())
	}
	return f, nil
}

// URL is what clients connect to, nats://127.0.0.1:4222 for example. It stays
// the same after Stop and Start.
func (s *Server) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.url
}

// Stop shuts the server down and waits for it. Stopping a stopped server does
// nothing.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ns == nil {
		return
	}
	s.ns.Shutdown()
	s.ns.WaitForShutdown()
	s.ns = nil
	_ = syscall.Flock(int(s.lock.Fd()), syscall.LOCK_UN) // a program that is being started may hold a copy of the file
	_ = s.lock.Close()                                   // nothing was written to it
}
