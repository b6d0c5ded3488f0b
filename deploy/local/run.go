package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"postbus.dev/deploy/testbed/nats"
	"postbus.dev/deploy/testbed/postgres"
	"postbus.dev/services/account"
	"postbus.dev/services/connectors"
	"postbus.dev/services/connectors/sandbox"
	"postbus.dev/services/publisher"
)

// factor makes the providers ten times as fast as they are, so that a first
// video does not take minutes. The connectors' times are scaled with it.
const factor = 0.1

// run starts every part, in the order in which they need each other, and stops
// them in reverse.
func run(ctx context.Context, cfg config, out io.Writer) (err error) {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(out, format+"\n", args...) }
	if err := portsFree(cfg); err != nil {
		return err
	}
	if err := os.MkdirAll(cfg.dataDir, 0o755); err != nil {
		return fmt.Errorf("make data directory: %w (set POSTBUS_DATA_DIR to one that can be written)", err)
	}
	log, err := os.OpenFile(filepath.Join(cfg.dataDir, "postbus.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer func() { err = errors.Join(err, log.Close()) }()

	started := time.Now()
	say("PostgreSQL  starting in %s", filepath.Join(cfg.dataDir, "postgres"))
	db, err := postgres.Start(ctx, postgres.Config{
		Dir: filepath.Join(cfg.dataDir, "postgres"), Durable: true,
		Search: postgres.Search{DataDir: cfg.dataDir, Progress: func(line string) { say("            %s", line) }},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	say("PostgreSQL  %s: psql '%s'", db.Binaries().Version, db.DSN("postgres"))

	bus, err := nats.Start(nats.Config{Dir: filepath.Join(cfg.dataDir, "nats"), Addr: cfg.natsAddr, SyncAlways: true})
	if err != nil {
		return fmt.Errorf("%w (POSTBUS_NATS_ADDR sets the address, POSTBUS_DATA_DIR the store)", err)
	}
	defer bus.Stop()
	say("NATS        %s", bus.URL())

	stand, server, err := serveSandbox(cfg)
	if err != nil {
		return err
	}
	defer func() { stand.Close(); err = errors.Join(err, server.Close()) }()
	say("Sandbox     %s/_sandbox/", server.URL)

	s := system{cfg: cfg, say: say, log: log, dsn: db.DSN("postgres"), natsURL: bus.URL(), sandboxURL: server.URL, spans: newSpans()}
	if s.seeded, err = s.prepare(ctx, stand); err != nil {
		return err
	}
	return s.serve(ctx, started)
}

func portsFree(cfg config) error {
	var errs []error
	for name, addr := range map[string]string{"POSTBUS_HTTP_ADDR": cfg.httpAddr, "POSTBUS_NATS_ADDR": cfg.natsAddr, "POSTBUS_SANDBOX_ADDR": cfg.sandboxAddr} {
		l, err := net.Listen("tcp", addr)
		if errors.Is(err, syscall.EADDRINUSE) {
			err = fmt.Errorf("%s is in use: end the program that has it, or set %s to another address", addr, name)
		} else if err != nil {
			err = fmt.Errorf("%s=%s: %w", name, addr, err)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		_ = l.Close()
	}
	return errors.Join(errs...)
}

func serveSandbox(cfg config) (*sandbox.Sandbox, *sandbox.Server, error) {
	// The stand-ins forget what they knew when they stop. Another seed at each
	// start keeps them from giving an id of an earlier life to a new post.
	stand, err := sandbox.New(sandbox.Config{Factor: factor, Profile: sandbox.Faithful, Seed: uint64(time.Now().UnixNano())})
	if err != nil {
		return nil, nil, fmt.Errorf("make sandbox: %w", err)
	}
	server, err := stand.Serve(sandbox.ServeConfig{Addr: cfg.sandboxAddr})
	if err != nil {
		stand.Close()
		return nil, nil, fmt.Errorf("serve sandbox: %w", err)
	}
	return stand, server, nil
}

// system is the services and what they run on.
type system struct {
	cfg                      config
	say                      func(format string, args ...any)
	log                      io.Writer
	dsn, natsURL, sandboxURL string
	spans                    *spans
	seeded                   account.Seeded
}

func (s *system) keyset() string { return filepath.Join(s.cfg.dataDir, "keyset.json") }

// prepare brings the schema up to date and puts the demo accounts in.
func (s *system) prepare(ctx context.Context, stand *sandbox.Sandbox) (account.Seeded, error) {
	if err := migrate(ctx, s.dsn); err != nil {
		return account.Seeded{}, err
	}
	seed := account.Seed{DatabaseURL: s.dsn, KeysetPath: s.keyset(), KeyPath: filepath.Join(s.cfg.dataDir, "api-key"), ExternalID: "demo"}
	for _, a := range stand.Accounts("") {
		seed.Accounts = append(seed.Accounts, account.SeedAccount{
			Provider: a.Provider, ProviderAccountID: a.ID, Username: a.Username, AccessToken: connectors.NewSecret(a.Token),
		})
	}
	seeded, err := account.Ensure(ctx, seed)
	if err != nil {
		return account.Seeded{}, fmt.Errorf("connect the demo accounts: %w", err)
	}
	return seeded, nil
}

// serve runs the services until ctx ends, one of them fails, or, with
// POSTBUS_DEMO=once, the first posts are through.
func (s *system) serve(ctx context.Context, started time.Time) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	listening := make(chan string, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- publisher.Run(ctx, publisher.Config{
			DatabaseURL: s.dsn, NATSURL: s.natsURL, HTTPAddr: s.cfg.httpAddr, KeysetPath: s.keyset(), TimeFactor: factor,
			LogWriter: s.log, SpanExporters: []sdktrace.SpanExporter{s.spans},
			Getenv: s.getenv, Listening: func(addr string) { listening <- addr },
		})
	}()
	select {
	case err := <-ended:
		return fmt.Errorf("publisher: %w", err)
	case addr := <-listening:
		s.say("API         http://%s\n", addr)
	}
	err := s.demo(ctx, started)
	if err == nil && !s.cfg.once {
		select {
		case <-ctx.Done():
		case err := <-ended:
			return fmt.Errorf("publisher: %w", err)
		}
	}
	cancel()
	if !s.cfg.once {
		s.say("\nstopping")
	}
	return errors.Join(err, <-ended)
}

// getenv points the connectors at the sandbox.
func (s *system) getenv(name string) string {
	if name == "INSTAGRAM_BASE_URL" && s.cfg.getenv(name) == "" {
		return s.sandboxURL + "/instagram"
	}
	return s.cfg.getenv(name)
}
