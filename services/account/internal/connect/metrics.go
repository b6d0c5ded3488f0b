package connect

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

type metrics struct{ begun, ended metric.Int64Counter }

func newMetrics(p metric.MeterProvider) (*metrics, error) {
	meter := p.Meter("postbus.dev/services/account/connect")
	begun, err := meter.Int64Counter("postbus.connect.started", metric.WithDescription("browsers sent to a provider, by provider"))
	ended, endErr := meter.Int64Counter("postbus.connect.ended", metric.WithDescription("ends of connecting, by provider and outcome"))
	return &metrics{begun: begun, ended: ended}, errors.Join(err, endErr)
}

func (m *metrics) start(ctx context.Context, provider string) {
	m.begun.Add(ctx, 1, metric.WithAttributes(attribute.String("provider", provider)))
}

func (m *metrics) end(ctx context.Context, provider string, o outcome) {
	m.ended.Add(ctx, 1, metric.WithAttributes(attribute.String("provider", provider), attribute.String("outcome", string(o))))
}
