package e2e

import (
	"context"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	collectpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// trace are the spans that came of a trace by now, each as service and name, in
// the order of their beginning; one that failed says so.
func (c *collector) trace(id string) (lines []string, err error) {
	var all collectpb.ExportTraceServiceRequest // what came in one piece after the other is one piece
	if err := proto.Unmarshal([]byte(c.text()), &all); err != nil {
		return nil, err
	}
	type begun struct {
		at   uint64
		line string
	}
	var spans []begun
	for _, r := range all.GetResourceSpans() {
		for _, s := range r.GetScopeSpans() {
			for _, span := range s.GetSpans() {
				if hex.EncodeToString(span.GetTraceId()) == id {
					spans = append(spans, begun{span.GetStartTimeUnixNano(), serviceOf(r.GetResource().GetAttributes()) + " " + nameOf(span)})
				}
			}
		}
	}
	slices.SortStableFunc(spans, func(a, b begun) int { return int(int64(a.at) - int64(b.at)) })
	for _, s := range spans {
		lines = append(lines, s.line)
	}
	return lines, nil
}

func serviceOf(attributes []*commonpb.KeyValue) string {
	for _, a := range attributes {
		if a.GetKey() == "service.name" {
			return a.GetValue().GetStringValue()
		}
	}
	return ""
}

func nameOf(s *tracepb.Span) string {
	if s.GetStatus().GetCode() == tracepb.Status_STATUS_CODE_ERROR {
		return s.GetName() + ": error"
	}
	return s.GetName()
}

// traceOf is the trace of a publish.
func (e ends) traceOf(id string) string {
	e.T.Helper()
	var parent string
	if err := e.Pool.QueryRow(context.Background(), `SELECT traceparent FROM publishes WHERE id = $1`, id).Scan(&parent); err != nil {
		e.T.Fatal(err)
	}
	parts := strings.Split(parent, "-")
	if len(parts) != 4 {
		e.T.Fatalf("publish %s has the trace %q", id, parent)
	}
	return parts[1]
}

// shows waits until a trace has spans in this order, others between them.
func (e ends) shows(trace string, want ...string) {
	e.T.Helper()
	var lines []string
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		var err error
		if lines, err = e.spans.trace(trace); err != nil {
			e.T.Fatal(err)
		}
		left := want
		for _, line := range lines {
			if len(left) > 0 && line == left[0] {
				left = left[1:]
			}
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			e.T.Errorf("the trace lacks %q after what comes before it:\n%s", left[0], strings.Join(lines, "\n"))
			return
		}
	}
}
