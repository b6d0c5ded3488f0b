// Package publisher is the publisher service: requests in, posts out. Run is
// the program and the only wiring; README.md tells the cycle it runs.
package publisher

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/google/uuid"

	"postbus.dev/events"
	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/bus"
	"postbus.dev/services/internal/limit"
	"postbus.dev/services/internal/oauthaccount"
	"postbus.dev/services/internal/process"
	"postbus.dev/services/internal/secret"
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

// accountHandlers is the same for what is told of accounts; nothing groups it.
const accountHandlers = 8

// Run is the publisher until ctx ends. It starts with the database and the bus
// away and waits for them. What it made it closes in reverse order.
func Run(ctx context.Context, cfg Config) (err error) {
	cfg.defaults()
	base, err := process.NewBase(ctx, process.BaseConfig{
		Service: service, About: "publishes posts: publish.requested to publish.completed",
		DatabaseURL: cfg.DatabaseURL, MigrateURL: cfg.MigrateURL, NATSURL: cfg.NATSURL,
		StreamReplicas: cfg.StreamReplicas, StreamMaxBytes: cfg.StreamMaxBytes,
		Getenv: cfg.Getenv, LogWriter: cfg.LogWriter, SpanExporters: cfg.SpanExporters, Failpoint: cfg.Failpoint, CloseLimit: grace,
	})
	if err != nil {
		return err
	}
	p := &program{Base: base, cfg: cfg}
	defer func() { err = errors.Join(err, p.Close(ctx)) }()
	for _, step := range []func(context.Context) error{p.openAccounts, p.buildCycle, p.buildAPI} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	g := process.NewGroup(process.GroupConfig{Logger: p.Logger, Limit: cfg.Grace + grace})
	g.Add("relay", p.Relay.Run)
	g.Add("sweep", sweepBudgets(limit.NewBudgets(p.Pool), p.Logger))
	g.Add("runner", p.runner.Run)
	g.Add("consumers", func(ctx context.Context) error {
		return p.Bus.Run(ctx,
			bus.Handler{Consumer: events.ConsumerPublisher, Concurrency: handlers, Handle: stores(p.runner, handle)},
			bus.Handler{Consumer: events.ConsumerPublisherAccounts, Concurrency: accountHandlers, Handle: stores(p.runner, handleAccount)})
	})
	g.Add("http", p.server.Run)
	return g.Run(ctx)
}

// program is the parts of a publisher, in the order in which they are made.
type program struct {
	*process.Base
	cfg      Config
	accounts *accounts
	conns    map[string]connectors.Publisher
	store    *job.Store
	runner   *publish.Runner
	server   *process.Server
}

func (p *program) openAccounts(context.Context) error {
	sealer, err := p.Sealer(secret.Keyset{Path: p.cfg.KeysetPath, KMS: p.cfg.KeysetKMS})
	if err != nil {
		return err
	}
	store, err := oauthaccount.NewStore(oauthaccount.StoreConfig{Pool: p.Pool, Sealer: sealer})
	if err != nil {
		return err
	}
	if p.accounts, err = newAccounts(store, p.Meter); err != nil {
		return err
	}
	p.OnClose(p.accounts.close)
	return nil
}

func (p *program) buildCycle(context.Context) (err error) {
	all, err := p.Connectors(p.cfg.TimeFactor, p.cfg.Connectors)
	if err != nil {
		return err
	}
	p.conns = connectors.With[connectors.Publisher](all)
	owner := uuid.New()
	p.store, err = job.NewStore(job.Config{
		Pool: p.Pool, Service: service, Owner: owner, Lease: p.cfg.Lease, Logger: p.Logger, Meter: p.Meter, Wrote: p.Relay.Poke,
	})
	if err != nil {
		return err
	}
	p.OnClose(p.store.Close)
	p.runner, err = publish.New(publish.Config{
		Store: p.store, Accounts: p.accounts, Directory: p.accounts, Gates: limit.NewGates(p.Pool), Connectors: p.conns,
		Slots: p.cfg.Slots, Poll: p.cfg.Poll, Grace: p.cfg.Grace, Recheck: p.cfg.Recheck, Drain: p.cfg.Drain, Failpoint: p.cfg.Failpoint,
		Logger: p.Logger, Tracer: p.Tracer, Meter: p.Meter,
		PokeOwner: func(owner uuid.UUID) { _ = p.Bus.Poke(pokeSubject(owner), nil) }, // a poll finds what a lost poke misses
	})
	if err != nil {
		return err
	}
	stop, err := p.Bus.OnPoke(pokeSubject(owner), func([]byte) { p.runner.Poke() })
	if err != nil {
		return err
	}
	p.OnClose(stop)
	return nil
}

func pokeSubject(owner uuid.UUID) string { return "postbus.publisher." + owner.String() }

func (p *program) buildAPI(ctx context.Context) error {
	callers, err := tenant.New(tenant.Config{Pool: p.Pool})
	if err != nil {
		return err
	}
	budgets := limit.NewBudgets(p.Pool)
	resource, err := newResource(p.runner, p.store, budgets, p.cfg.PublishesPerUser, p.Meter)
	if err != nil {
		return err
	}
	p.OnClose(resource.close)
	web, err := api.New(api.Config{
		Publishes: resource, Finals: p.Bus, Keys: callers, Users: callers, Providers: slices.Sorted(maps.Keys(p.conns)),
		Quota: p.cfg.PublishesPerUser, Budgets: limit.NewAhead(budgets), Limits: p.cfg.Limits,
		Logger: p.Logger, Tracer: p.Tracer, Meter: p.Meter, Propagator: p.Propagator,
	})
	if err != nil {
		return err
	}
	p.OnClose(web.Close)
	if p.server, err = p.Listen(ctx, p.cfg.HTTPAddr, web, web.Drain); err != nil {
		return err
	}
	p.cfg.Listening(p.server.Addr())
	return nil
}
