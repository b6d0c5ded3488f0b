// Package nats runs an embedded NATS server with JetStream, for tests and for
// the local system.
package nats

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const startWait = 10 * time.Second

// Config describes a server. Dir is required.
type Config struct {
	Dir        string // JetStream's store; kept across a restart
	Addr       string // host:port; port 0 or empty is a free one on 127.0.0.1
	Name       string // default "postbus"
	SyncAlways bool   // fsync each write, as production does; about ten times slower
	MaxStore   int64  // bytes of file storage, default 8 GiB
}

// Server is a running server.
type Server struct {
	ns *server.Server
}

// Start starts a server and waits until it takes connections. A busy port is
// an error that names it.
func Start(c Config) (*Server, error) {
	opts, err := options(c)
	if err != nil {
		return nil, err
	}
	if err := free(opts); err != nil {
		return nil, err
	}
	ns, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("configure NATS server: %w", err)
	}
	ns.Start()
	if !ns.ReadyForConnections(startWait) || !ns.JetStreamEnabled() {
		ns.Shutdown()
		ns.WaitForShutdown()
		return nil, fmt.Errorf("start NATS server on %s with store %s: not ready after %s", c.Addr, c.Dir, startWait)
	}
	return &Server{ns: ns}, nil
}

func options(c Config) (*server.Options, error) {
	if c.Dir == "" {
		return nil, errors.New("configure NATS server: Dir is required")
	}
	host, portText, err := net.SplitHostPort(cmp.Or(c.Addr, "127.0.0.1:0"))
	if err != nil {
		return nil, fmt.Errorf("configure NATS server: %w", err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return nil, fmt.Errorf("configure NATS server: port %q: %w", portText, err)
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	return &server.Options{
		ServerName: cmp.Or(c.Name, "postbus"), Host: cmp.Or(host, "127.0.0.1"), Port: port,
		JetStream: true, StoreDir: c.Dir, SyncAlways: c.SyncAlways,
		JetStreamMaxMemory: 256 << 20, JetStreamMaxStore: cmp.Or(c.MaxStore, 8<<30),
		NoSigs: true, NoLog: true,
	}, nil
}

// free finds a busy port before the server does: it would end the process.
func free(o *server.Options) error {
	if o.Port == server.RANDOM_PORT {
		return nil
	}
	addr := net.JoinHostPort(o.Host, strconv.Itoa(o.Port))
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("start NATS server: %s is not free: %w", addr, err)
	}
	return l.Close()
}

// URL is what clients connect to, nats://127.0.0.1:4222 for example.
func (s *Server) URL() string { return s.ns.ClientURL() }

// Addr is the server's host:port.
func (s *Server) Addr() string { return s.ns.Addr().String() }

// Stop shuts the server down and waits for it.
func (s *Server) Stop() {
	s.ns.Shutdown()
	s.ns.WaitForShutdown()
}
