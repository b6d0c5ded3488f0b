package main

import (
	"context"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"

	"postbus.dev/events"
)

// watch tells of each publish that has to wait, and at its end shows by its trace
// what took so long, until ctx ends.
func (s *system) watch(ctx context.Context, heard <-chan event.Event) {
	waited := map[string]bool{}
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-heard:
			s.watched(ctx, e, waited)
		}
	}
}

func (s *system) watched(ctx context.Context, e event.Event, waited map[string]bool) {
	switch e.Type() {
	case events.TypePublishDelayed:
		waited[e.Subject()] = true
		s.say("\n%-17s  %s: %s", e.Type(), e.Subject(), about(e))
	case events.TypePublishCompleted, events.TypePublishFailed, events.TypePublishCanceled:
		if !waited[e.Subject()] {
			return
		}
		delete(waited, e.Subject())
		s.say("\n%-17s  %s: %s", e.Type(), e.Subject(), about(e))
		if e.Type() != events.TypePublishCanceled {
			s.waterfall(ctx, traceOf(e))
		}
	}
}

// traceOf is the second part of an event's traceparent.
func traceOf(e event.Event) string {
	parent, _ := e.Extensions()[events.ExtTraceParent].(string)
	if parts := strings.Split(parent, "-"); len(parts) == 4 {
		return parts[1]
	}
	return ""
}
