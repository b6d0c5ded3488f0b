package httpapi

import (
	"cmp"
	"context"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"postbus.dev/services/internal/limit"
	"postbus.dev/services/internal/process"
	"postbus.dev/services/internal/tenant"
)

// Limits are how often callers may call in a minute, over all operations,
// processes and services. Zero values are the defaults.
type Limits struct {
	PerKey  int64 // 600
	PerUser int64 // all keys of a user together; 1,200
}

const limitWindow = time.Minute // the same everywhere: it belongs to the budgets' keys

func (l Limits) defaults() Limits {
	return Limits{PerKey: cmp.Or(l.PerKey, 600), PerUser: cmp.Or(l.PerUser, 1200)}
}

// LimitsUsage tells the settings that LimitsFrom reads.
const LimitsUsage = `  POSTBUS_CALLS_PER_KEY     API calls a minute that a key has; default 600
  POSTBUS_CALLS_PER_USER    API calls a minute that all keys of a user have; default 1200`

// LimitsFrom reads the settings that LimitsUsage tells. They are the same in all
// processes: each counts against the limit that it knows.
func LimitsFrom(e *process.Env) Limits {
	const most = 1_000_000
	d := Limits{}.defaults()
	return Limits{
		PerKey:  e.Int("POSTBUS_CALLS_PER_KEY", d.PerKey, 1, most),
		PerUser: e.Int("POSTBUS_CALLS_PER_USER", d.PerUser, 1, most),
	}
}

// Budgets count what all processes use together; *limit.Ahead does.
type Budgets interface {
	Use(ctx context.Context, asks []limit.Ask) ([]limit.Decision, error)
}

// CountsItself as a name in Operation.Metadata leaves an operation out of
// Limits: its handler has a limit of its own, which it tells by RateLimit.
const CountsItself = "counts-itself"

// limited is the middleware of every operation that is neither public nor
// CountsItself. It comes after authenticate: who is nobody has no budget.
func (a *API) limited(ctx huma.Context, next func(huma.Context)) {
	caller := CallerOf(ctx.Context())
	if caller.UserID == uuid.Nil {
		next(ctx)
		return
	}
	if err := a.count(ctx.Context(), caller); err != nil {
		_ = huma.WriteErr(a.huma, ctx, err.Code.Status(), err.Message, err)
		return
	}
	next(ctx)
}

func (a *API) count(ctx context.Context, c tenant.Caller) *Error {
	limits := []RateLimit{
		{Policy: "key", Quota: a.limits.PerKey, Window: limitWindow},
		{Policy: "user", Quota: a.limits.PerUser, Window: limitWindow},
	}
	ds, err := a.budgets.Use(ctx, []limit.Ask{
		{Key: "api/key/" + c.KeyID.String(), Limit: a.limits.PerKey, Period: limitWindow, N: 1},
		{Key: "api/user/" + c.UserID.String(), Limit: a.limits.PerUser, Period: limitWindow, N: 1},
	})
	if err != nil {
		return &Error{Code: CodeServiceUnavailable, Message: "calls cannot be counted right now", Err: err}
	}
	var exceeded *Error
	for i, d := range ds {
		limits[i].Remaining, limits[i].Reset = d.Remaining, d.Reset
		if !d.Allowed && (exceeded == nil || d.Reset > exceeded.RetryAfter) {
			exceeded = limits[i].Exceeded()
		}
	}
	tell(ctx, limits)
	return exceeded
}
