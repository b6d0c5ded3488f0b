package publish

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/metric"
)

type metrics struct {
	meter                         metric.Meter
	accepted, repeated, differing metric.Int64Counter
	ended, lost, late             metric.Int64Counter
	taken, refused                metric.Int64Counter
	inMemory, lanes               metric.Int64ObservableGauge
}

func newMetrics(p metric.MeterProvider) (*metrics, error) {
	m := &metrics{meter: p.Meter("postbus.dev/services/publisher")}
	var errs []error
	counter := func(name, text string) metric.Int64Counter {
		c, err := m.meter.Int64Counter(name, metric.WithDescription(text))
		errs = append(errs, err)
		return c
	}
	gauge := func(name, text string) metric.Int64ObservableGauge {
		g, err := m.meter.Int64ObservableGauge(name, metric.WithDescription(text))
		errs = append(errs, err)
		return g
	}
	m.accepted = counter("postbus.publish.accepted", "requests stored, by whether they were valid")
	m.repeated = counter("postbus.publish.repeated", "requests that were known already")
	m.differing = counter("postbus.publish.repeated_differently", "repeats whose data differ from the stored request; ignored")
	m.ended = counter("postbus.publish.ended", "publishes that ended, by provider and state")
	m.lost = counter("postbus.publish.lanes_lost", "lanes whose lease was lost while held")
	m.late = counter("postbus.publish.late_answers", "answers of a provider that came after their publish was settled; should stay 0")
	m.taken = counter("postbus.publish.remote_taken", "remote posts that two publishes claimed; should stay 0")
	m.refused = counter("postbus.publish.refused", "what the database refused to store of a publish, by provider and the state it was to bring; should stay 0")
	m.inMemory = gauge("postbus.publish.in_memory", "publishes held in memory")
	m.lanes = gauge("postbus.publish.lanes", "lanes held")
	return m, errors.Join(errs...)
}

// observe reports the runner's state at each collection.
func (m *metrics) observe(r *Runner) error {
	_, err := m.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		o.ObserveInt64(m.inMemory, r.held.Load())
		r.mu.Lock()
		defer r.mu.Unlock()
		o.ObserveInt64(m.lanes, int64(len(r.lanes)))
		return nil
	}, m.inMemory, m.lanes)
	return err
}
