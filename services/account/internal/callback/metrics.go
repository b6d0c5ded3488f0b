package callback

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

type metrics struct{ received metric.Int64Counter }

func newMetrics(p metric.MeterProvider) (*metrics, error) {
	c, err := p.Meter("postbus.dev/services/account/callback").Int64Counter("postbus.callback.received",
		metric.WithDescription("calls of providers, by provider, kind and what became of them"))
	return &metrics{received: c}, err
}

// count has no label that came from outside: what is not known is "".
func (m *metrics) count(ctx context.Context, c call, o outcome) {
	m.received.Add(ctx, 1, metric.WithAttributes(
		attribute.String("provider", c.provider), attribute.String("kind", c.kind), attribute.String("outcome", string(o))))
}
