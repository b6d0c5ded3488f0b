package disconnect

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"postbus.dev/services/internal/oauthaccount"
)

type metrics struct {
	finished, users metric.Int64Counter
	backlog         metric.Int64Gauge
	oldest          metric.Float64Gauge
	measured        time.Time // by the one goroutine that looks
}

func newMetrics(p metric.MeterProvider) (*metrics, error) {
	m, meter := &metrics{}, p.Meter(scope)
	var errs [4]error
	m.finished, errs[0] = meter.Int64Counter("postbus.account.disconnected", metric.WithUnit("{account}"),
		metric.WithDescription("Accounts that were disconnected, by provider, reason and whether they were revoked there."))
	m.users, errs[1] = meter.Int64Counter("postbus.account.users_deleted", metric.WithUnit("{user}"),
		metric.WithDescription("Users who were deleted."))
	m.backlog, errs[2] = meter.Int64Gauge("postbus.account.disconnecting", metric.WithUnit("{account}"),
		metric.WithDescription("Accounts that are being disconnected now, in the whole database."))
	m.oldest, errs[3] = meter.Float64Gauge("postbus.account.disconnecting_oldest", metric.WithUnit("s"),
		metric.WithDescription("For how long the first of them has been; more than the 10 minutes that it may wait is a fault."))
	return m, errors.Join(errs[:]...)
}

func (m *metrics) finish(ctx context.Context, l oauthaccount.Leaving, revoked bool) {
	m.finished.Add(ctx, 1, metric.WithAttributes(
		attribute.String("provider", l.Provider), attribute.String("reason", l.DisconnectReason), attribute.Bool("revoked", revoked),
	))
}

// measureEvery is shorter than the usual 15 s between two readings of metrics.
const measureEvery = 10 * time.Second

func (j *Job) measure(ctx context.Context) error {
	if time.Since(j.metrics.measured) < measureEvery {
		return nil
	}
	b, err := j.cfg.Accounts.Backlog(ctx)
	if err != nil {
		return err
	}
	j.metrics.backlog.Record(ctx, int64(b.Accounts))
	j.metrics.oldest.Record(ctx, b.Oldest.Seconds())
	j.metrics.measured = time.Now()
	return nil
}
