package httpapi

import (
	"context"
	"fmt"
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

// Tell sets the header fields of the answer.
func (l RateLimit) Tell(ctx context.Context) {
	h := Header(ctx)
	h.Set("RateLimit-Policy", fmt.Sprintf("%q;q=%d;w=%d", l.Policy, l.Quota, wholeSeconds(l.Window)))
	h.Set("RateLimit", fmt.Sprintf("%q;r=%d;t=%d", l.Policy, max(l.Remaining, 0), wholeSeconds(max(l.Reset, 0))))
}

// Exceeded is the error for a caller who is over the limit.
func (l RateLimit) Exceeded() *Error {
	return &Error{
		Code:       CodeRateLimitExceeded,
		Message:    fmt.Sprintf("more than %d requests in %s", l.Quota, l.Window),
		RetryAfter: max(l.Reset, time.Second),
	}
}
