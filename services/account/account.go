// Package account is the account service: users, their API keys and their
// connected OAuth accounts. Run is the program and the only wiring; README.md
// tells the cycle of an account.
package account

import (
	"context"
	"errors"

	"postbus.dev/events"
	"postbus.dev/services/account/internal/api"
	"postbus.dev/services/account/internal/callback"
	"postbus.dev/services/account/internal/connect"
	"postbus.dev/services/account/internal/disconnect"
	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/bus"
	"postbus.dev/services/internal/httpapi"
	"postbus.dev/services/internal/limit"
	"postbus.dev/services/internal/oauthaccount"
	"postbus.dev/services/internal/process"
	"postbus.dev/services/internal/secret"
	"postbus.dev/services/internal/tenant"
)

// service is the account service's name in events, rows and metrics.
const service = "account"

// Run is the account service until ctx ends. It starts with the database and the
// bus away and waits for them. What it made it closes in reverse order.
func Run(ctx context.Context, cfg Config) (err error) {
	cfg.defaults()
	base, err := process.NewBase(ctx, process.BaseConfig{
		Service: service, About: "keeps users, API keys and connected accounts",
		DatabaseURL: cfg.DatabaseURL, MigrateURL: cfg.MigrateURL, NATSURL: cfg.NATSURL,
		StreamReplicas: cfg.StreamReplicas, StreamMaxBytes: cfg.StreamMaxBytes,
		Getenv: cfg.Getenv, LogWriter: cfg.LogWriter, SpanExporters: cfg.SpanExporters, Failpoint: cfg.Failpoint, CloseLimit: grace,
	})
	if err != nil {
		return err
	}
	p := &program{Base: base, cfg: cfg}
	defer func() { err = errors.Join(err, p.Close(ctx)) }()
	for _, step := range []func(context.Context) error{p.openStores, p.buildConnectors, p.buildJob, p.buildAPI} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	g := process.NewGroup(process.GroupConfig{Logger: p.Logger, Limit: grace})
	g.Add("relay", p.Relay.Run)
	g.Add("disconnect", p.job.Run)
	g.Add("connect", p.operations.connect.Run)
	g.Add("callbacks", p.operations.callbacks.Run)
	g.Add("consumer", func(ctx context.Context) error {
		return p.Bus.Run(ctx, bus.Handler{Consumer: events.ConsumerAccount, Handle: process.Stores(p.handle)})
	})
	g.Add("http", p.server.Run)
	return g.Run(ctx)
}

// program is the parts of an account service, in the order in which they are
// made.
type program struct {
	*process.Base
	cfg      Config
	sealer   *secret.Sealer
	accounts *oauthaccount.Store
	keys     *tenant.Keys
	conns    map[string]connectors.Connector
	job      *disconnect.Job
	server   *process.Server

	operations operations
}

func (p *program) openStores(context.Context) (err error) {
	if p.sealer, err = p.Sealer(secret.Keyset{Path: p.cfg.KeysetPath, KMS: p.cfg.KeysetKMS}); err != nil {
		return err
	}
	p.accounts, err = oauthaccount.NewStore(oauthaccount.StoreConfig{
		Pool: p.Pool, Sealer: p.sealer, Service: service, Wrote: p.Relay.Poke,
	})
	if err != nil {
		return err
	}
	p.keys, err = tenant.New(tenant.Config{Pool: p.Pool})
	return err
}

func (p *program) buildConnectors(context.Context) (err error) {
	p.conns, err = p.Connectors(p.cfg.TimeFactor, p.cfg.Connectors)
	return err
}

func (p *program) buildJob(context.Context) (err error) {
	p.job, err = disconnect.New(disconnect.Config{
		Accounts: p.accounts, Users: p.keys, Connectors: p.conns, Poll: p.cfg.Poll, Settle: p.cfg.Settle,
		Logger: p.Logger, Tracer: p.Tracer, Meter: p.Meter, Failpoint: p.cfg.Failpoint,
	})
	return err
}

func (p *program) buildAPI(ctx context.Context) error {
	cfg := apiConfig()
	cfg.Keys, cfg.Budgets, cfg.Limits = p.keys, limit.NewAhead(limit.NewBudgets(p.Pool)), p.cfg.Limits
	cfg.Logger, cfg.Tracer, cfg.Meter, cfg.Propagator = p.Logger, p.Tracer, p.Meter, p.Propagator
	web, err := httpapi.New(cfg)
	if err != nil {
		return err
	}
	if err := p.buildOperations(); err != nil {
		return err
	}
	p.operations.register(web)
	if p.server, err = p.Listen(ctx, p.cfg.HTTPAddr, web, func() {}); err != nil {
		return err
	}
	p.cfg.Listening(p.server.Addr())
	return nil
}

// buildOperations makes what answers on the API.
func (p *program) buildOperations() error {
	a, err1 := api.New(api.Config{Accounts: p.accounts, Tenants: p.keys, Connectors: p.conns, Logger: p.Logger})
	f, err2 := connect.New(connect.Config{
		Pool: p.Pool, Sealer: p.sealer, Accounts: p.accounts, Users: p.keys, Connectors: p.conns,
		PublicURL: p.cfg.PublicURL, ReturnTo: p.cfg.ReturnTo, Logger: p.Logger, Tracer: p.Tracer, Meter: p.Meter,
	})
	t, err3 := callback.New(callback.Config{
		Pool: p.Pool, Accounts: p.accounts, Connectors: p.conns, Service: service, Wrote: p.Relay.Poke,
		PublicURL: p.cfg.PublicURL, Logger: p.Logger, Meter: p.Meter,
	})
	p.operations = operations{accounts: a, connect: f, callbacks: t}
	return errors.Join(err1, err2, err3)
}
