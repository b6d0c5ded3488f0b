package bus

import (
	"errors"
	"fmt"
)

// The limits after which a message goes to the dead letters.
const (
	// MaxFailures is how often a message may fail by itself in one process.
	MaxFailures = 5
	// MaxDeliveries is how often it may be delivered at all, outages excused.
	MaxDeliveries = 50
)

// Reject says that a message can never be handled. It goes to the dead letters
// at once, with the reason (a few words, no payload) and err in its headers.
func Reject(reason string, err error) error {
	return &rejection{reason: reason, err: err}
}

// Unavailable says that something which every message needs is away, such as the
// database. It never counts against the message; pulling stops until one gets
// through. Nil stays nil.
func Unavailable(err error) error {
	if err == nil {
		return nil
	}
	return &unavailability{err: err}
}

type rejection struct {
	reason string
	err    error
}

func (r *rejection) Error() string {
	if r.err == nil {
		return r.reason
	}
	return fmt.Sprintf("%s: %v", r.reason, r.err)
}

func (r *rejection) Unwrap() error { return r.err }

type unavailability struct{ err error }

func (u *unavailability) Error() string { return "unavailable: " + u.err.Error() }
func (u *unavailability) Unwrap() error { return u.err }

// panicked is a handler's panic as an error.
type panicked struct{ value any }

func (p *panicked) Error() string { return fmt.Sprintf("panic: %v", p.value) }

var (
	// errDrained ends handlers that outlive the drain. Their messages go back
	// to the server and nothing is counted.
	errDrained = errors.New("the process stops")
	// errOverdue ends a handler that takes too long. It counts as a failure.
	errOverdue = errors.New("the handler took too long")
	// errNotBuried: a dead letter could not be stored; the message stays.
	errNotBuried = errors.New("store dead letter")
)

// outcome is what became of one handling, as metrics and logs name it.
type outcome string

const (
	outcomeDone        outcome = "done"
	outcomeFailed      outcome = "failed"
	outcomeUnavailable outcome = "unavailable"
	outcomeDead        outcome = "dead_letter"
	outcomeReturned    outcome = "returned" // the process stops, or no dead letter could be stored
)

func outcomeOf(err error) outcome {
	var dead *buried
	var away *unavailability
	switch {
	case err == nil:
		return outcomeDone
	case errors.As(err, &dead):
		return outcomeDead
	case errors.Is(err, errNotBuried), errors.Is(err, errDrained):
		return outcomeReturned
	case errors.As(err, &away):
		return outcomeUnavailable
	default:
		return outcomeFailed
	}
}
