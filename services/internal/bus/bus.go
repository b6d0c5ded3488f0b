package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"postbus.dev/events"
)

// Config describes a bus. URL and Name are required.
type Config struct {
	URL    string // of the server or servers, comma-separated
	Name   string // of the connection, for the server's lists: the service's name
	Logger *slog.Logger
	Tracer trace.TracerProvider // default: no traces
	Meter  metric.MeterProvider // default: no metrics

	// What differs in the declared topology; see events.TopologyOptions.
	Replicas      int
	MaxBytes      int64
	MaxAckPending int

	DrainTimeout  time.Duration // how long Run waits for handlers when it ends, default 25 s
	HandleTimeout time.Duration // how long one handling may take, default 1 min
	// HoldTime is how long the message that probes an outage is alone, before a
	// second one is tried and others of the fleet may have it, default 1 min.
	HoldTime time.Duration
	// RetryMin and RetryMax bound the pause of a message that failed, by
	// delivery; default 1 s and 1 min.
	RetryMin, RetryMax time.Duration
	// ProbeMin and ProbeMax bound the pause between two tries while something is
	// unavailable; default 250 ms and 5 s.
	ProbeMin, ProbeMax time.Duration
	// PullExpires is how long one pull request stays open, default 5 s.
	PullExpires time.Duration
	// PublishTimeout is how long a publish waits for the server, default 5 s.
	PublishTimeout time.Duration
}

func (c Config) withDefaults() (Config, error) {
	if c.URL == "" || c.Name == "" {
		return c, errors.New("URL and Name are required")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Tracer == nil {
		c.Tracer = tracenoop.NewTracerProvider()
	}
	if c.Meter == nil {
		c.Meter = metricnoop.NewMeterProvider()
	}
	c.DrainTimeout = cmp.Or(c.DrainTimeout, 25*time.Second)
	c.HandleTimeout = cmp.Or(c.HandleTimeout, time.Minute)
	c.HoldTime = cmp.Or(c.HoldTime, time.Minute)
	c.RetryMin = cmp.Or(c.RetryMin, time.Second)
	c.RetryMax = cmp.Or(c.RetryMax, time.Minute)
	c.ProbeMin = cmp.Or(c.ProbeMin, 250*time.Millisecond)
	c.ProbeMax = cmp.Or(c.ProbeMax, 5*time.Second)
	c.PullExpires = cmp.Or(c.PullExpires, 5*time.Second)
	c.PublishTimeout = cmp.Or(c.PublishTimeout, 5*time.Second)
	return c, nil
}

func (c Config) topology() []events.Stream {
	return events.Topology(events.TopologyOptions{
		Replicas: c.Replicas, MaxBytes: c.MaxBytes, MaxAckPending: c.MaxAckPending,
	})
}

// Bus is a connection to NATS and what runs over it. All methods may be called
// at the same time.
type Bus struct {
	conf   Config
	log    *slog.Logger
	tracer trace.Tracer
	meter  *meters
	nc     *nats.Conn
	js     jetstream.JetStream
	sender message.Publisher // watermill-nats

	topology []events.Stream

	mu          sync.Mutex
	subs        []*subscriber
	reconnected []func()
	denial      denial // the last publish that the server refused by its rights
}

// Connect returns a bus that connects, now or as soon as there is a server, and
// reconnects for ever. Close it.
func Connect(_ context.Context, c Config) (*Bus, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("configure bus: %w", err)
	}
	b := &Bus{conf: c, log: c.Logger, tracer: c.Tracer.Tracer(scope), topology: c.topology()}
	if b.meter, err = newMeters(c.Meter.Meter(scope), b.loads); err != nil {
		return nil, fmt.Errorf("make bus metrics: %w", err)
	}
	if b.nc, err = nats.Connect(c.URL, b.options()...); err != nil {
		return nil, errors.Join(fmt.Errorf("connect to NATS: %w", err), b.meter.close())
	}
	if err := b.open(); err != nil {
		b.nc.Close()
		return nil, errors.Join(err, b.meter.close())
	}
	return b, nil
}

// scope names this package to OpenTelemetry.
const scope = "postbus.dev/services/internal/bus"

// reconnectWait is the pause between two attempts to connect, plus as much at
// random.
const reconnectWait = 500 * time.Millisecond

func (b *Bus) options() []nats.Option {
	return []nats.Option{
		nats.Name(b.conf.Name),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectWait, reconnectWait),
		// Nothing is kept to be sent later: a publish while disconnected fails at
		// once, and the caller knows that it was not sent.
		nats.ReconnectBufSize(-1),
		nats.PingInterval(10 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				b.log.Warn("NATS connection lost", "error", err)
			}
		}),
		nats.ConnectHandler(func(nc *nats.Conn) { b.onConnected(nc) }),
		nats.ReconnectHandler(func(nc *nats.Conn) { b.onConnected(nc) }),
		nats.ErrorHandler(b.onAsyncError),
	}
}

func (b *Bus) open() (err error) {
	if b.js, err = jetstream.New(b.nc, jetstream.WithDefaultTimeout(b.conf.PublishTimeout)); err != nil {
		return fmt.Errorf("open JetStream: %w", err)
	}
	if b.sender, err = newSender(b.nc, b.conf.PublishTimeout); err != nil {
		return fmt.Errorf("make publisher: %w", err)
	}
	return nil
}

// onConnected runs on each connection, the first included.
func (b *Bus) onConnected(nc *nats.Conn) {
	b.log.Info("NATS connected", "server", nc.ConnectedUrlRedacted())
	b.mu.Lock()
	subs, calls := b.subs, b.reconnected
	b.mu.Unlock()
	for _, s := range subs {
		s.reconnected()
	}
	for _, f := range calls {
		f()
	}
}

// Connected is whether there is a server right now.
func (b *Bus) Connected() bool { return b.nc.IsConnected() }

// Attached is whether Run has bound all its consumers and pulls: false before
// it, after it, without a server, and while something is unavailable.
func (b *Bus) Attached() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.subs) == 0 || !b.nc.IsConnected() {
		return false
	}
	for _, s := range b.subs {
		if !s.attached() {
			return false
		}
	}
	return true
}

// Close waits until the server has what was sent, as long as ctx allows, and
// closes the connection. End Run first.
func (b *Bus) Close(ctx context.Context) error {
	var err error
	if b.nc.IsConnected() {
		ctx, cancel := context.WithTimeout(ctx, b.conf.PublishTimeout)
		defer cancel()
		if err = b.nc.FlushWithContext(ctx); err != nil {
			err = fmt.Errorf("flush NATS connection: %w", err)
		}
	}
	b.nc.Close()
	return errors.Join(err, b.meter.close())
}

// flush sends what is buffered, such as acks. What cannot be acked comes again.
func (b *Bus) flush() {
	if !b.nc.IsConnected() {
		return
	}
	if err := b.nc.FlushTimeout(b.conf.PublishTimeout); err != nil {
		b.log.Warn("flush acks", "error", err)
	}
}

// subscriber makes the subscriber of a handler.
func (b *Bus) subscriber(h Handler) *subscriber {
	s := newSubscriber(subscriberConfig{
		conn: b.nc, bind: b.bind, decode: decodeEvent, progress: b.progress,
		slots:        cmp.Or(h.Concurrency, defaultConcurrency),
		expires:      b.conf.PullExpires,
		drainTimeout: b.conf.DrainTimeout, handleTimeout: b.conf.HandleTimeout, holdTime: b.conf.HoldTime,
		retry:  backoff{b.conf.RetryMin, b.conf.RetryMax},
		rebind: backoff{reconnectWait, 10 * reconnectWait},
		log:    b.log, meter: b.meter,
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	b.subs = append(b.subs, s)
	return s
}

// detach forgets the subscribers of a Run that has ended.
func (b *Bus) detach() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.subs = nil
}

// load is what a consumer has to do.
type load struct {
	inHand  int
	waiting uint64 // in the stream behind the last message that came here, for anybody
}

// loads reports the load of each consumer.
func (b *Bus) loads(report func(consumer string, l load)) {
	b.mu.Lock()
	subs := b.subs
	b.mu.Unlock()
	for _, s := range subs {
		s.loads(report)
	}
}
