package connectors

import (
	"context"
	"sync/atomic"
	"time"
)

// Window is the time in which an armed call may be sent and answered.
type Window struct {
	// SendBy is on this process's monotonic clock, taken before the arm write
	// was begun: after it no byte of the request is written.
	SendBy time.Time
	// AnswerBy is when waiting for the answer ends and the outcome is unknown.
	// Zero means SendBy + UserTimeout. Until quiet_at nothing else can be done
	// for the account, so waiting up to shortly before it costs nothing.
	AnswerBy time.Time
	// UserTimeout is TCP_USER_TIMEOUT for the connection: how long bytes may
	// stay unacknowledged before the kernel gives up sending them.
	UserTimeout time.Duration
}

// Arm writes down that a call is about to be made. Client.Commit calls it once,
// after the connection to the provider stands and before the first byte of the
// request. An error means: not armed, do not send.
type Arm func(ctx context.Context) (Window, error)

type armKey struct{}

// armed is what a context carries: the hook, and whether it was spent.
type armed struct {
	arm  Arm
	used atomic.Bool
}

// WithArm returns a context under which Client.Commit may send one request.
func WithArm(ctx context.Context, arm Arm) context.Context {
	return context.WithValue(ctx, armKey{}, &armed{arm: arm})
}

// takeArm spends the context's only call.
func takeArm(ctx context.Context) (Arm, *Error) {
	a, ok := ctx.Value(armKey{}).(*armed)
	if !ok {
		return nil, &Error{Kind: KindRetry, Code: CodeInternal, NotSent: true, Message: "commit outside of WithArm"}
	}
	if a.used.Swap(true) {
		// Nothing of this call was sent, but the call before it may have been:
		// the caller is about to report on both with one error.
		return nil, &Error{Kind: KindUnknown, Code: CodeInternal, Message: "second commit in one armed context"}
	}
	return a.arm, nil
}

// SpendArm calls the context's Arm hook and spends it, as Commit does, for a
// provider that lives in memory and is not connected to. It is for simulations: a
// connector that calls it gives up all that Commit promises.
func SpendArm(ctx context.Context) (Window, error) {
	arm, refused := takeArm(ctx)
	if refused != nil {
		return Window{}, refused
	}
	return arm(ctx)
}
