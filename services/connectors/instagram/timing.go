package instagram

import (
	"time"

	"postbus.dev/services/connectors"
)

const (
	day = 24 * time.Hour

	// freshFor is how long a container is used. It expires after 24 h.
	freshFor = 23 * time.Hour

	// processing is how long Instagram may go on working on a media_publish
	// that it has read: nothing is documented, two minutes are what its users see.
	processing = 2 * time.Minute

	// quotaGood is how long a read of the quota is believed; media_publish
	// enforces it in any case.
	quotaGood = 10 * time.Minute
	// quotaWait is when a used up quota is looked at again. The window moves, so
	// it frees post by post.
	quotaWait = 15 * time.Minute

	// limitWait is how long a rate limit rests when the answer names no time:
	// calls made while throttled extend the block.
	limitWait = time.Hour
	// blockWait is how long an anti-spam or policy block rests.
	blockWait = 6 * time.Hour

	notReadyWait = 10 * time.Second

	// longLife is how long a token is good, unless the answer says otherwise.
	longLife = 60 * day
	// refreshAge is how old a token has to be before it is refreshed: Business
	// Login says 24 hours, and the clocks are two.
	refreshAge = 25 * time.Hour
	// refreshAhead is how long before its end a token is refreshed. One that is
	// not refreshed by then is dead for ever.
	refreshAhead = 10 * day

	// skew is how far the database's clock may be ahead of Instagram's.
	skew = 30 * time.Second
	// leastSkew is what truncating a timestamp to the second takes, unscaled.
	leastSkew = 1500 * time.Millisecond

	// looksForID is how often the media id of a PUBLISHED container is looked
	// for, because lists lag, before the post is reported without one.
	looksForID = 6
	// listPages is how many pages of 25 one look reads.
	listPages = 40
)

// Timing states the production times, scaled by the configured factor. Commit
// covers what media_publish takes to be sent; Settle is TCP_USER_TIMEOUT,
// Instagram's processing and ten seconds more.
func (c *Connector) Timing(p connectors.Post) connectors.Timing {
	const userTimeout = 20 * time.Second
	t := connectors.Timing{
		Lead:      2 * time.Minute,
		Commit:    30 * time.Second,
		UserTO:    userTimeout,
		Settle:    userTimeout + processing + 10*time.Second,
		Look:      30 * time.Second,
		Window:    10 * time.Minute,
		Confirm:   day,
		Watch:     []time.Duration{5 * time.Minute, 15 * time.Minute, time.Hour, day, day, day, day, day, day, day},
		Backoff:   5 * time.Second,
		BackoffTo: 15 * time.Minute,
	}
	o, _ := c.parseOptions(p)
	if hasVideo(p, o) {
		t.Lead = 15 * time.Minute
	}
	return t.Scale(c.factor)
}

// hasVideo says whether Instagram has to process a video for the post. A story
// of which that cannot be told counts as one.
func hasVideo(p connectors.Post, o options) bool {
	switch p.MediaType {
	case connectors.Video:
		return true
	case connectors.Story:
		return storyKind(p, o.StoryType) != storyImage
	case connectors.Carousel:
		for _, child := range p.Children {
			if child.MediaType == connectors.Video {
				return true
			}
		}
	}
	return false
}

// pollWait is how long to wait before the next read of a container's status.
// Meta advises once a minute; images are ready within seconds, so it begins
// shorter and grows by half each time.
func (c *Connector) pollWait(video bool, polls int) time.Duration {
	wait, limit := 2*time.Second, 30*time.Second
	if video {
		wait, limit = 5*time.Second, time.Minute
	}
	for range polls {
		wait = min(wait+wait/2, limit)
	}
	return c.scale(wait)
}

// stuckAfter is when a container that is still IN_PROGRESS is given up.
func (c *Connector) stuckAfter(video bool) time.Duration {
	if video {
		return c.scale(2 * time.Hour)
	}
	return c.scale(30 * time.Minute)
}

// restartWait is how long to wait before the n-th new container, from 1.
func (c *Connector) restartWait(n int) time.Duration {
	wait := 30 * time.Second
	for range n - 1 {
		wait = min(2*wait, 15*time.Minute)
	}
	return c.scale(wait)
}

// absenceWait is how long to wait before committing again a post that was
// proven absent n times: at once the first time, since an answer that was lost
// on the way is the likely cause; then longer, since it is not.
func (c *Connector) absenceWait(n int) time.Duration {
	waits := []time.Duration{0, 5 * time.Minute, 15 * time.Minute, time.Hour}
	return c.scale(waits[min(n, len(waits))-1])
}

func (c *Connector) skew() time.Duration { return max(c.scale(skew), leastSkew) }
