package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// spans keeps the newest spans in memory, for the waterfall.
type spans struct {
	mu   sync.Mutex
	kept []sdktrace.ReadOnlySpan
}

const keepSpans = 5_000

func newSpans() *spans { return &spans{} }

// ExportSpans keeps spans.
func (s *spans) ExportSpans(_ context.Context, more []sdktrace.ReadOnlySpan) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = append(s.kept, more...)
	if extra := len(s.kept) - keepSpans; extra > 0 {
		s.kept = slices.Delete(s.kept, 0, extra)
	}
	return nil
}

// Shutdown does nothing.
func (s *spans) Shutdown(context.Context) error { return nil }

func (s *spans) of(traceID string) []sdktrace.ReadOnlySpan {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []sdktrace.ReadOnlySpan
	for _, sp := range s.kept {
		if sp.SpanContext().TraceID().String() == traceID {
			out = append(out, sp)
		}
	}
	return out
}

// waterfall prints one trace, once it has come to rest.
func (s *system) waterfall(ctx context.Context, traceID string) {
	all := s.spans.of(traceID)
	for range 20 { // the last span ends just after the event is out
		select {
		case <-ctx.Done():
			return
		case <-time.After(100 * time.Millisecond):
		}
		now := s.spans.of(traceID)
		if len(now) == len(all) && len(now) > 0 {
			break
		}
		all = now
	}
	s.say("\n%s", draw(traceID, s.spans.of(traceID)))
}

const barWidth = 40

// draw makes the text of a waterfall: children below their parents, by time.
func draw(traceID string, all []sdktrace.ReadOnlySpan) string {
	if len(all) == 0 {
		return "trace " + traceID + ": no spans (is OTEL_TRACES_SAMPLER set?)"
	}
	children := map[trace.SpanID][]sdktrace.ReadOnlySpan{}
	known := map[trace.SpanID]bool{}
	begin, end := all[0].StartTime(), all[0].EndTime()
	for _, sp := range all {
		known[sp.SpanContext().SpanID()] = true
		if sp.StartTime().Before(begin) {
			begin = sp.StartTime()
		}
		if sp.EndTime().After(end) {
			end = sp.EndTime()
		}
	}
	for _, sp := range all {
		parent := sp.Parent().SpanID()
		if !known[parent] {
			parent = trace.SpanID{}
		}
		children[parent] = append(children[parent], sp)
	}
	total := max(end.Sub(begin), time.Microsecond)
	var b strings.Builder
	fmt.Fprintf(&b, "trace %s: %d spans, %s\n", traceID, len(all), total.Round(time.Millisecond))
	var walk func(id trace.SpanID, depth int)
	walk = func(id trace.SpanID, depth int) {
		list := children[id]
		slices.SortFunc(list, func(x, y sdktrace.ReadOnlySpan) int {
			return cmp.Or(x.StartTime().Compare(y.StartTime()), cmp.Compare(x.Name(), y.Name()))
		})
		for _, sp := range list {
			b.WriteString(row(sp, depth, begin, total))
			walk(sp.SpanContext().SpanID(), depth+1)
		}
	}
	walk(trace.SpanID{}, 0)
	return strings.TrimRight(b.String(), "\n")
}

func row(sp sdktrace.ReadOnlySpan, depth int, begin time.Time, total time.Duration) string {
	at := func(t time.Time) int { return int(float64(barWidth) * float64(t.Sub(begin)) / float64(total)) }
	from := min(at(sp.StartTime()), barWidth-1)
	to := min(max(at(sp.EndTime()), from+1), barWidth)
	bar := strings.Repeat(" ", from) + strings.Repeat("#", to-from) + strings.Repeat(" ", barWidth-to)
	name := strings.Repeat("  ", depth) + sp.Name()
	took := sp.EndTime().Sub(sp.StartTime())
	return fmt.Sprintf("  %-52.52s |%s| %7.1f ms +%.0f ms\n", name, bar, float64(took.Microseconds())/1000, float64(sp.StartTime().Sub(begin).Milliseconds()))
}
