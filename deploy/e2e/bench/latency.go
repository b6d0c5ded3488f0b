package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"

	"postbus.dev/deploy/e2e/bench/onecall"
	"postbus.dev/events"
)

// warmUp is the share of a latency run that is not counted: connections are
// made in it and plans prepared.
const warmUp = 10 // per cent

// watch notes when events of a type come out of the stream, by publish.
type watch struct {
	mu   sync.Mutex
	seen map[string]time.Time
	stop func()
}

func (s *stand) watch(ctx context.Context, subject string) (*watch, error) {
	w := &watch{seen: map[string]time.Time{}}
	c, err := s.js.OrderedConsumer(ctx, events.StreamPublish, jetstream.OrderedConsumerConfig{FilterSubjects: []string{subject}})
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", subject, err)
	}
	consuming, err := c.Consume(func(m jetstream.Msg) {
		now := time.Now()
		w.mu.Lock()
		defer w.mu.Unlock()
		w.seen[m.Headers().Get("ce-subject")] = now
	})
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", subject, err)
	}
	w.stop = func() { consuming.Stop(); <-consuming.Closed() }
	return w, nil
}

func (w *watch) when(id uuid.UUID) (time.Time, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t, ok := w.seen[id.String()]
	return t, ok
}

// sent is a request on its way.
type sent struct {
	id uuid.UUID
	at time.Time
}

// latency measures how long one request takes while there are few.
func (b *bench) latency(ctx context.Context) (err error) {
	if err := b.stand.renew(ctx); err != nil {
		return err
	}
	p, err := b.stand.publisher(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	w, err := b.stand.watch(ctx, events.TypePublishCompleted)
	if err != nil {
		return err
	}
	defer w.stop()
	if err := b.stand.resetStatements(ctx); err != nil {
		return err
	}
	start := b.stand.usage(p)
	requests, err := b.trickle(ctx)
	if err != nil {
		return err
	}
	if _, err := b.completed(ctx, p, len(requests)); err != nil {
		return err
	}
	used := start.until(b.stand.usage(p))
	if err := b.stand.showStatements(ctx, len(requests)); err != nil {
		return err
	}
	return b.delays(ctx, used, w, requests[len(requests)*warmUp/100:])
}

// trickle sends requests at the rate.
func (b *bench) trickle(ctx context.Context) ([]sent, error) {
	n := int(float64(b.sizes.rate) * b.sizes.latency.Seconds())
	accounts := b.stand.accounts[onecall.Name]
	requests := make([]sent, n)
	failed := make([]error, n)
	var sends sync.WaitGroup
	tick := time.NewTicker(time.Second / time.Duration(b.sizes.rate))
	defer tick.Stop()
	for i := range n {
		id, m, err := request(i, accounts[i%len(accounts)])
		if err != nil {
			return nil, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			sends.Wait()
			return nil, ctx.Err()
		}
		requests[i] = sent{id, time.Now()}
		sends.Go(func() { _, failed[i] = b.stand.js.PublishMsg(ctx, m) })
		b.progress.at("%d of %d requests, %d a second", i+1, n, b.sizes.rate)
	}
	sends.Wait()
	return requests, errors.Join(failed...)
}

// stations reads when publishes were stored and armed, by the database's clock,
// which is that of this machine.
func (s *stand) stations(ctx context.Context) (map[uuid.UUID][2]time.Time, error) {
	conn, err := pgx.Connect(ctx, s.dsn)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	rows, err := conn.Query(ctx, `SELECT id, accepted_at, armed_at FROM publishes`)
	if err != nil {
		return nil, fmt.Errorf("read publishes: %w", err)
	}
	all := map[uuid.UUID][2]time.Time{}
	var id [16]byte
	var stored, armed time.Time
	_, err = pgx.ForEachRow(rows, []any{&id, &stored, &armed}, func() error {
		all[id] = [2]time.Time{stored, armed}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read publishes: %w", err)
	}
	return all, nil
}

// delays compares when a request was sent, when it was stored and armed, when
// the provider got its call and when its event came out of the stream.
func (b *bench) delays(ctx context.Context, used spent, w *watch, requests []sent) error {
	stations, err := b.stand.stations(ctx)
	if err != nil {
		return err
	}
	var toStore, toArm, toCall, toEvent []time.Duration
	for _, r := range requests {
		toStore = append(toStore, stations[r.id][0].Sub(r.at))
		toArm = append(toArm, stations[r.id][1].Sub(r.at))
		var entry struct{ First time.Time }
		if err := b.stand.ask(ctx, http.MethodGet, "/bench/get/"+r.id.String(), nil, &entry); err != nil {
			return err
		}
		event, ok := w.when(r.id)
		if !ok || entry.First.IsZero() {
			return fmt.Errorf("publish %s has no call or no event", r.id)
		}
		toCall, toEvent = append(toCall, entry.First.Sub(r.at)), append(toEvent, event.Sub(r.at))
	}
	at := fmt.Sprintf(" at %d a second, ", b.sizes.rate)
	for _, d := range []struct {
		key, text string
		values    []time.Duration
	}{{"insert", "request to its insert", toStore}, {"arm", "request to its arm write", toArm}, {"call", "request to provider call", toCall}, {"event", "request to publish.completed", toEvent}} {
		b.add(used, "request_to_"+d.key+"_p50_ms", d.text+at+"p50", "ms", millis(percentile(d.values, 50)))
		b.add(used, "request_to_"+d.key+"_p99_ms", d.text+at+"p99", "ms", millis(percentile(d.values, 99)))
	}
	return nil
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// percentile is the value that p per cent do not exceed.
func percentile(ds []time.Duration, p int) time.Duration {
	if len(ds) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(ds))
	return sorted[min(len(sorted)-1, (len(sorted)*p+99)/100-1)]
}
