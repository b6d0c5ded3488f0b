// Package tokenrefresher is the token-refresher service: it keeps the grants of
// connected accounts alive. Run is the program and the only wiring; README.md tells
// the cycle it runs.
package tokenrefresher

import (
	"context"
	"errors"
	"net/http"
	"time"

	"postbus.dev/events"
	"postbus.dev/services/internal/bus"
	"postbus.dev/services/internal/oauthaccount"
	"postbus.dev/services/internal/process"
	"postbus.dev/services/internal/secret"
	"postbus.dev/services/token-refresher/internal/refresh"
)

// service is the token-refresher's name in events, rows and metrics.
const service = "token-refresher"

const (
	// grace is what stopping takes beside the refreshes under way: requests in
	// progress, the consumer's handlers, the last spans.
	grace = 30 * time.Second
	// patience is how long new tokens that cannot be stored keep the process.
	patience = 24 * time.Hour
)

// Run is the token-refresher until ctx ends. It starts with the database and the
// bus away and waits for them. What it made it closes in reverse order. It does not
// end while it has new tokens that are not stored.
func Run(ctx context.Context, cfg Config) (err error) {
	cfg.defaults()
	base, err := process.NewBase(ctx, process.BaseConfig{
		Service: service, About: "keeps the tokens of connected accounts alive",
		DatabaseURL: cfg.DatabaseURL, MigrateURL: cfg.MigrateURL, NATSURL: cfg.NATSURL,
		StreamReplicas: cfg.StreamReplicas, StreamMaxBytes: cfg.StreamMaxBytes,
		Getenv: cfg.Getenv, LogWriter: cfg.LogWriter, SpanExporters: cfg.SpanExporters, Failpoint: cfg.Failpoint, CloseLimit: grace,
	})
	if err != nil {
		return err
	}
	p := &program{Base: base, cfg: cfg}
	defer func() { err = errors.Join(err, p.Close(ctx)) }()
	for _, step := range []func(context.Context) error{p.buildCycle, p.listen} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	g := process.NewGroup(process.GroupConfig{Logger: p.Logger, Limit: patience})
	g.Add("relay", p.Relay.Run)
	g.Add("runner", p.runner.Run)
	g.Add("consumer", func(ctx context.Context) error {
		return p.Bus.Run(ctx, bus.Handler{Consumer: events.ConsumerTokenRefresher, Handle: process.Stores(p.handle)})
	})
	g.Add("http", p.server.Run)
	return g.Run(ctx)
}

// program is the parts of a token-refresher, in the order in which they are made.
type program struct {
	*process.Base
	cfg    Config
	runner *refresh.Runner
	server *process.Server
}

func (p *program) buildCycle(context.Context) error {
	sealer, err := p.Sealer(secret.Keyset{Path: p.cfg.KeysetPath, KMS: p.cfg.KeysetKMS})
	if err != nil {
		return err
	}
	accounts, err := oauthaccount.NewStore(oauthaccount.StoreConfig{Pool: p.Pool, Sealer: sealer, Service: service, Wrote: p.Relay.Poke})
	if err != nil {
		return err
	}
	store, err := oauthaccount.NewRefreshes(accounts, p.Meter)
	if err != nil {
		return err
	}
	p.OnClose(store.Close)
	conns, err := p.Connectors(p.cfg.TimeFactor, p.cfg.Connectors)
	if err != nil {
		return err
	}
	p.runner, err = refresh.New(refresh.Config{
		Store: store, Connectors: conns, Poll: p.cfg.Poll, Margin: p.cfg.Margin, Failpoint: p.cfg.Failpoint,
		Logger: p.Logger, Tracer: p.Tracer, Meter: p.Meter,
	})
	return err
}

// listen serves the probes and nothing else.
func (p *program) listen(ctx context.Context) (err error) {
	if p.server, err = p.Listen(ctx, p.cfg.HTTPAddr, http.NotFoundHandler(), func() {}); err != nil {
		return err
	}
	p.cfg.Listening(p.server.Addr())
	return nil
}
