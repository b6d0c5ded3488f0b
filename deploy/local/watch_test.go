package main

import (
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"postbus.dev/events"
)

func TestAPublishThatHadToWaitIsShownWithItsTrace(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	s := &system{out: &out, spans: newSpans()}
	traceID := trace.TraceID{7}
	id := func(n byte) trace.SpanContext {
		return trace.NewSpanContext(trace.SpanContextConfig{TraceID: traceID, SpanID: trace.SpanID{n}})
	}
	_ = s.spans.ExportSpans(t.Context(), tracetest.SpanStubs{
		{Name: "finish", SpanContext: id(1)}, {Name: "send " + events.TypePublishCompleted, SpanContext: id(2), Parent: id(1)},
	}.Snapshots())
	of := func(publish string, d events.Data) event.Event {
		e, err := events.New(events.Meta{Source: "/test", Subject: publish, TraceParent: "00-" + traceID.String() + "-0100000000000000-01"}, d)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	link := "https://www.instagram.com/p/x"
	ref := events.PublishRef{PublishID: "8da3ae78-fd90-88ad-b0f4-763a733ca849", RequestSource: "/me", RequestID: "1", AccountID: "0192f0c4-5b1e-7c3a-9a7e-3f1f6d2b8c11", Provider: "instagram"}
	now := time.Now()
	done := events.PublishCompleted{
		PublishRef: ref, MediaType: events.MediaImage, Permalink: &link, PublishedAt: now, Attempts: 1,
		Timings: events.Timings{AcceptedAt: now, DueAt: now, ArmedAt: now, CompletedAt: now},
	}
	waited := map[string]bool{}
	s.watched(t.Context(), of("quick", done), waited)
	if out.Len() > 0 {
		t.Errorf("told of one that did not wait: %s", out.String())
	}
	s.watched(t.Context(), of("wrong", events.PublishFailed{PublishRef: ref, Code: "VALIDATION_ERROR", Message: "/mediaType: is missing"}), waited)
	s.watched(t.Context(), of("slow", events.PublishDelayed{PublishRef: ref, Reason: "token", Until: now}), waited)
	s.watched(t.Context(), of("slow", done), waited)
	for _, want := range []string{"publish.failed     wrong: VALIDATION_ERROR: /mediaType: is missing", "publish.delayed    slow: token until", "publish.completed  slow: " + link, "trace " + traceID.String() + ": 2 spans"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not told in\n%s", want, out.String())
		}
	}
	if len(waited) > 0 {
		t.Errorf("kept %v", waited)
	}
}
