package publish

import (
	"time"

	"postbus.dev/services/internal/limit"
	"postbus.dev/services/publisher/internal/job"
)

// gated returns the gate that stops the publish longest, if any. The list is as
// old as the last look; Arm asks the database.
func (r *Runner) gated(p job.Publish) (limit.Gate, bool) {
	var worst limit.Gate
	found := false
	target := limit.Target{Provider: p.Provider, Client: clientKey(p.Provider), Account: p.AccountID.String()}
	for _, g := range *r.gates.Load() {
		open := !g.Until.IsZero() && !g.Until.After(time.Now())
		if open || !g.Stops(target) {
			continue
		}
		if !found || g.Until.IsZero() || (!worst.Until.IsZero() && g.Until.After(worst.Until)) {
			worst, found = g, true
		}
	}
	return worst, found
}

// clientKey names our client id at a provider: one a provider until a process
// works for several.
func clientKey(provider string) string { return provider }
