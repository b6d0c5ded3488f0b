package telemetry

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"

	"go.opentelemetry.io/otel/trace"
)

// newLogger writes one JSON object a line, from POSTBUS_LOG_LEVEL upward.
func newLogger(cfg Config) (*slog.Logger, error) {
	getenv := cfg.Getenv
	if getenv == nil {
		getenv = os.Getenv
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(cmp.Or(getenv("POSTBUS_LOG_LEVEL"), "info"))); err != nil {
		return nil, fmt.Errorf("read POSTBUS_LOG_LEVEL: want debug, info, warn or error: %w", err)
	}
	var w io.Writer = os.Stdout
	if cfg.LogWriter != nil {
		w = cfg.LogWriter
	}
	root := slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: readable}).
		WithAttrs([]slog.Attr{slog.String("service", cfg.Service)})
	return slog.New(logHandler{root: root, here: root}), nil
}

// readable writes durations with their unit: slog's own are nanoseconds that do
// not say so.
func readable(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

// logHandler adds the ids of the context's span to each line.
type logHandler struct {
	root  slog.Handler // without what With and WithGroup added
	here  slog.Handler
	since []func(slog.Handler) slog.Handler // what leads from root to here, once a group is open
	group bool
}

// Enabled implements slog.Handler.
func (h logHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.here.Enabled(ctx, level)
}

// Handle implements slog.Handler. Where a group is open, an attribute of the
// record would end up inside it, so the ids go below the group and what was
// added since is added again.
func (h logHandler) Handle(ctx context.Context, r slog.Record) error {
	span := trace.SpanContextFromContext(ctx)
	if !span.IsValid() {
		return h.here.Handle(ctx, r)
	}
	ids := []slog.Attr{slog.String("trace_id", span.TraceID().String()), slog.String("span_id", span.SpanID().String())}
	if !h.group {
		r = r.Clone()
		r.AddAttrs(ids...)
		return h.here.Handle(ctx, r)
	}
	next := h.root.WithAttrs(ids)
	for _, add := range h.since {
		next = add(next)
	}
	return next.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.with(func(next slog.Handler) slog.Handler { return next.WithAttrs(attrs) })
}

// WithGroup implements slog.Handler.
func (h logHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	h.group = true
	return h.with(func(next slog.Handler) slog.Handler { return next.WithGroup(name) })
}

func (h logHandler) with(add func(slog.Handler) slog.Handler) slog.Handler {
	h.here = add(h.here)
	if !h.group { // attributes of no group stay valid below one
		h.root = h.here
		return h
	}
	h.since = append(h.since[:len(h.since):len(h.since)], add)
	return h
}
