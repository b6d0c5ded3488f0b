package reddit

import (
	"errors"
	"time"

	"postbus.dev/services/connectors/sandbox/stage"
)

// Behavior is how the stand-in behaves where no fault is set. Times are the
// provider's: the sandbox's factor scales them.
type Behavior struct {
	AccessLife stage.Duration `json:"accessLife"`
	// Calls are how many API calls a client has in ten minutes, over all accounts.
	Calls int `json:"calls"`
	// Alternate draws between the answers that were seen: a refresh with the refresh
	// token, with another one that is good too, or without; a bad one refused with
	// and without a message; a revocation answered 200 and 204.
	Alternate bool `json:"alternate"`
	// Strict refuses parameters that a call does not have, and User-Agents that do
	// not say who calls.
	Strict bool `json:"strict"`
}

// Faithful behaves as Reddit's help pages and recordings say.
func Faithful() Behavior { return Behavior{AccessLife: stage.Duration(24 * time.Hour), Calls: 1000} }

// Hostile behaves so too, in every way that was seen by turns.
func Hostile() Behavior {
	b := Faithful()
	b.Alternate, b.Strict = true, true
	return b
}

// For returns Hostile or Faithful.
func For(hostile bool) Behavior {
	if hostile {
		return Hostile()
	}
	return Faithful()
}

// Check says what makes no sense.
func (b Behavior) Check() error {
	if b.AccessLife <= 0 || b.Calls <= 0 {
		return errors.New("access tokens need a life, and a client needs calls")
	}
	return nil
}
