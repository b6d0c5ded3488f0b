package tokenrefresher

import (
	"context"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"

	"postbus.dev/events"
	"postbus.dev/services/internal/bus"
)

// handle takes token.refresh_requested: it stores that it is the account's turn,
// and returns.
func (p *program) handle(ctx context.Context, e event.Event) error {
	if e.Type() != events.TypeTokenRefreshRequested {
		return bus.Reject("no handler for this event type", nil)
	}
	var asked events.TokenRefreshRequested
	if err := events.DecodeData(e, &asked); err != nil {
		return bus.Reject("invalid data", err)
	}
	account, err := uuid.Parse(asked.AccountID)
	if err != nil {
		return bus.Reject("names no account", err)
	}
	return p.runner.Request(ctx, account, asked.TokenVersion)
}
