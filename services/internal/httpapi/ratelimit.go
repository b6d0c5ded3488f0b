package httpapi

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// RateLimit is what a caller may still do, as the RateLimit header fields tell
// it (draft-ietf-httpapi-ratelimit-headers-11).
type RateLimit struct {
	Policy    string // its name
	Quota     int64  // requests a window
	Window    time.Duration
	Remaining int64
	Reset     time.Duration // until there is more than Remaining
}

// Tell sets the header fields of the answer to this limit alone.
func (l RateLimit) Tell(ctx context.Context) { tell(ctx, []RateLimit{l}) }

func tell(ctx context.Context, limits []RateLimit) {
	policies, states := make([]string, len(limits)), make([]string, len(limits))
	for i, l := range limits {
		policies[i] = fmt.Sprintf("%q;q=%d;w=%d", l.Policy, l.Quota, wholeSeconds(l.Window))
		states[i] = fmt.Sprintf("%q;r=%d;t=%d", l.Policy, max(l.Remaining, 0), wholeSeconds(max(l.Reset, 0)))
	}
	h := Header(ctx)
	h.Set("RateLimit-Policy", strings.Join(policies, ", "))
	h.Set("RateLimit", strings.Join(states, ", "))
}

// Exceeded is the error for a caller who is over the limit.
func (l RateLimit) Exceeded() *Error {
	return &Error{
		Code:       CodeRateLimitExceeded,
		Message:    fmt.Sprintf("more than %d requests in %s", l.Quota, l.Window),
		RetryAfter: max(l.Reset, time.Second),
	}
}
