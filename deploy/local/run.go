package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	client "github.com/nats-io/nats.go"

	"postbus.dev/deploy/testbed/nats"
	"postbus.dev/deploy/testbed/postgres"
	"postbus.dev/migrations"
	"postbus.dev/services/account"
	"postbus.dev/services/connectors/sandbox"
)

const (
	// factor makes the providers ten times as fast as they are, so that a first
	// video does not take minutes. The connectors' times are scaled with it.
	factor = 0.1
	// grace is for provider calls that are under way at Ctrl-C.
	grace = 10 * time.Second
	// lease is how long a killed publisher keeps its accounts from the next one.
	lease = 5 * time.Second
)

// system is the services and what they run on.
type system struct {
	cfg                              config
	out                              io.Writer
	log                              io.Writer
	dsn, natsURL, sandboxURL, apiURL string
	door                             net.Listener // of the API
	stand                            *sandbox.Sandbox
	providers                        map[string]string // settings that make the stand-ins the providers
	spans                            *spans
	seeded                           account.Seeded
	started                          time.Time
}

func (s *system) say(format string, args ...any) { _, _ = fmt.Fprintf(s.out, format+"\n", args...) }

func (s *system) keyset() string { return s.path("keyset.json") }

// run starts every part, in the order in which they need each other, and stops
// them in reverse.
func run(ctx context.Context, cfg config, out io.Writer) (err error) {
	s := &system{cfg: cfg, out: out, spans: newSpans(), started: time.Now()}
	lock, err := claim(cfg.dataDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := portsFree(ctx, cfg); err != nil {
		return err
	}
	log, err := openLog(s.path("postbus.log"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	s.log = log
	if err := s.openDoor(ctx); err != nil {
		return err
	}
	defer func() { _ = s.door.Close() }()

	db, err := s.startPostgreSQL(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	bus, err := s.startNATS()
	if err != nil {
		return err
	}
	defer bus.Stop()
	server, err := s.serveSandbox()
	if err != nil {
		return err
	}
	defer func() { s.stand.Close(); err = errors.Join(err, server.Close()) }()
	if err := s.prepare(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(s.path(envFile))) }()
	return s.serve(ctx)
}

func (s *system) startPostgreSQL(ctx context.Context) (*postgres.Server, error) {
	dir := s.path("postgres")
	store, err := filepath.Abs(s.cfg.dataDir) // programs in it are run from elsewhere
	if err != nil {
		return nil, fmt.Errorf("find data directory: %w", err)
	}
	s.say("PostgreSQL  starting in %s", dir)
	db, err := postgres.Start(ctx, postgres.Config{
		Dir: dir, Durable: true,
		Search: postgres.Search{DataDir: store, Progress: func(line string) { s.say("            %s", line) }},
	})
	if err != nil {
		return nil, err
	}
	s.dsn = db.DSN("postgres")
	s.say("PostgreSQL  %s: psql '%s'", db.Binaries().Version, s.dsn)
	return db, nil
}

func (s *system) startNATS() (*nats.Server, error) {
	bus, err := nats.Start(nats.Config{
		Dir: s.path("nats"), Addr: s.cfg.natsAddr, SyncAlways: true,
		Logger: slog.New(slog.NewJSONHandler(s.log, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return nil, fmt.Errorf("%w (POSTBUS_NATS_ADDR sets the address, POSTBUS_DATA_DIR where the store is)", err)
	}
	s.natsURL = bus.URL()
	s.say("NATS        %s", s.natsURL)
	return bus, nil
}

// openDoor takes the API's address. What is registered with the providers begins
// with it, so that it must be known before anything else; it is served once the
// services are there.
func (s *system) openDoor(ctx context.Context) (err error) {
	if s.door, err = new(net.ListenConfig).Listen(ctx, "tcp", s.cfg.httpAddr); err != nil {
		return fmt.Errorf("%w (POSTBUS_HTTP_ADDR sets the address)", err)
	}
	s.apiURL = asURL(s.door.Addr().String())
	return nil
}

func (s *system) serveSandbox() (server *sandbox.Server, err error) {
	s.stand, err = sandbox.New(sandbox.Config{Factor: factor, Profile: sandbox.Faithful, StatePath: s.path("sandbox.json"), PublicURL: s.apiURL})
	if err != nil {
		return nil, fmt.Errorf("make sandbox: %w", err)
	}
	if server, err = s.stand.Serve(sandbox.ServeConfig{Addr: s.cfg.sandboxAddr}); err != nil {
		s.stand.Close()
		return nil, fmt.Errorf("serve sandbox: %w (POSTBUS_SANDBOX_ADDR sets the address)", err)
	}
	s.sandboxURL = asURL(server.Addr)
	s.say("Sandbox     %s", s.sandboxURL)
	s.providers = s.stand.Settings(s.sandboxURL, s.apiURL)
	for _, name := range slices.Sorted(maps.Keys(s.providers)) {
		if url := s.cfg.getenv(name); strings.HasSuffix(name, "_BASE_URL") && url != "" {
			s.say("Provider    %s: %s is set, posts go there and not to the sandbox", url, name)
		}
	}
	return server, nil
}

// prepare brings schema and consumers up to date, as cmd/migrate and an operator
// do in production, makes the demo user and her key, and tells other processes
// where everything is.
func (s *system) prepare(ctx context.Context) error {
	if err := migrations.EnsureRoles(ctx, s.dsn); err != nil {
		return err
	}
	if _, err := migrations.Apply(ctx, s.dsn, nil); err != nil {
		return fmt.Errorf("the data in %s does not fit this version: move it away to start anew, %s (%w)", s.cfg.dataDir, otherDir, err)
	}
	if err := updateTopology(ctx, s.natsURL); err != nil {
		return fmt.Errorf("the events in %s do not fit this version: move it away to start anew, %s (%w)", s.cfg.dataDir, otherDir, err)
	}
	var err error
	s.seeded, err = account.Ensure(ctx, account.Seed{DatabaseURL: s.dsn, KeysetPath: s.keyset(), KeyPath: s.path("api-key"), ExternalID: demoUser})
	if err != nil {
		return fmt.Errorf("make the demo user: %w", err)
	}
	return s.writeEnv()
}

// show connects accounts, publishes the first posts and, unless that was all,
// stays, and watches.
func (s *system) show(ctx context.Context) error {
	s.say("API         %s\n", s.apiURL)
	if err := s.connectAccounts(ctx); err != nil {
		return err
	}
	nc, err := client.Connect(s.natsURL)
	if err != nil {
		return fmt.Errorf("connect to NATS: %w", err)
	}
	defer nc.Close()
	heard, err := listen(nc)
	if err != nil {
		return err
	}
	if err := s.demo(ctx, nc, heard); err != nil || s.cfg.once {
		return err
	}
	s.hints()
	if err := s.tellDeadLetters(nc); err != nil {
		return err
	}
	s.watch(ctx, heard)
	return ctx.Err()
}

// getenv makes the stand-ins the providers, except where somebody set another.
func (s *system) getenv(name string) string {
	if v := s.cfg.getenv(name); v != "" {
		return v
	}
	return s.providers[name]
}
