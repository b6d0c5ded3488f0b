package connectors

import (
	"context"
	"time"
)

// Window is the time in which an armed call may be sent.
type Window struct {
	// SendBy is on this process's monotonic clock, taken before the arm write
	// was begun: after it no byte of the request is written.
	SendBy time.Time
	// UserTimeout is TCP_USER_TIMEOUT for the connection.
	UserTimeout time.Duration
}

// Arm writes down that a call is about to be made. Client.Commit calls it once,
// after the connection to the provider stands and before the first byte of the
// request. An error means: not armed, do not send.
type Arm func(ctx context.Context) (Window, error)

type armKey struct{}

// WithArm returns a context under which Client.Commit may send one request.
func WithArm(ctx context.Context, arm Arm) context.Context {
	return context.WithValue(ctx, armKey{}, arm)
}

func armFrom(ctx context.Context) (Arm, bool) {
	arm, ok := ctx.Value(armKey{}).(Arm)
	return arm, ok
}
