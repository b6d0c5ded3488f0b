package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

// What a failed publish means. Test with errors.Is; the text has the details.
var (
	// ErrBatchDuplicate: the stream knows the Nats-Msg-Id of at least one event of
	// the batch and refused the whole. Nothing of the batch was stored now. Send
	// its events one by one; PublishOne tells which are there.
	ErrBatchDuplicate = errors.New("the stream already has an event of the batch")
	// ErrNotSent: there is no connection, or no stream takes the subject. Nothing
	// was stored. Try again later.
	ErrNotSent = errors.New("not sent")
	// ErrRefused: the server answered that it does not store it, for example
	// because the stream is full. A *RefusedError tells the code.
	ErrRefused = errors.New("refused by the server")
	// ErrTooLarge: an event exceeds what the server takes in one message. It never
	// will. Nothing was stored.
	ErrTooLarge = errors.New("event exceeds the server's max_payload")
	// ErrUnclear: no answer came. It may be stored or not; IDsAfter tells. A publish
	// that the server refuses by its rights looks the same to the sender, since the
	// refusal is only told aside; the text then names it.
	ErrUnclear = errors.New("unclear whether it is stored")
)

// RefusedError is the server's answer to a publish that it did not store. It is
// ErrRefused.
type RefusedError struct {
	Code        int // of the NATS API, such as 10077 for a full stream
	Description string
}

// Error is the server's text and code.
func (e *RefusedError) Error() string { return fmt.Sprintf("%s (%d)", e.Description, e.Code) }

// Is makes every RefusedError an ErrRefused.
func (e *RefusedError) Is(target error) bool { return target == ErrRefused }

// Full is whether the stream has no room, which passes when it is made larger or
// old events age out.
func (e *RefusedError) Full() bool { return e.Code == codeStreamFull || e.Code == codeNoResources }

// Codes of the NATS API that jetstream has no names for.
const (
	codeStreamFull  = 10077 // stream store failed: maximum bytes exceeded
	codeNoResources = 10023
)

// EventError tells which event of a batch cannot be sent at all. Nothing of the
// batch was sent.
type EventError struct {
	Index int   // in the batch
	Err   error // ErrTooLarge, or an *events.MalformedError
}

// Error is the reason and the place.
func (e *EventError) Error() string { return fmt.Sprintf("event %d of the batch: %v", e.Index, e.Err) }

// Unwrap is the reason.
func (e *EventError) Unwrap() error { return e.Err }

// publishError gives a failed publish its class.
func publishError(err error) error {
	var api *jetstream.APIError
	var legacy *nats.APIError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &api):
		return apiError(int(api.ErrorCode), api.Description)
	case errors.As(err, &legacy):
		return apiError(int(legacy.ErrorCode), legacy.Description)
	case errors.Is(err, nats.ErrMaxPayload):
		return ErrTooLarge
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrNoStreamResponse),
		errors.Is(err, nats.ErrNoStreamResponse), errors.Is(err, nats.ErrReconnectBufExceeded),
		errors.Is(err, errDisconnected):
		return fmt.Errorf("%w: %w", ErrNotSent, err)
	default:
		return fmt.Errorf("%w: %w", ErrUnclear, err)
	}
}

func apiError(code int, description string) error {
	refused := &RefusedError{Code: code, Description: description}
	if code == int(jetstreamext.JSErrCodeBatchPublishDuplicateMsgID) {
		return fmt.Errorf("%w: %w", ErrBatchDuplicate, refused)
	}
	return refused
}

var errDisconnected = errors.New("no connection to NATS")

// errorType is the class of a publish error as spans and metrics name it.
func errorType(err error) string {
	switch {
	case errors.Is(err, ErrBatchDuplicate):
		return "duplicate"
	case errors.Is(err, ErrNotSent):
		return "not_sent"
	case errors.Is(err, ErrRefused):
		return "refused"
	case errors.Is(err, ErrTooLarge):
		return "too_large"
	case errors.Is(err, context.Canceled):
		return "canceled"
	default:
		return "unclear"
	}
}
