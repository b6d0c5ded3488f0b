package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"postbus.dev/deploy/testbed/nats"
	"postbus.dev/deploy/testbed/postgres"
	"postbus.dev/migrations"
	"postbus.dev/services/account"
	"postbus.dev/services/connectors"
	"postbus.dev/services/connectors/sandbox"
	"postbus.dev/services/publisher"
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
	stand, server, err := s.serveSandbox()
	if err != nil {
		return err
	}
	defer func() { stand.Close(); err = errors.Join(err, server.Close()) }()
	if err := s.prepare(ctx, stand); err != nil {
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

func (s *system) serveSandbox() (*sandbox.Sandbox, *sandbox.Server, error) {
	stand, err := sandbox.New(sandbox.Config{Factor: factor, Profile: sandbox.Faithful, StatePath: s.path("sandbox.json")})
	if err != nil {
		return nil, nil, fmt.Errorf("make sandbox: %w", err)
	}
	server, err := stand.Serve(sandbox.ServeConfig{Addr: s.cfg.sandboxAddr})
	if err != nil {
		stand.Close()
		return nil, nil, fmt.Errorf("serve sandbox: %w (POSTBUS_SANDBOX_ADDR sets the address)", err)
	}
	s.sandboxURL = asURL(server.Addr)
	s.say("Sandbox     %s", s.sandboxURL)
	if url := s.cfg.getenv("INSTAGRAM_BASE_URL"); url != "" {
		s.say("Provider    %s: INSTAGRAM_BASE_URL is set, posts go there and not to the sandbox", url)
	}
	return stand, server, nil
}

// prepare brings the schema up to date, as cmd/migrate does in production, puts
// the demo accounts in, and tells other processes where everything is.
func (s *system) prepare(ctx context.Context, stand *sandbox.Sandbox) error {
	if err := migrations.EnsureRoles(ctx, s.dsn); err != nil {
		return err
	}
	if _, err := migrations.Apply(ctx, s.dsn, nil); err != nil {
		return fmt.Errorf("the data in %s does not fit this version: move it away to start anew, %s (%w)", s.cfg.dataDir, otherDir, err)
	}
	seed := account.Seed{DatabaseURL: s.dsn, KeysetPath: s.keyset(), KeyPath: s.path("api-key"), ExternalID: demoUser}
	for _, a := range stand.Accounts("") {
		seed.Accounts = append(seed.Accounts, account.SeedAccount{
			Provider: a.Provider, ProviderAccountID: a.ID, Username: a.Username, AccessToken: connectors.NewSecret(a.Token),
		})
	}
	var err error
	if s.seeded, err = account.Ensure(ctx, seed); err != nil {
		return fmt.Errorf("connect the demo accounts: %w", err)
	}
	return s.writeEnv()
}

// serve runs the services until ctx ends, one of them fails, or, with
// POSTBUS_DEMO=once, the first posts are through.
func (s *system) serve(ctx context.Context) error {
	own, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	listening, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		err := s.publish(own, listening)
		if own.Err() == nil {
			cancel(fmt.Errorf("publisher: %w", cmp.Or(err, errors.New("it ended without being asked to"))))
			err = nil // told once
		}
		ended <- err
	}()
	err := s.show(own, listening)
	switch {
	case ctx.Err() != nil && s.cfg.once:
		err = errors.New("stopped before the first posts were through")
	case ctx.Err() != nil:
		s.say("\nstopping (Ctrl-C once more: at once)")
		err = nil
	case own.Err() != nil:
		err = context.Cause(own)
	}
	cancel(nil)
	return errors.Join(err, <-ended)
}

// publish is the publisher service.
func (s *system) publish(ctx context.Context, listening chan<- string) error {
	return publisher.Run(ctx, publisher.Config{
		DatabaseURL: postgres.As(s.dsn, migrations.RolePublisher), NATSURL: s.natsURL, HTTPAddr: s.cfg.httpAddr, KeysetPath: s.keyset(),
		TimeFactor: factor, Grace: grace, Lease: lease,
		LogWriter: s.log, SpanExporters: []sdktrace.SpanExporter{s.spans},
		Getenv: s.getenv, Listening: func(addr string) { listening <- addr },
	})
}

// show publishes the first posts and, unless that was all, stays.
func (s *system) show(ctx context.Context, listening <-chan string) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case addr := <-listening:
		s.apiURL = asURL(addr)
		s.say("API         %s\n", s.apiURL)
	}
	if err := s.demo(ctx); err != nil || s.cfg.once {
		return err
	}
	s.hints()
	<-ctx.Done()
	return ctx.Err()
}

const instagramURL = "INSTAGRAM_BASE_URL"

// getenv points the connectors at the sandbox.
func (s *system) getenv(name string) string {
	if v := s.cfg.getenv(name); v != "" || name != instagramURL {
		return v
	}
	return s.sandboxURL + "/instagram"
}
