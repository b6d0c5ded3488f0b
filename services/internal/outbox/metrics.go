package outbox

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
)

type relayMetrics struct {
	sentEvents    metric.Int64Counter
	skippedEvents metric.Int64Counter
	batchSize     metric.Int64Histogram
	refusedBatch  metric.Int64Counter
	failures      metric.Int64Counter
	attrs         map[string]metric.MeasurementOption // by stream
}

func newRelayMetrics(p metric.MeterProvider, r *Relay) (*relayMetrics, error) {
	if p == nil {
		p = noop.NewMeterProvider()
	}
	meter := p.Meter("postbus.dev/services/internal/outbox")
	var errs [6]error
	m := &relayMetrics{attrs: map[string]metric.MeasurementOption{}}
	for _, s := range r.streams {
		m.attrs[s.name] = metric.WithAttributeSet(attribute.NewSet(
			attribute.String("service", r.config.Service), attribute.String("stream", s.name)))
	}
	m.sentEvents, errs[0] = meter.Int64Counter("postbus.outbox.sent", metric.WithUnit("{event}"),
		metric.WithDescription("Events that the stream acknowledged."))
	m.skippedEvents, errs[1] = meter.Int64Counter("postbus.outbox.skipped", metric.WithUnit("{event}"),
		metric.WithDescription("Events that the stream already held."))
	m.batchSize, errs[2] = meter.Int64Histogram("postbus.outbox.send.size", metric.WithUnit("{event}"),
		metric.WithDescription("Events in one send."),
		metric.WithExplicitBucketBoundaries(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000))
	m.refusedBatch, errs[3] = meter.Int64Counter("postbus.outbox.refused", metric.WithUnit("{batch}"),
		metric.WithDescription("Batches without an acknowledgment, sent again one by one."))
	m.failures, errs[4] = meter.Int64Counter("postbus.outbox.failures", metric.WithUnit("{failure}"),
		metric.WithDescription("Steps of the relay that failed and are tried again."))
	errs[5] = observeLag(meter, r, m)
	return m, errors.Join(errs[:]...)
}

// observeLag reports from the process that holds the lock only.
func observeLag(meter metric.Meter, r *Relay, m *relayMetrics) error {
	rows, err1 := meter.Int64ObservableGauge("postbus.outbox.lag.rows", metric.WithUnit("{event}"),
		metric.WithDescription("Events not yet on their stream, counted up to 10,000."))
	age, err2 := meter.Float64ObservableGauge("postbus.outbox.lag.age", metric.WithUnit("s"),
		metric.WithDescription("Age of the oldest event not yet on its stream."))
	_, err3 := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		if !r.holding.Load() {
			return nil
		}
		for _, s := range r.streams {
			o.ObserveInt64(rows, s.lagRows.Load(), m.attrs[s.name])
			o.ObserveFloat64(age, float64(s.lagAge.Load())/1000, m.attrs[s.name])
		}
		return nil
	}, rows, age)
	return errors.Join(err1, err2, err3)
}

func (m *relayMetrics) sent(ctx context.Context, stream string, n int) {
	m.sentEvents.Add(ctx, int64(n), m.attrs[stream])
	m.batchSize.Record(ctx, int64(n), m.attrs[stream])
}

func (m *relayMetrics) skipped(ctx context.Context, stream string, n int) {
	if n > 0 {
		m.skippedEvents.Add(ctx, int64(n), m.attrs[stream])
	}
}

func (m *relayMetrics) refused(ctx context.Context, stream string) {
	m.refusedBatch.Add(ctx, 1, m.attrs[stream])
}

func (m *relayMetrics) failed(ctx context.Context, stream string) {
	m.failures.Add(ctx, 1, m.attrs[stream])
}
