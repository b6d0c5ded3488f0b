package outbox

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/metric"

	"postbus.dev/events"
)

// RelayConfig says whose rows are relayed, from where to where.
type RelayConfig struct {
	Pool    *pgxpool.Pool
	Bus     Bus
	Service string   // whose rows, as Append was told
	Streams []string // default: all that keep events

	// Poll is how often the holder looks without being poked; default 250 ms.
	// Pokes make the latency, the poll only catches those that got lost.
	Poll time.Duration

	// IdleLimit is how long the database leaves the lock to a process that
	// shows no sign of life; default 15 s.
	IdleLimit time.Duration

	// Upkeep is how often the holder measures its lag, and every fourth time
	// writes where it looked in vain; default 15 s. Partitions are looked after
	// once an hour.
	Upkeep time.Duration

	Logger *slog.Logger
	Meter  metric.MeterProvider

	// Failpoint, where set, is called at relay.before_send, relay.after_ack
	// (before the cursor moves) and relay.after_cursor. For tests.
	Failpoint func(name string)
}

// A Relay moves one service's outbox rows to their streams while it holds the
// service's relay lock. See the package comment.
type Relay struct {
	config  RelayConfig
	log     *slog.Logger
	metrics *relayMetrics
	streams []*stream
	holding atomic.Bool
}

// NewRelay checks c. Run does the work.
func NewRelay(c RelayConfig) (*Relay, error) {
	if c.Pool == nil || c.Bus == nil || c.Service == "" {
		return nil, errors.New("new relay: it needs a pool, a bus and a service")
	}
	if len(c.Streams) == 0 {
		c.Streams = []string{events.StreamPublish, events.StreamAccount}
	}
	c.Poll = cmp.Or(c.Poll, 250*time.Millisecond)
	c.IdleLimit = cmp.Or(c.IdleLimit, 15*time.Second)
	c.Upkeep = cmp.Or(c.Upkeep, 15*time.Second)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	if c.Failpoint == nil {
		c.Failpoint = func(string) {}
	}
	r := &Relay{config: c, log: c.Logger.With("relay", c.Service)}
	for _, name := range slices.Compact(slices.Sorted(slices.Values(c.Streams))) {
		r.streams = append(r.streams, newStream(r, name))
	}
	var err error
	if r.metrics, err = newRelayMetrics(c.Meter, r); err != nil {
		return nil, fmt.Errorf("new relay: %w", err)
	}
	return r, nil
}

// Poke says that a transaction with new rows has committed. It wakes the relay
// of this process, or tells the process that holds the lock. It never waits,
// and a poke that is lost costs no more than one Poll.
func (r *Relay) Poke() {
	if r.holding.Load() {
		r.wake()
		return
	}
	if err := r.config.Bus.Poke(r.pokeSubject(), nil); err != nil {
		r.log.Debug("poke relay", "error", err)
	}
}

func (r *Relay) pokeSubject() string { return "postbus.relay." + r.config.Service }

func (r *Relay) wake() {
	for _, s := range r.streams {
		select {
		case s.woken <- struct{}{}:
		default: // it is going to look anyway
		}
	}
}
