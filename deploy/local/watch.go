package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"

	"postbus.dev/events"
)

// watch tells of each publish that has to wait, and at its end shows by its trace
// what took so long, and of each that comes to nothing, until ctx ends.
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
			if e.Type() == events.TypePublishFailed {
				s.say("\n%-17s  %s: %s", e.Type(), e.Subject(), about(e))
			}
			return
		}
		delete(waited, e.Subject())
		s.say("\n%-17s  %s: %s", e.Type(), e.Subject(), about(e))
		if e.Type() != events.TypePublishCanceled {
			s.waterfall(ctx, traceOf(e))
		}
	}
}

// tellDeadLetters says at once what else only shows in the stream: that
// something was sent which nobody could read.
func (s *system) tellDeadLetters(nc *nats.Conn) error {
	_, err := nc.Subscribe(events.DeadLetterPrefix+">", func(m *nats.Msg) {
		s.say("\n%-17s  %s: %s", "dead letter", strings.TrimPrefix(m.Subject, events.DeadLetterPrefix), m.Header.Get("Deadletter-Reason"))
	})
	if err != nil {
		return fmt.Errorf("listen to dead letters: %w", err)
	}
	return nil
}

// traceOf is the second part of an event's traceparent.
func traceOf(e event.Event) string {
	parent, _ := e.Extensions()[events.ExtTraceParent].(string)
	if parts := strings.Split(parent, "-"); len(parts) == 4 {
		return parts[1]
	}
	return ""
}
