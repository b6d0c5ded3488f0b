package tiktok

import (
	"errors"
	"time"

	"postbus.dev/services/connectors/sandbox/stage"
)

// Behavior is how the stand-in behaves where no fault is set. Times are the
// provider's: the sandbox's factor scales them.
type Behavior struct {
	AccessLife  stage.Duration `json:"accessLife"`
	RefreshLife stage.Duration `json:"refreshLife"`
	// Restarts makes each refresh begin RefreshLife anew; else the grant ends so
	// long after the consent. Which of them is not documented.
	Restarts bool `json:"restarts"`
	// Forgives takes a spent refresh token once more while nobody has shown a token
	// of the pair that it was spent for: a refresh whose answer was lost can be made
	// again. TikTok documents no such grace.
	Forgives bool `json:"forgives"`
	// Alternate draws between the answer shapes that are documented or seen:
	// flat and within data, errors with their status and with 200, an empty body
	// and an empty object, codes that are encoded once and twice.
	Alternate bool `json:"alternate"`
	// Strict refuses parameters that a call does not have.
	Strict bool `json:"strict"`
}

// Faithful behaves as the documentation says, with the kinder choice where it
// says nothing.
func Faithful() Behavior {
	return Behavior{
		AccessLife: stage.Duration(2 * time.Hour), RefreshLife: stage.Duration(180 * 24 * time.Hour), Restarts: true, Forgives: true,
	}
}

// Hostile behaves as documented too, with the worst choice where the
// documentation says nothing.
func Hostile() Behavior {
	b := Faithful()
	b.Restarts, b.Forgives = false, false
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
	if b.AccessLife <= 0 || b.RefreshLife < b.AccessLife {
		return errors.New("tokens need a life, and refresh tokens one that is as long as that of access tokens")
	}
	return nil
}
