package postgres

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
)

type groupMetrics struct {
	size     metric.Int64Histogram
	duration metric.Float64Histogram
	ok       metric.MeasurementOption // made once: a flush allocates no attributes
	failed   metric.MeasurementOption
}

func newGroupMetrics(p metric.MeterProvider, name string) (groupMetrics, error) {
	if p == nil {
		p = noop.NewMeterProvider()
	}
	meter := p.Meter("postbus.dev/services/internal/postgres")
	size, err1 := meter.Int64Histogram("postbus.group.size", metric.WithUnit("{operation}"),
		metric.WithDescription("Operations written in one transaction."),
		metric.WithExplicitBucketBoundaries(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000))
	duration, err2 := meter.Float64Histogram("postbus.group.flush.duration", metric.WithUnit("s"),
		metric.WithDescription("Time of one grouped write, its commit included."),
		metric.WithExplicitBucketBoundaries(.0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30))
	set := func(outcome string) metric.MeasurementOption {
		return metric.WithAttributeSet(attribute.NewSet(attribute.String("group", name), attribute.String("outcome", outcome)))
	}
	return groupMetrics{size: size, duration: duration, ok: set("written"), failed: set("error")}, errors.Join(err1, err2)
}

func (m groupMetrics) record(n int, d time.Duration, err error) {
	o := m.ok
	if err != nil {
		o = m.failed
	}
	m.size.Record(context.Background(), int64(n), o)
	m.duration.Record(context.Background(), d.Seconds(), o)
}
