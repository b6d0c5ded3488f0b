package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"postbus.dev/events"
)

// restWait is how long the waterfall waits for the spans that end just after
// the event is out.
const restWait = 2 * time.Second

// waterfall prints one trace, once its last span has ended.
func (s *system) waterfall(ctx context.Context, traceID string) {
	for deadline := time.Now().Add(restWait); time.Now().Before(deadline) && !finished(s.spans.of(traceID)); {
		select {
		case <-ctx.Done():
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
	s.say("\n%s", draw(traceID, s.spans.of(traceID)))
}

// finished tells whether the event that ends the publish was sent and the span
// that it was sent within has ended.
func finished(all []sdktrace.ReadOnlySpan) bool {
	known := map[trace.SpanID]bool{}
	for _, sp := range all {
		known[sp.SpanContext().SpanID()] = true
	}
	return slices.ContainsFunc(all, func(sp sdktrace.ReadOnlySpan) bool {
		return (sp.Name() == "send "+events.TypePublishCompleted || sp.Name() == "send "+events.TypePublishFailed) && known[sp.Parent().SpanID()]
	})
}

const barWidth = 24

// line is a span in its place.
type line struct {
	span  sdktrace.ReadOnlySpan
	depth int
}

// draw makes the text of a waterfall: children below their parents, by time.
func draw(traceID string, all []sdktrace.ReadOnlySpan) string {
	if len(all) == 0 {
		return "trace " + traceID + " has no spans (what is OTEL_TRACES_SAMPLER set to?)\n"
	}
	begin := slices.MinFunc(all, func(x, y sdktrace.ReadOnlySpan) int { return x.StartTime().Compare(y.StartTime()) }).StartTime()
	end := slices.MaxFunc(all, func(x, y sdktrace.ReadOnlySpan) int { return x.EndTime().Compare(y.EndTime()) }).EndTime()
	total := max(end.Sub(begin), time.Microsecond)
	lines := inOrder(all)
	width, who := 0, 0
	for _, l := range lines {
		width, who = max(width, utf8.RuneCountInString(l.label())), max(who, len(service(l.span)))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "trace %s: %d spans, %s\n\n", traceID, len(all), total.Round(time.Millisecond))
	for _, l := range lines {
		fmt.Fprintf(&b, "  %-*s  %-8s  %-*s  |%s|  %s\n", who, service(l.span), l.span.SpanKind(), width, l.label(), l.bar(begin, total), l.took())
	}
	return b.String()
}

// inOrder walks the tree. A span whose parent is not there stands at the top.
func inOrder(all []sdktrace.ReadOnlySpan) (out []line) {
	known := map[trace.SpanID]bool{}
	for _, sp := range all {
		known[sp.SpanContext().SpanID()] = true
	}
	children := map[trace.SpanID][]sdktrace.ReadOnlySpan{}
	for _, sp := range all {
		parent := sp.Parent().SpanID()
		if !known[parent] {
			parent = trace.SpanID{}
		}
		children[parent] = append(children[parent], sp)
	}
	var walk func(parent trace.SpanID, depth int)
	walk = func(parent trace.SpanID, depth int) {
		list := children[parent]
		slices.SortStableFunc(list, func(x, y sdktrace.ReadOnlySpan) int {
			return cmp.Or(x.StartTime().Compare(y.StartTime()), cmp.Compare(x.Name(), y.Name()))
		})
		for _, sp := range list {
			out = append(out, line{sp, depth})
			walk(sp.SpanContext().SpanID(), depth+1)
		}
	}
	walk(trace.SpanID{}, 0)
	return out
}

// label is the name below the parent's, and the status of an HTTP call.
func (l line) label() string {
	label := strings.Repeat("  ", l.depth) + l.span.Name()
	for _, a := range l.span.Attributes() {
		if a.Key == "http.response.status_code" {
			label += " " + a.Value.String()
		}
	}
	return label
}

func (l line) bar(begin time.Time, total time.Duration) string {
	at := func(t time.Time) int { return int(float64(barWidth) * float64(t.Sub(begin)) / float64(total)) }
	from := min(at(l.span.StartTime()), barWidth-1)
	to := min(max(at(l.span.EndTime()), from+1), barWidth)
	return strings.Repeat(" ", from) + strings.Repeat("=", to-from) + strings.Repeat(" ", barWidth-to)
}

func (l line) took() string {
	text := fmt.Sprintf("%7.1f ms", float64(l.span.EndTime().Sub(l.span.StartTime()).Microseconds())/1000)
	if l.span.Status().Code == codes.Error {
		text = strings.TrimSuffix(text+"  error: "+l.span.Status().Description, ": ")
	}
	return text
}

func service(sp sdktrace.ReadOnlySpan) string {
	if v, ok := sp.Resource().Set().Value("service.name"); ok {
		return v.String()
	}
	return ""
}
