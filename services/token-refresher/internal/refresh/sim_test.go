package refresh_test

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/metric/noop"

	"postbus.dev/services/internal/oauthaccount"
)

var (
	simAccounts = flag.Int("sim.accounts", 0, "accounts of the simulation; 1000, or 150 under the race detector")
	simDays     = flag.Int("sim.days", 0, "its days; 90, or 20 under the race detector")
	simSeeds    = flag.Int("sim.seeds", 3, "how many runs")
	simFirst    = flag.Uint64("sim.first", 1, "the seed of the first")
)

// A fleet of three, 90 days, and everything that goes wrong. What chance decides
// follows from the seed; in which order goroutines run that wake at the same
// moment does not.
//
// The large form, a minute or two each:
//
//	go test ./services/token-refresher/internal/refresh -run TestNoAccountIsLost -v -sim.accounts=10000 -sim.seeds=1
func TestNoAccountIsLostThatNeedNotBe(t *testing.T) {
	t.Parallel()
	accounts, days := 1000, 90
	if underRace {
		accounts, days = 150, 20
	}
	accounts, days = cmp.Or(*simAccounts, accounts), cmp.Or(*simDays, days)
	// What is rare, all seeds together show: its moment is not the seed's alone.
	var recovered atomic.Int64
	t.Cleanup(func() {
		if recovered.Load() == 0 {
			t.Error("no account has recovered: it was too quiet to show anything")
		}
	})
	for i := range *simSeeds {
		seed := *simFirst + uint64(i) //nolint:gosec // small
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			var w *world
			synctest.Test(t, func(t *testing.T) {
				w = newWorld(t, simConfig{
					seed: seed, accounts: accounts, length: time.Duration(days) * day, fleet: 3, poll: 2 * time.Minute,
					deaths: 1e-4, lostAnswers: 2e-4, lostCommits: 2e-4, slow: 2e-3, meter: noop.NewMeterProvider(),
				})
				w.populate()
				w.troubles()
				w.run()
			})
			t.Logf("seed %d: %d accounts, %d days in %.1f s: %d refreshes, %d requests, %d processes died, %d recovered; after a lost answer %d were sent again, %d were spent",
				seed, accounts, days, time.Since(began).Seconds(), w.refreshes, w.requests, w.killed, w.recovered, w.sentTwice, w.spentTwice)
			if w.refreshes == 0 || w.killed == 0 || w.sentTwice == 0 {
				t.Error("it was too quiet to show anything")
			}
			recovered.Add(int64(w.recovered))
		})
	}
}

// populate connects the accounts over the first hours and starts the fleet.
func (w *world) populate() {
	for i := range w.cfg.accounts {
		provider := "reddit"
		switch k := i % 50; {
		case k < 2:
			provider = "tiktok"
		case k < 5:
			provider = "onlyfans"
		case k < 7:
			provider = "unpromising"
		case k < 8:
			provider = "limited"
		case k < 35:
			provider = "instagram"
		}
		a := &account{remote: fmt.Sprintf("%s-%d", provider, i), provider: w.providers[provider]}
		a.id = w.connect(provider, a.remote)
		row := w.store.Row(a.id)
		a.sequence, a.version = row.Version, row.TokenVersion
		w.accounts[a.id] = a
		w.order = append(w.order, a)
	}
	for range w.cfg.fleet {
		w.fleet = append(w.fleet, w.start())
	}
}

// troubles puts all that goes wrong on the agenda.
func (w *world) troubles() {
	w.every(day/2, func() { // kill -9
		if p := w.someone(); !p.gone() {
			p.kill()
			w.replace(p)
		}
	})
	w.every(2*day, func() { w.someone().freeze(w.between(time.Second, 10*time.Minute)) })
	w.every(3*day, func() { w.fail(w.between(time.Minute, 10*time.Minute)) })
	w.every(2*day, func() { // a deploy
		p := w.someone()
		p.cancel()
		w.replace(p)
	})
	w.every(w.cfg.length*4/time.Duration(w.cfg.accounts), func() { w.revoke(w.anyone()) })
	w.every(w.cfg.length*2/time.Duration(w.cfg.accounts), func() { w.signOut(w.anyone()) })
	w.every(10*time.Minute, func() { w.publish(w.anyone()) })
	w.every(time.Hour, w.look)
}

// revoke is a person who takes the grant back.
func (w *world) revoke(a *account) {
	a.provider.mu.Lock()
	defer a.provider.mu.Unlock()
	if g := a.provider.grants[a.remote]; g.revoked.IsZero() {
		g.revoked = time.Now()
	}
}

// signOut ends a session that comes back by itself.
func (w *world) signOut(a *account) {
	if a.provider.rules.checked == 0 {
		return
	}
	set := func(out bool) {
		a.provider.mu.Lock()
		defer a.provider.mu.Unlock()
		g := a.provider.grants[a.remote]
		g.signedOut, g.session = out, time.Now()
	}
	set(true)
	w.in(w.between(time.Hour, 2*day), func() { set(false) })
}

// publish is the publisher's: where the token of an account does not work it asks
// for another, more than once.
func (w *world) publish(a *account) {
	row := w.store.Row(a.id)
	good, _ := a.provider.works(a.remote, time.Now())
	if good || row.Status != oauthaccount.Active {
		return
	}
	p := w.someone()
	w.count(&w.requests)
	w.running.Go(func() {
		for range 3 {
			p.step()
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			_ = p.runner.Request(ctx, a.id, row.TokenVersion) // the bus brings it again
			cancel()
		}
	})
}

// patience is how long a provider has been itself when no token of it may be
// expired any more: an hour, and the poll and the calls of this simulation.
const patience = time.Hour + 5*time.Minute

// look judges the state of all accounts.
func (w *world) look() {
	now := time.Now()
	w.mu.Lock()
	database := slices.Clone(w.database)
	w.mu.Unlock()
	since := now.Add(-patience)
	if database.within(since, now) {
		return
	}
	for _, a := range w.order {
		if !a.provider.bad.within(since, now) {
			w.judge(a, w.store.Row(a.id).Status, now)
		}
	}
}

// judge wants the status of an account to be what its provider would say, once
// there was time to find out.
func (w *world) judge(a *account, status oauthaccount.Status, now time.Time) {
	good, over := a.provider.works(a.remote, now)
	ended, session := a.provider.changed(a.remote)
	r := a.provider.rules
	switch {
	case over && now.Sub(ended) < max(r.refreshIn, r.checked)*11/10+2*day:
	case over && status == oauthaccount.Active:
		w.faulty("nobody found out that the grant of %s at %s has ended", a.remote, a.provider.name)
	case over, r.checked > 0 && now.Sub(session) < 2*r.checked+patience:
	case good && status != oauthaccount.Active:
		w.faulty("%s at %s is %s, and its grant works", a.remote, a.provider.name, status)
	case !good && status == oauthaccount.Active:
		w.faulty("the token of %s at %s does not work, and the provider was up for an hour", a.remote, a.provider.name)
	}
}
