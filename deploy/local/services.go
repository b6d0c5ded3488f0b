package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"postbus.dev/deploy/gateway"
	"postbus.dev/deploy/testbed/postgres"
	"postbus.dev/migrations"
	"postbus.dev/services/account"
	"postbus.dev/services/publisher"
	tokenrefresher "postbus.dev/services/token-refresher"
)

// anyPort is where a service listens behind the gateway.
const anyPort = "127.0.0.1:0"

// serve runs the services until ctx ends, one of them fails, or, with
// POSTBUS_DEMO=once, the first posts are through.
func (s *system) serve(ctx context.Context) error {
	own, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var running sync.WaitGroup
	var ended failures
	run := func(name string, f func(context.Context) error) {
		running.Go(func() {
			err := f(own)
			if own.Err() == nil {
				cancel(fmt.Errorf("%s: %w", name, cmp.Or(err, errors.New("it ended without being asked to"))))
				return // told once
			}
			ended.add(err)
		})
	}
	at := addresses{gateway.Account: make(chan string, 1), gateway.Publisher: make(chan string, 1)}
	run("account", func(ctx context.Context) error { return s.account(ctx, at[gateway.Account]) })
	run("publisher", func(ctx context.Context) error { return s.publish(ctx, at[gateway.Publisher]) })
	run("token-refresher", s.refresh) // it has no API
	err := s.open(own, at, run)
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
	running.Wait()
	return errors.Join(err, errors.Join(ended.list...))
}

// failures collects what parts ended with.
type failures struct {
	mu   sync.Mutex
	list []error
}

func (f *failures) add(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = append(f.list, err)
}

// addresses tell where each service listens.
type addresses map[string]chan string

// open waits until the services listen, opens the door to them and shows what
// they can do.
func (s *system) open(ctx context.Context, at addresses, run func(string, func(context.Context) error)) error {
	backends := map[string][]string{}
	for _, name := range slices.Sorted(maps.Keys(at)) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case addr := <-at[name]:
			backends[name] = []string{"http://" + addr}
			s.say("%-11s http://%s/readyz and /metrics", name, addr)
		}
	}
	g, err := gateway.New(gateway.Config{Backends: backends, Logger: slog.New(slog.NewJSONHandler(s.log, nil))})
	if err != nil {
		return err
	}
	run("gateway", func(ctx context.Context) error {
		defer g.Close()
		return g.Serve(ctx, s.door, grace)
	})
	return s.show(ctx)
}

// publish is the publisher service.
func (s *system) publish(ctx context.Context, listening chan<- string) error {
	return publisher.Run(ctx, publisher.Config{
		DatabaseURL: postgres.As(s.dsn, migrations.RolePublisher), NATSURL: s.natsURL, HTTPAddr: anyPort, KeysetPath: s.keyset(),
		TimeFactor: factor, Grace: grace, Lease: lease,
		LogWriter: s.log, SpanExporters: []sdktrace.SpanExporter{s.spans},
		Getenv: s.getenv, Listening: func(addr string) { listening <- addr },
	})
}

// refresh is the token-refresher.
func (s *system) refresh(ctx context.Context) error {
	return tokenrefresher.Run(ctx, tokenrefresher.Config{
		DatabaseURL: postgres.As(s.dsn, migrations.RoleRefresher), NATSURL: s.natsURL, HTTPAddr: anyPort, KeysetPath: s.keyset(),
		TimeFactor: factor, Margin: lease,
		LogWriter: s.log, SpanExporters: []sdktrace.SpanExporter{s.spans},
		Getenv: s.getenv,
	})
}

// account is the account service.
func (s *system) account(ctx context.Context, listening chan<- string) error {
	return account.Run(ctx, account.Config{
		DatabaseURL: postgres.As(s.dsn, migrations.RoleAccount), NATSURL: s.natsURL, HTTPAddr: anyPort, KeysetPath: s.keyset(),
		PublicURL: s.apiURL, ReturnTo: s.cfg.returnTo, TimeFactor: factor,
		LogWriter: s.log, SpanExporters: []sdktrace.SpanExporter{s.spans},
		Getenv: s.getenv, Listening: func(addr string) { listening <- addr },
	})
}
