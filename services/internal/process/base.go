package process

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/jackc/pgx/v5/pgxpool"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"postbus.dev/migrations"
	"postbus.dev/services/connectors"
	"postbus.dev/services/connectors/all"
	"postbus.dev/services/internal/bus"
	"postbus.dev/services/internal/outbox"
	"postbus.dev/services/internal/postgres"
	"postbus.dev/services/internal/secret"
	"postbus.dev/services/internal/telemetry"
)

// BaseConfig says what a service stands on.
type BaseConfig struct {
	Service string // its name in events, rows, metrics, connections and on NATS
	About   string // what it does, in one line

	DatabaseURL    string
	MigrateURL     string // if set, the schema is brought up to date with it first
	NATSURL        string
	StreamReplicas int
	StreamMaxBytes int64

	Getenv        func(name string) string
	LogWriter     io.Writer               // JSON lines; default standard output
	SpanExporters []sdktrace.SpanExporter // beside those that OTEL_* names
	Failpoint     func(name string)       // of the relay; may be nil

	CloseLimit time.Duration // for Close; default 30 s
}

// Base is what every service stands on: telemetry, the database, the bus, and
// the relay of the service's own outbox rows.
type Base struct {
	*telemetry.Telemetry
	Pool  *pgxpool.Pool
	Bus   *bus.Bus
	Relay *outbox.Relay // not running yet

	cfg    BaseConfig
	health *Health
	closes []func(context.Context) error // in the order of making
}

// NewBase makes these parts. The database and the bus may be away: what works
// with them waits for them. Close the Base.
func NewBase(ctx context.Context, cfg BaseConfig) (*Base, error) {
	cfg.CloseLimit = cmp.Or(cfg.CloseLimit, 30*time.Second)
	b := &Base{cfg: cfg, health: NewHealth()}
	b.health.Check("database", b.schemaFits)
	b.health.Check("bus", b.attached)
	for _, step := range []func(context.Context) error{b.observe, b.migrate, b.connect, b.announce} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, b.Close(ctx))
		}
	}
	return b, nil
}

// OnClose adds what Close ends, before everything that was there already.
func (b *Base) OnClose(f func()) {
	b.closes = append(b.closes, func(context.Context) error { f(); return nil })
}

// Close ends everything in the reverse order of its making, also when ctx has
// ended.
func (b *Base) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.cfg.CloseLimit)
	defer cancel()
	var errs []error
	for _, f := range slices.Backward(b.closes) {
		errs = append(errs, f(ctx))
	}
	return errors.Join(errs...)
}

func (b *Base) observe(ctx context.Context) error {
	tel, flush, err := telemetry.Start(ctx, telemetry.Config{
		Service: b.cfg.Service, SpanExporters: b.cfg.SpanExporters, LogWriter: b.cfg.LogWriter, Getenv: b.cfg.Getenv,
	})
	if err != nil {
		return err
	}
	b.Telemetry = tel
	b.closes = append(b.closes, func(ctx context.Context) error {
		if err := flush(ctx); err != nil { // a collector that is away is no failure of the service
			tel.Logger.WarnContext(ctx, "send the last traces and metrics", "error", err)
		}
		return nil
	})
	return nil
}

// migrate waits for the database, as all else does.
func (b *Base) migrate(ctx context.Context) error {
	for b.cfg.MigrateURL != "" {
		_, err := migrations.Apply(ctx, b.cfg.MigrateURL, b.Logger)
		if err == nil {
			return nil
		}
		if !postgres.IsUnavailable(err) {
			return fmt.Errorf("apply migrations: %w", err)
		}
		b.Logger.WarnContext(ctx, "migrations wait for the database", "error", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
	return nil
}

func (b *Base) connect(ctx context.Context) (err error) {
	if b.Pool, err = postgres.Open(ctx, postgres.Config{DSN: b.cfg.DatabaseURL, Name: b.cfg.Service}); err != nil {
		return err
	}
	b.OnClose(b.Pool.Close)
	b.Bus, err = bus.Connect(ctx, bus.Config{
		URL: b.cfg.NATSURL, Name: b.cfg.Service, Logger: b.Logger, Tracer: b.Tracer, Meter: b.Meter,
		Replicas: b.cfg.StreamReplicas, MaxBytes: b.cfg.StreamMaxBytes,
	})
	if err != nil {
		return err
	}
	b.closes = append(b.closes, b.Bus.Close)
	b.Relay, err = outbox.NewRelay(outbox.RelayConfig{
		Pool: b.Pool, Bus: b.Bus, Service: b.cfg.Service, Logger: b.Logger, Meter: b.Meter, Failpoint: b.cfg.Failpoint,
	})
	return err
}

// announce tells whoever asks on NATS that the process is there, and what /readyz
// says of it.
func (b *Base) announce(ctx context.Context) error {
	stop, err := b.Bus.Announce(ctx, bus.Announcement{
		Name: b.cfg.Service, Description: b.cfg.About, Ready: func(ctx context.Context) any { return b.health.Ready(ctx) },
	})
	if err == nil {
		b.OnClose(stop)
	}
	return err
}

// Connectors makes the connectors that every service has, and those of more, which
// win. Their settings are the environment's, factor scales their times.
func (b *Base) Connectors(factor float64, more func(*connectors.Client) map[string]connectors.Connector) (map[string]connectors.Connector, error) {
	client := connectors.NewClient(connectors.ClientConfig{TracerProvider: b.Tracer, Logger: b.Logger})
	conns, err := all.New(all.Config{Env: b.cfg.Getenv, Client: client, TimeFactor: factor})
	if err == nil && more != nil {
		maps.Copy(conns, more(client))
	}
	return conns, err
}

// Sealer loads the keyset that seals tokens. The process is not ready while it
// cannot read the file as it is now: it goes on with the keys that it has, which
// somebody may be about to remove.
func (b *Base) Sealer(file secret.Keyset) (*secret.Sealer, error) {
	s, err := secret.LoadSealer(file)
	if err != nil {
		return nil, err
	}
	b.health.Check("keyset", func(ctx context.Context) error {
		if err := s.Check(); err != nil {
			b.Logger.ErrorContext(ctx, "the keyset cannot be read any more: the keys of before are used", "error", err)
			return errors.New("POSTBUS_KEYSET cannot be read as it is now: the log tells why")
		}
		return nil
	})
	return s, nil
}

// Listen takes the address of POSTBUS_HTTP_ADDR for the service's own handler,
// with /livez, /readyz and /metrics beside it. drain is called when the server
// stops taking requests, to make those that only wait answer now.
func (b *Base) Listen(ctx context.Context, addr string, service http.Handler, drain func()) (*Server, error) {
	s, err := Listen(ctx, ServerConfig{
		Addr: addr, Setting: "POSTBUS_HTTP_ADDR", Logger: b.Logger, Handler: b.health.Routes(b.Metrics, service),
		OnShutdown: func() { b.health.Stopping(); drain() },
	})
	if err != nil {
		return nil, err
	}
	b.Logger.InfoContext(ctx, b.cfg.Service+" listens", "addr", s.Addr())
	return s, nil
}

func (b *Base) schemaFits(ctx context.Context) error {
	n, err := migrations.Pending(ctx, b.cfg.DatabaseURL)
	if postgres.IsUnavailable(err) {
		return errors.New("the database does not answer")
	}
	if err != nil {
		return errors.New("the database does not tell which migrations it has: is DATABASE_URL this service's own role, and was migrate run?")
	}
	if n > 0 {
		return fmt.Errorf("%d migrations are not applied", n)
	}
	return nil
}

func (b *Base) attached(context.Context) error {
	if !b.Bus.Attached() {
		return errors.New("the consumer is not attached to the stream")
	}
	return nil
}

// Stores makes a bus handler of one that stores what comes, and returns. A
// database that is away, or may have stored it, is not the event's fault.
func Stores(handle func(context.Context, event.Event) error) func(context.Context, event.Event) error {
	return func(ctx context.Context, e event.Event) error {
		err := handle(ctx, e)
		if postgres.IsUnavailable(err) || postgres.IsAmbiguous(err) {
			return bus.Unavailable(err)
		}
		return err
	}
}
