// Package publisher is the publisher service: requests in, posts out. Run is
// the program and the only wiring; README.md tells the cycle it runs.
package publisher

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"postbus.dev/events"
	"postbus.dev/migrations"
	"postbus.dev/services/connectors"
	"postbus.dev/services/connectors/all"
	"postbus.dev/services/internal/bus"
	"postbus.dev/services/internal/limit"
	"postbus.dev/services/internal/oauthaccount"
	"postbus.dev/services/internal/outbox"
	"postbus.dev/services/internal/postgres"
	"postbus.dev/services/internal/process"
	"postbus.dev/services/internal/secret"
	"postbus.dev/services/internal/telemetry"
	"postbus.dev/services/internal/tenant"
	"postbus.dev/services/publisher/internal/api"
	"postbus.dev/services/publisher/internal/job"
	"postbus.dev/services/publisher/internal/publish"
)

// service is the publisher's name in events, rows and metrics.
const service = "publisher"

// handlers is how many requests are stored at once. Each waits for the group
// that it is written with, so that the number bounds the size of groups.
const handlers = 1024

// Run is the publisher until ctx ends. It starts with the database and the bus
// away and waits for them. What it made it closes in reverse order.
func Run(ctx context.Context, cfg Config) (err error) {
	cfg.defaults()
	p := &program{cfg: cfg}
	defer func() { err = errors.Join(err, p.close(context.WithoutCancel(ctx))) }()
	for _, step := range []func(context.Context) error{p.observe, p.migrate, p.connect, p.openAccounts, p.buildCycle, p.buildAPI} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	g := process.NewGroup(process.GroupConfig{Logger: p.tel.Logger, Limit: cfg.Grace + grace})
	g.Add("relay", p.relay.Run)
	g.Add("sweep", sweepBudgets(limit.NewBudgets(p.pool), p.tel.Logger))
	g.Add("runner", p.runner.Run)
	g.Add("consumer", func(ctx context.Context) error {
		return p.bus.Run(ctx, bus.Handler{Consumer: events.ConsumerPublisher, Concurrency: handlers, Handle: handler(p.runner)})
	})
	g.Add("http", p.server.Run)
	return g.Run(ctx)
}

// program is the parts of a publisher, in the order in which they are made.
type program struct {
	cfg    Config
	closes []func(context.Context) error // in the order of making

	tel      *telemetry.Telemetry
	pool     *pgxpool.Pool
	bus      *bus.Bus
	relay    *outbox.Relay
	accounts *accounts
	conns    map[string]connectors.Publisher
	store    *job.Store
	runner   *publish.Runner
	server   *process.Server
}

func (p *program) onClose(f func()) {
	p.closes = append(p.closes, func(context.Context) error { f(); return nil })
}

func (p *program) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	var errs []error
	for _, f := range slices.Backward(p.closes) {
		errs = append(errs, f(ctx))
	}
	return errors.Join(errs...)
}

func (p *program) observe(ctx context.Context) error {
	tel, flush, err := telemetry.Start(ctx, telemetry.Config{
		Service: service, SpanExporters: p.cfg.SpanExporters, LogWriter: p.cfg.LogWriter, Getenv: p.cfg.Getenv,
	})
	if err != nil {
		return err
	}
	p.tel = tel
	p.closes = append(p.closes, func(ctx context.Context) error {
		if err := flush(ctx); err != nil { // a collector that is away is no failure of the publisher
			tel.Logger.WarnContext(ctx, "send the last traces and metrics", "error", err)
		}
		return nil
	})
	return nil
}

func (p *program) migrate(ctx context.Context) error {
	if p.cfg.MigrateURL == "" {
		return nil
	}
	if _, err := migrations.Apply(ctx, p.cfg.MigrateURL, p.tel.Logger); err != nil {
		return fmt.Errorf("apply migrations: %w", err)
	}
	return nil
}

func (p *program) connect(ctx context.Context) (err error) {
	if p.pool, err = postgres.Open(ctx, postgres.Config{DSN: p.cfg.DatabaseURL, Name: service}); err != nil {
		return err
	}
	p.onClose(p.pool.Close)
	p.bus, err = bus.Connect(ctx, bus.Config{
		URL: p.cfg.NATSURL, Name: service, Logger: p.tel.Logger, Tracer: p.tel.Tracer, Meter: p.tel.Meter,
		Replicas: p.cfg.StreamReplicas, MaxBytes: p.cfg.StreamMaxBytes,
	})
	if err != nil {
		return err
	}
	p.closes = append(p.closes, p.bus.Close)
	p.relay, err = outbox.NewRelay(outbox.RelayConfig{
		Pool: p.pool, Bus: p.bus, Service: service, Logger: p.tel.Logger, Meter: p.tel.Meter, Failpoint: p.cfg.Failpoint,
	})
	return err
}

func (p *program) openAccounts(context.Context) error {
	keys, err := secret.LoadKeyset(p.cfg.KeysetPath)
	if err != nil {
		return err
	}
	sealer, err := secret.NewSealer(keys)
	if err != nil {
		return err
	}
	store, err := oauthaccount.NewStore(p.pool, sealer)
	if err != nil {
		return err
	}
	if p.accounts, err = newAccounts(store, p.tel.Meter); err != nil {
		return err
	}
	p.onClose(p.accounts.close)
	return nil
}

func (p *program) buildCycle(context.Context) (err error) {
	client := connectors.NewClient(connectors.ClientConfig{TracerProvider: p.tel.Tracer, Logger: p.tel.Logger})
	if p.conns, err = all.New(all.Config{Env: p.cfg.Getenv, Client: client, TimeFactor: p.cfg.TimeFactor}); err != nil {
		return err
	}
	if p.cfg.Connectors != nil {
		maps.Copy(p.conns, p.cfg.Connectors(client))
	}
	owner := uuid.New()
	p.store, err = job.NewStore(job.Config{
		Pool: p.pool, Service: service, Owner: owner, Lease: p.cfg.Lease, Logger: p.tel.Logger, Meter: p.tel.Meter, Wrote: p.relay.Poke,
	})
	if err != nil {
		return err
	}
	p.onClose(p.store.Close)
	p.runner, err = publish.New(publish.Config{
		Store: p.store, Accounts: p.accounts, Directory: p.accounts, Gates: limit.NewGates(p.pool), Connectors: p.conns,
		Slots: p.cfg.Slots, Poll: p.cfg.Poll, Grace: p.cfg.Grace, Recheck: p.cfg.Recheck, Failpoint: p.cfg.Failpoint,
		Logger: p.tel.Logger, Tracer: p.tel.Tracer, Meter: p.tel.Meter,
		PokeOwner: func(owner uuid.UUID) { _ = p.bus.Poke(pokeSubject(owner), nil) }, // a poll finds what a lost poke misses
	})
	if err != nil {
		return err
	}
	stop, err := p.bus.OnPoke(pokeSubject(owner), func([]byte) { p.runner.Poke() })
	if err != nil {
		return err
	}
	p.onClose(stop)
	return nil
}

func pokeSubject(owner uuid.UUID) string { return "postbus.publisher." + owner.String() }

func (p *program) buildAPI(ctx context.Context) error {
	callers, err := tenant.New(tenant.Config{Pool: p.pool})
	if err != nil {
		return err
	}
	resource, err := newResource(p.runner, p.store, limit.NewBudgets(p.pool), p.tel.Meter)
	if err != nil {
		return err
	}
	p.onClose(resource.close)
	web, err := api.New(api.Config{
		Publishes: resource, Finals: p.bus, Keys: callers, Providers: slices.Sorted(maps.Keys(p.conns)),
		Logger: p.tel.Logger, Tracer: p.tel.Tracer, Meter: p.tel.Meter, Propagator: p.tel.Propagator,
	})
	if err != nil {
		return err
	}
	p.onClose(web.Close)
	health := process.NewHealth()
	health.Check("database", p.schemaFits)
	health.Check("bus", p.attached)
	p.server, err = process.Listen(ctx, process.ServerConfig{
		Addr: p.cfg.HTTPAddr, Setting: "POSTBUS_HTTP_ADDR", Logger: p.tel.Logger, Handler: health.Routes(p.tel.Metrics, web),
		OnShutdown: func() { health.Stopping(); web.Drain() },
	})
	if err != nil {
		return err
	}
	p.tel.Logger.InfoContext(ctx, "publisher listens", "addr", p.server.Addr())
	p.cfg.Listening(p.server.Addr())
	return nil
}

func (p *program) schemaFits(ctx context.Context) error {
	n, err := migrations.Pending(ctx, p.cfg.DatabaseURL)
	if err != nil {
		return errors.New("the database does not answer")
	}
	if n > 0 {
		return fmt.Errorf("%d migrations are not applied", n)
	}
	return nil
}

func (p *program) attached(context.Context) error {
	if !p.bus.Attached() {
		return errors.New("the consumer is not attached to the stream")
	}
	return nil
}
