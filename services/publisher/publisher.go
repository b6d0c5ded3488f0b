// Package publisher is the publisher service: requests in, posts out. Run is
// the program and the only wiring; README.md tells the cycle it runs.
package publisher

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"

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

// Run is the publisher until ctx ends. It starts with the database and the bus
// away and waits for them.
func Run(ctx context.Context, cfg Config) error {
	cfg.defaults()
	tel, flush, err := telemetry.Start(ctx, telemetry.Config{
		Service: service, SpanExporters: cfg.SpanExporters, LogWriter: cfg.LogWriter, Getenv: cfg.Getenv,
	})
	if err != nil {
		return err
	}
	defer func() { _ = flush(context.WithoutCancel(ctx)) }()
	if cfg.MigrateURL != "" {
		if _, err := migrations.Apply(ctx, cfg.MigrateURL, tel.Logger); err != nil {
			return fmt.Errorf("apply migrations: %w", err)
		}
	}

	owner := uuid.New()
	pool, err := postgres.Open(ctx, postgres.Config{DSN: cfg.DatabaseURL, Name: service})
	if err != nil {
		return err
	}
	defer pool.Close()
	nats, err := bus.Connect(ctx, bus.Config{
		URL: cfg.NATSURL, Name: service, Logger: tel.Logger, Tracer: tel.Tracer, Meter: tel.Meter,
		Replicas: cfg.StreamReplicas, MaxBytes: cfg.StreamMaxBytes,
	})
	if err != nil {
		return err
	}
	defer func() { _ = nats.Close(context.WithoutCancel(ctx)) }()

	relay, err := outbox.NewRelay(outbox.RelayConfig{Pool: pool, Bus: nats, Service: service, Logger: tel.Logger, Meter: tel.Meter, Failpoint: cfg.Failpoint})
	if err != nil {
		return err
	}
	keys, err := secret.LoadKeyset(cfg.KeysetPath)
	if err != nil {
		return err
	}
	sealer, err := secret.NewSealer(keys)
	if err != nil {
		return err
	}
	accountStore, err := oauthaccount.NewStore(pool, sealer)
	if err != nil {
		return err
	}
	accts, err := newAccounts(accountStore, tel.Meter)
	if err != nil {
		return err
	}
	defer accts.close()
	client := connectors.NewClient(connectors.ClientConfig{TracerProvider: tel.Tracer, Logger: tel.Logger})
	conns, err := all.New(all.Config{Env: cfg.Getenv, Client: client, TimeFactor: cfg.TimeFactor})
	if err != nil {
		return err
	}
	if cfg.Connectors != nil {
		maps.Copy(conns, cfg.Connectors(client))
	}
	store, err := job.NewStore(job.Config{
		Pool: pool, Service: service, Owner: owner, Lease: cfg.Lease, Logger: tel.Logger, Meter: tel.Meter, Wrote: relay.Poke, Failpoint: cfg.Failpoint,
	})
	if err != nil {
		return err
	}
	defer store.Close()
	runner, err := publish.New(publish.Config{
		Store: store, Accounts: accts, Directory: accts, Gates: limit.NewGates(pool), Connectors: conns,
		Slots: cfg.Slots, Poll: cfg.Poll, Grace: cfg.Grace, Logger: tel.Logger, Tracer: tel.Tracer, Meter: tel.Meter, Failpoint: cfg.Failpoint,
		PokeOwner: func(owner uuid.UUID) { _ = nats.Poke(pokeSubject(owner), nil) },
	})
	if err != nil {
		return err
	}
	stopPokes, err := nats.OnPoke(pokeSubject(owner), func([]byte) { runner.Poke() })
	if err != nil {
		return err
	}
	defer stopPokes()

	callers, err := tenant.New(tenant.Config{Pool: pool})
	if err != nil {
		return err
	}
	resource, err := newResource(runner, store, limit.NewBudgets(pool), tel.Meter)
	if err != nil {
		return err
	}
	defer resource.close()
	web, err := api.New(api.Config{
		Publishes: resource, Finals: nats, Keys: callers, Providers: slices.Sorted(maps.Keys(conns)),
		Logger: tel.Logger, Tracer: tel.Tracer, Meter: tel.Meter, Propagator: tel.Propagator,
	})
	if err != nil {
		return err
	}
	defer web.Close()
	health := process.NewHealth()
	health.Check("database", func(ctx context.Context) error { return schemaFits(ctx, cfg.DatabaseURL) })
	health.Check("bus", func(context.Context) error {
		if !nats.Attached() {
			return errors.New("the consumer is not attached")
		}
		return nil
	})
	server, err := process.Listen(ctx, process.ServerConfig{
		Addr: cfg.HTTPAddr, Setting: "POSTBUS_HTTP_ADDR", Logger: tel.Logger, Handler: health.Routes(tel.Metrics, web),
		OnShutdown: func() { health.Stopping(); web.Drain() },
	})
	if err != nil {
		return err
	}
	cfg.Listening(server.Addr())

	g := process.NewGroup(process.GroupConfig{Logger: tel.Logger, Limit: cfg.Grace})
	g.Add("relay", relay.Run)
	g.Add("runner", runner.Run)
	g.Add("consumer", func(ctx context.Context) error {
		return nats.Run(ctx, bus.Handler{Consumer: events.ConsumerPublisher, Concurrency: 512, Handle: handler(runner)})
	})
	g.Add("http", server.Run)
	return g.Run(ctx)
}

func pokeSubject(owner uuid.UUID) string { return "postbus.publisher." + owner.String() }

// handler stores what the consumer brings, and returns.
func handler(r *publish.Runner) func(context.Context, event.Event) error {
	return func(ctx context.Context, e event.Event) error {
		err := handle(ctx, r, e)
		if postgres.IsUnavailable(err) || postgres.IsAmbiguous(err) {
			return bus.Unavailable(err)
		}
		return err
	}
}

func handle(ctx context.Context, r *publish.Runner, e event.Event) error {
	switch e.Type() {
	case events.TypePublishRequested:
		_, err := r.Accept(ctx, publish.Request{Source: e.Source(), ID: e.ID(), Data: e.Data()})
		return err
	case events.TypePublishCancelRequested:
		var c events.PublishCancelRequested
		if err := events.DecodeData(e, &c); err != nil {
			return bus.Reject("invalid data", err)
		}
		id, err := c.ID()
		if err != nil {
			return bus.Reject("names no publish", err)
		}
		_, _, err = r.Cancel(ctx, id, c.RequestSource, c.RequestID, c.Reason)
		if errors.Is(err, publish.ErrTooLate) {
			return nil // the publish says itself what became of it
		}
		return err
	default:
		return bus.Reject("no handler for this event type", nil)
	}
}

func schemaFits(ctx context.Context, dsn string) error {
	n, err := migrations.Pending(ctx, dsn)
	if err != nil {
		return errors.New("the database does not answer")
	}
	if n > 0 {
		return fmt.Errorf("%d migrations are not applied", n)
	}
	return nil
}
