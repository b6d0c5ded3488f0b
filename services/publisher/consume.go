package publisher

import (
	"context"
	"errors"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"

	"postbus.dev/events"
	"postbus.dev/services/internal/bus"
	"postbus.dev/services/internal/process"
	"postbus.dev/services/publisher/internal/publish"
)

// stores gives a handler its runner.
func stores(r *publish.Runner, handle func(context.Context, *publish.Runner, event.Event) error) func(context.Context, event.Event) error {
	return process.Stores(func(ctx context.Context, e event.Event) error { return handle(ctx, r, e) })
}

// handle takes requests, and what concerns one publish.
func handle(ctx context.Context, r *publish.Runner, e event.Event) error {
	switch e.Type() {
	case events.TypePublishRequested:
		_, err := r.Accept(ctx, publish.Request{Source: e.Source(), ID: e.ID(), Data: e.Data()})
		return err
	case events.TypePublishCancelRequested:
		return cancel(ctx, r, e)
	case events.TypePublishProviderNotified:
		return notified(ctx, r, e)
	default:
		return errNoHandler
	}
}

var errNoHandler = bus.Reject("no handler for this event type", nil)

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

func notified(ctx context.Context, r *publish.Runner, e event.Event) error {
	var n events.PublishProviderNotified
	if err := events.DecodeData(e, &n); err != nil {
		return bus.Reject("invalid data", err)
	}
	account, err := uuid.Parse(n.AccountID)
	if err != nil {
		return bus.Reject("names no account", err)
	}
	return r.Notified(ctx, account, n.Handle)
}

// handleAccount takes what is told of accounts.
func handleAccount(ctx context.Context, r *publish.Runner, e event.Event) error {
	var disconnecting events.AccountDisconnecting
	var connected events.AccountConnected
	var recovered events.AccountRecovered
	var refreshed events.TokenRefreshed
	switch e.Type() {
	case events.TypeAccountDisconnecting:
		return about(ctx, e, &disconnecting, &disconnecting.AccountRef, func(ctx context.Context, account uuid.UUID, version int64) error {
			return r.Disconnecting(ctx, account, version, e)
		})
	case events.TypeAccountConnected:
		return about(ctx, e, &connected, &connected.AccountRef, r.Connected)
	case events.TypeAccountRecovered:
		return about(ctx, e, &recovered, &recovered.AccountRef, r.Changed)
	case events.TypeTokenRefreshed:
		return about(ctx, e, &refreshed, &refreshed.AccountRef, r.Changed)
	default:
		return errNoHandler
	}
}

// about decodes e into data, of which ref is part, and calls store with the
// account and the version of it that e is of.
func about(ctx context.Context, e event.Event, data events.Data, ref *events.AccountRef, store func(ctx context.Context, account uuid.UUID, version int64) error) error {
	if err := events.DecodeData(e, data); err != nil {
		return bus.Reject("invalid data", err)
	}
	account, err := uuid.Parse(ref.AccountID)
	if err != nil {
		return bus.Reject("names no account", err)
	}
	version, ok := events.Sequence(e)
	if !ok {
		return bus.Reject("has no sequence that tells what it comes after", nil)
	}
	return store(ctx, account, version)
}
