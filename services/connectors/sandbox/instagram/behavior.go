package instagram

import (
	"errors"
	"time"

	"postbus.dev/services/connectors/sandbox/stage"
)

// Behavior is how the stand-in behaves where no fault is set. Times are the
// provider's: the sandbox's factor scales them.
type Behavior struct {
	// Strict refuses parameters that a call does not have; the provider
	// ignores them.
	Strict bool `json:"strict"`
	// SecondPublish makes a second post when a container is published again;
	// else the second answer is the first one's id. What the provider does is
	// not known.
	SecondPublish bool `json:"secondPublish"`
	// FirstLook answers IN_PROGRESS to the first read of each container.
	FirstLook bool `json:"firstLook"`
	// Alternate switches between the two answer shapes where the provider's
	// pages disagree, and between the two spellings of an expired token.
	Alternate bool `json:"alternate"`
	// PageSize caps the pages of lists, whatever limit asks for; 0 does not.
	PageSize int `json:"pageSize"`
	// Quota is quota_total where an account has none of its own.
	Quota int `json:"quota"`
	// Containers is how many an account may make in a day.
	Containers int `json:"containers"`

	Image   Range `json:"image"`   // until a container with an image, or a carousel, is FINISHED
	Video   Range `json:"video"`   // the same for a video
	Lag     Range `json:"lag"`     // until a post is in the lists
	Publish Range `json:"publish"` // between the call's arrival and the post

	Foreign Foreign `json:"foreign"`
}

// Range is a span of time from which one is drawn.
type Range struct {
	From stage.Duration `json:"from"`
	To   stage.Duration `json:"to"`
}

// Foreign says how often others post the same caption to an account (a person
// in the app, another tool), per publish call.
type Foreign struct {
	Before float64 `json:"before"` // probability of one from before the container was made
	Ago    Range   `json:"ago"`    // how long before, in real time: the provider's timestamps are
	After  float64 `json:"after"`  // probability of one at the publish call or a little later
	Later  Range   `json:"later"`  // how much later
}

func seconds(from, to int) Range {
	return Range{stage.Duration(time.Duration(from) * time.Second), stage.Duration(time.Duration(to) * time.Second)}
}

// Faithful behaves as the documentation says, with the kinder choice where it
// says nothing.
func Faithful() Behavior {
	return Behavior{
		Quota: 100, Containers: 400,
		Image: seconds(1, 5), Video: seconds(10, 60), Publish: seconds(0, 1),
	}
}

// Hostile behaves as documented too, with the worst choice where the
// documentation says nothing.
func Hostile() Behavior {
	b := Faithful()
	b.Strict, b.SecondPublish, b.FirstLook, b.Alternate = true, true, true, true
	b.PageSize = 3
	b.Lag, b.Publish = seconds(0, 30), seconds(0, 2)
	b.Foreign = Foreign{Before: 0.5, Ago: seconds(120, 1800), After: 0.05, Later: seconds(0, 20)}
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
	for _, r := range []Range{b.Image, b.Video, b.Lag, b.Publish, b.Foreign.Ago, b.Foreign.Later} {
		if r.From < 0 || r.To < r.From {
			return errors.New("a range must go from a time to a later one")
		}
	}
	if b.PageSize < 0 || b.Quota <= 0 || b.Containers <= 0 {
		return errors.New("page size cannot be negative, quota and containers must be positive")
	}
	return nil
}

func (ig *Instagram) draw(r Range) time.Duration {
	return ig.st.Between(time.Duration(r.From), time.Duration(r.To))
}

// alternate is every other time true, where the answer shapes alternate.
func (ig *Instagram) alternate() bool {
	return ig.Now().Alternate && ig.turn.Add(1)%2 == 0
}
