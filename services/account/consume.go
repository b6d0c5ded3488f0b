package account

import (
	"context"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"

	"postbus.dev/events"
	"postbus.dev/services/internal/bus"
)

// handle stores what the consumer brings: that an account's publishes have ended.
// The job does the rest.
func (p *program) handle(ctx context.Context, e event.Event) error {
	var d events.AccountDrained
	if err := events.DecodeData(e, &d); err != nil {
		return bus.Reject("invalid data", err)
	}
	id, err := uuid.Parse(d.AccountID)
	if err != nil {
		return bus.Reject("names no account", err)
	}
	version, ok := events.Sequence(e)
	if !ok {
		return bus.Reject("has no sequence that tells which disconnecting it answers", nil)
	}
	if err := p.accounts.Drained(ctx, id, version); err != nil {
		return err
	}
	p.job.Poke()
	return nil
}
