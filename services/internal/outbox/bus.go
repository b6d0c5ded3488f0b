package outbox

import (
	"context"

	"github.com/cloudevents/sdk-go/v2/event"
)

// Bus is what the relay needs of the bus.
type Bus interface {
	// PublishBatch stores evs in this stream as one atomic batch, in order, and
	// returns the sequence of the last one. With an error, all or none may be
	// stored.
	PublishBatch(ctx context.Context, stream string, evs []event.Event) (lastSeq uint64, err error)

	// PublishOne stores one event and returns its sequence. A duplicate is one
	// that the stream held already; seq is then that of the one it holds.
	PublishOne(ctx context.Context, e event.Event) (seq uint64, duplicate bool, err error)

	// IDsAfter returns the Nats-Msg-Id of every event that the stream holds
	// after seq, with its sequence, and up to where it read: to the end as it
	// was at the call. A stream that never reached seq is another one than seq
	// was taken from, and is read from its beginning.
	IDsAfter(ctx context.Context, stream string, seq uint64) (ids map[string]uint64, last uint64, err error)

	// Poke sends a message that nobody stores, OnPoke receives those sent while
	// it is subscribed.
	Poke(subject string, payload []byte) error
	OnPoke(subject string, f func([]byte)) (stop func(), err error)
}
