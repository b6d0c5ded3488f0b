package publisher

import (
	"context"
	"errors"

	"github.com/cloudevents/sdk-go/v2/event"

	"postbus.dev/events"
	"postbus.dev/services/internal/bus"
	"postbus.dev/services/internal/postgres"
	"postbus.dev/services/publisher/internal/publish"
)

// handler stores what the consumer brings, and returns.
func handler(r *publish.Runner) func(context.Context, event.Event) error {
	return func(ctx context.Context, e event.Event) error {
		err := handle(ctx, r, e)
		if postgres.IsUnavailable(err) || postgres.IsAmbiguous(err) {
			return bus.Unavailable(err)
		}
		return err
	}
}

func handle(ctx context.Context, r *publish.Runner, e event.Event) error {
	switch e.Type() {
	case events.TypePublishRequested:
		_, err := r.Accept(ctx, publish.Request{Source: e.Source(), ID: e.ID(), Data: e.Data()})
		return err
	case events.TypePublishCancelRequested:
		return cancel(ctx, r, e)
	default:
		return bus.Reject("no handler for this event type", nil)
	}
}

func cancel(ctx context.Context, r *publish.Runner, e event.Event) error {
	var c events.PublishCancelRequested
	if err := events.DecodeData(e, &c); err != nil {
		return bus.Reject("invalid data", err)
	}
	id, err := c.ID()
	if err != nil {
		return bus.Reject("names no publish", err)
	}
	_, _, err = r.Cancel(ctx, id, c.RequestSource, c.RequestID, c.Reason)
	if errors.Is(err, publish.ErrTooLate) {
		return nil // the publish says itself what became of it
	}
	return err
}
