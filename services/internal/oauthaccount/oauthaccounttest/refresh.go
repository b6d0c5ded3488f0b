package oauthaccounttest

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/oauthaccount"
)

// Claim is oauthaccount.Refreshes.Claim.
func (m *Memory) Claim(ctx context.Context, c oauthaccount.RefreshClaim) (out []oauthaccount.Refreshing, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now, lease := m.cfg.Now(), uuid.New()
	for _, provider := range c.Providers {
		for _, r := range m.take(provider, now, c.Limit) {
			out = append(out, r.claimed(now, lease))
			r.Lease, r.leaseUntil = lease, now.Add(c.Lease)
			m.move(r, r.leaseUntil)
		}
	}
	return out, nil
}

// take takes the accounts of a provider that are due longest from the queue.
// Whoever calls it sets when they are due again.
func (m *Memory) take(provider string, now time.Time, limit int) (out []*row) {
	q := m.due[provider]
	for q != nil && len(out) < limit {
		e, ok := q.pop(now)
		if !ok {
			break
		}
		r := m.rows[e.id]
		if r == nil || !r.refreshAt.Equal(e.at) || !r.Status.Connected() || slices.Contains(out, r) {
			continue
		}
		out = append(out, r)
	}
	return out
}

func (r *row) claimed(now time.Time, lease uuid.UUID) oauthaccount.Refreshing {
	account := connectors.Account{
		ID: r.ID.String(), Provider: r.Provider, ProviderAccountID: r.providerAccountID, AccessToken: r.access,
		TokenType: r.tokenType, Scope: r.scope, ExpiresAt: r.expires, TokenVersion: r.TokenVersion,
	}
	refresh := r.refresh
	return oauthaccount.Refreshing{
		ID: r.ID, Provider: r.Provider, Status: r.Status, TokenVersion: r.TokenVersion, DueFor: now.Sub(r.refreshAt),
		ExpiresIn: left(r.expires, now), GrantEndsIn: left(r.refreshExpires, now), Failures: r.Failures, Class: r.Class,
		Lost: !r.quiet.IsZero(), Lease: lease,
		Open: func() (connectors.Account, connectors.Secret, error) { return account, refresh, nil },
	}
}

func left(t, now time.Time) time.Duration {
	if t.IsZero() {
		return 0
	}
	return t.Sub(now)
}

// MakeDue is oauthaccount.Refreshes.MakeDue.
func (m *Memory) MakeDue(ctx context.Context, id uuid.UUID, tokenVersion int64, rest time.Duration) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r, now := m.rows[id], m.cfg.Now()
	over := func(t time.Time) bool { return !t.After(now) } // or never was
	if r == nil || tokenVersion != 0 && r.TokenVersion != tokenVersion || !r.Status.Connected() || !over(r.leaseUntil) || !over(r.quiet) {
		return false, nil
	}
	due := !r.refreshAt.IsZero() && over(r.refreshAt)
	if due || !r.failedAt.IsZero() && r.failedAt.Add(rest).After(now) {
		return false, nil
	}
	m.move(r, now)
	return true, nil
}

// Due is oauthaccount.Refreshes.Due.
func (m *Memory) Due(_ context.Context, overdue time.Duration) ([]oauthaccount.DueRefreshes, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, by := m.cfg.Now(), map[string]*oauthaccount.DueRefreshes{}
	for _, r := range m.rows {
		since := now.Sub(r.refreshAt)
		if r.refreshAt.IsZero() || since < 0 || !r.Status.Connected() {
			continue
		}
		d := by[r.Provider]
		if d == nil {
			d = &oauthaccount.DueRefreshes{Provider: r.Provider}
			by[r.Provider] = d
		}
		if d.Due++; since >= overdue {
			d.Overdue++
		}
		d.Oldest = max(d.Oldest, since)
	}
	out := make([]oauthaccount.DueRefreshes, 0, len(by))
	for _, d := range by {
		out = append(out, *d)
	}
	slices.SortFunc(out, func(a, b oauthaccount.DueRefreshes) int { return strings.Compare(a.Provider, b.Provider) })
	return out, nil
}

// Write is oauthaccount.Refreshes.Write.
func (m *Memory) Write(ctx context.Context, w *oauthaccount.RefreshWrite) (oauthaccount.RefreshOutcome, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if w.Step == oauthaccount.RefreshRenewed && w.Grant.AccessToken.Empty() {
		return 0, errors.New("write refresh: there is no access token")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r, now := m.rows[w.Of.ID], m.cfg.Now()
	if r == nil {
		return oauthaccount.RefreshStale, nil
	}
	before := r.RefreshState
	before.Armed, before.Quiet = !r.sendBy.IsZero(), !r.quiet.IsZero() && !r.quiet.After(now)
	before.Holds = w.Step == oauthaccount.RefreshRenewed && w.Grant.AccessToken.Reveal() == r.access.Reveal()
	after, told, outcome := w.Apply(before, now)
	if outcome != oauthaccount.RefreshStored || before.Holds {
		return outcome, nil
	}
	m.store(r, after, w, now)
	for i, d := range told {
		m.cfg.Tell(r.ID, Told{Sequence: after.Version - int64(len(told)-1-i), Data: d})
	}
	return outcome, nil
}

// store is writeRefreshSQL.
func (m *Memory) store(r *row, after oauthaccount.RefreshState, w *oauthaccount.RefreshWrite, now time.Time) {
	failed := after.Failures > r.Failures
	r.RefreshState = after
	if r.Lease == uuid.Nil {
		r.leaseUntil = time.Time{}
	}
	switch {
	case w.Step == oauthaccount.RefreshArmed:
		r.sendBy, r.quiet = now.Add(w.SendIn), now.Add(w.SendIn+w.Settle)
		r.leaseUntil = r.quiet
		m.move(r, r.quiet)
	case !after.Armed:
		r.sendBy, r.quiet = time.Time{}, time.Time{}
	}
	switch w.Step {
	case oauthaccount.RefreshArmed:
	case oauthaccount.RefreshLost:
		m.move(r, latest(r.quiet, in(w.Next, now)))
	default:
		m.move(r, in(w.Next, now))
	}
	if failed {
		r.failedAt = now
	} else if after.Failures == 0 {
		r.failedAt = time.Time{}
	}
	if w.Step == oauthaccount.RefreshRenewed {
		r.renew(w.Grant, now)
	}
}

func (r *row) renew(g connectors.Grant, now time.Time) {
	r.access, r.expires = g.AccessToken, in(g.ExpiresIn, now)
	r.tokenType, r.scope = cmp.Or(g.TokenType, r.tokenType), cmp.Or(g.Scope, r.scope)
	if !g.RefreshToken.Empty() {
		r.refresh = g.RefreshToken
	}
	if !g.RefreshToken.Empty() || g.RefreshExpiresIn > 0 {
		r.refreshExpires = in(g.RefreshExpiresIn, now)
	}
}

func in(d time.Duration, now time.Time) time.Time {
	if d <= 0 {
		return time.Time{}
	}
	return now.Add(d)
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
