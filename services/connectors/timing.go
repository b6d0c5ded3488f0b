package connectors

import "time"

// Timing is how long things take at a provider. It is one value per connector
// so that tests scale it by one factor; a test pins the production values.
type Timing struct {
	Lead      time.Duration   // how long before its due time a scheduled post is prepared
	Commit    time.Duration   // from the arm write to send_by: after it no byte of the call is sent
	Settle    time.Duration   // from send_by to quiet_at: TCP_USER_TIMEOUT plus the provider's processing
	UserTO    time.Duration   // TCP_USER_TIMEOUT of the commit connection
	Look      time.Duration   // between two read-backs of an unknown outcome
	Window    time.Duration   // from quiet_at until an outcome that stays unclear is unconfirmed
	Confirm   time.Duration   // from Arm until a post that was accepted and is not final is unconfirmed
	Watch     []time.Duration // later looks at an unconfirmed one, each after the one before
	Backoff   time.Duration   // first wait after a Retry error; doubles with jitter
	BackoffTo time.Duration   // its limit
}

// Scale returns t with every duration multiplied by f.
func (t Timing) Scale(f float64) Timing {
	s := func(d time.Duration) time.Duration { return time.Duration(float64(d) * f) }
	watch := make([]time.Duration, len(t.Watch))
	for i, d := range t.Watch {
		watch[i] = s(d)
	}
	return Timing{
		Lead: s(t.Lead), Commit: s(t.Commit), Settle: s(t.Settle), UserTO: s(t.UserTO), Look: s(t.Look),
		Window: s(t.Window), Confirm: s(t.Confirm), Watch: watch, Backoff: s(t.Backoff), BackoffTo: s(t.BackoffTo),
	}
}
