package refresh

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// metrics of refreshing. What is due is asked of the database when it is looked at.
type metrics struct {
	finished   metric.Int64Counter
	left       metric.Float64Histogram
	unanswered metric.Int64Counter
	unstored   atomic.Int64
	registered metric.Registration
}

func newMetrics(provider metric.MeterProvider, r *Runner) (*metrics, error) {
	m := &metrics{}
	meter := provider.Meter("postbus.dev/services/token-refresher")
	var errs [8]error
	m.finished, errs[0] = meter.Int64Counter("postbus.refresh.finished", metric.WithDescription("Refreshes and looks at grants, by provider and class of what came of them."))
	m.left, errs[1] = meter.Float64Histogram("postbus.refresh.time_to_expiry", metric.WithUnit("s"),
		metric.WithDescription("What was left of an access token when its successor came; negative: it had expired."),
		metric.WithExplicitBucketBoundaries(-86400, -3600, -60, 0, 60, 600, 1800, 3600, 3*3600, 12*3600, 86400, 5*86400, 20*86400))
	m.unanswered, errs[2] = meter.Int64Counter("postbus.refresh.unanswered", metric.WithDescription(
		"Refresh tokens tried once more after the answer to a call that may have spent them was lost, by what came of it: recovered or doomed."))
	due, err := meter.Int64ObservableGauge("postbus.refresh.due", metric.WithDescription("Accounts whose turn to be refreshed has come and whom nobody works on."))
	errs[3] = err
	overdue, err := meter.Int64ObservableGauge("postbus.refresh.overdue", metric.WithDescription("Of those due, the ones that have waited too long."))
	errs[4] = err
	oldest, err := meter.Float64ObservableGauge("postbus.refresh.oldest", metric.WithUnit("s"), metric.WithDescription("How long the account has waited that is due the longest."))
	errs[5] = err
	unstored, err := meter.Int64ObservableGauge("postbus.refresh.unstored", metric.WithDescription("New tokens of which this process holds the only copy."))
	errs[6] = err
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	m.registered, err = meter.RegisterCallback(func(ctx context.Context, o metric.Observer) error {
		o.ObserveInt64(unstored, m.unstored.Load())
		backlog, err := r.cfg.Store.Due(ctx, r.cfg.Overdue)
		if err != nil {
			return err
		}
		for _, d := range backlog {
			of := metric.WithAttributes(attribute.String("postbus.provider", d.Provider))
			o.ObserveInt64(due, int64(d.Due), of)
			o.ObserveInt64(overdue, int64(d.Overdue), of)
			o.ObserveFloat64(oldest, d.Oldest.Seconds(), of)
		}
		return nil
	}, due, overdue, oldest, unstored)
	return m, err
}

func (m *metrics) close() { _ = m.registered.Unregister() }

// done counts what a turn came to.
func (m *metrics) done(ctx context.Context, t *turn, class string) {
	m.finished.Add(ctx, 1, metric.WithAttributes(attribute.String("postbus.provider", t.d.Provider), attribute.String("postbus.class", class)))
}

func (m *metrics) renewed(ctx context.Context, t *turn) {
	m.done(ctx, t, classRenewed)
	if t.d.ExpiresIn != 0 {
		m.left.Record(ctx, t.d.ExpiresIn.Round(time.Second).Seconds(), metric.WithAttributes(attribute.String("postbus.provider", t.d.Provider)))
	}
	if t.d.Lost {
		m.once(ctx, t, "recovered")
	}
}

// doomed counts an account that was lost to an answer that never came.
func (m *metrics) doomed(ctx context.Context, t *turn) { m.once(ctx, t, "doomed") }

func (m *metrics) once(ctx context.Context, t *turn, outcome string) {
	m.unanswered.Add(ctx, 1, metric.WithAttributes(attribute.String("postbus.provider", t.d.Provider), attribute.String("postbus.outcome", outcome)))
}
