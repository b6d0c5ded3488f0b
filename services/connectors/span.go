package connectors

import (
	"context"
	"net/url"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// startSpan begins the CLIENT span of a call. It leaves out url.full, which the
// semantic conventions ask for: ids of people and tokens stand in it.
func (c *Client) startSpan(ctx context.Context, r Request) (context.Context, trace.Span) {
	attrs := []attribute.KeyValue{
		semconv.HTTPRequestMethodKey.String(r.Method),
		semconv.URLTemplate(r.route()),
		attribute.String("postbus.call", r.Name),
	}
	if u, err := url.Parse(r.URL); err == nil {
		attrs = append(attrs, semconv.ServerAddress(u.Hostname()), semconv.ServerPort(port(u)))
	}
	return c.tracer.Start(ctx, r.Method+" "+r.route(), trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attrs...))
}

func endSpan(span trace.Span, status int, err error) {
	if status > 0 {
		span.SetAttributes(semconv.HTTPResponseStatusCode(status))
	}
	switch {
	case err != nil:
		span.SetAttributes(semconv.ErrorTypeKey.String(AsError(err).Kind.String()))
		span.SetStatus(codes.Error, err.Error())
	case status >= 400:
		span.SetAttributes(semconv.ErrorTypeKey.String(strconv.Itoa(status)))
		span.SetStatus(codes.Error, "")
	}
	span.End()
}

func port(u *url.URL) int {
	if p, err := strconv.Atoi(u.Port()); err == nil {
		return p
	}
	if u.Scheme == "https" {
		return 443
	}
	return 80
}
