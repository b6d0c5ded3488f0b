package refresh_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	"postbus.dev/services/connectors"
)

// rules are what a provider of the simulation is like.
type rules struct {
	connectors.RefreshRule
	life      time.Duration // of an access token
	grantLife time.Duration // of the grant; 0: it does not end
	prolongs  bool          // each refresh begins that anew
	refreshIn time.Duration
	youngest  time.Duration // an access token younger than this is not refreshed
	noRefresh bool          // there is no refresh token: the access token is its own
	checked   time.Duration // there is nothing to refresh, and it is looked at so often
	nothing   bool          // there is nothing at all
}

// provider is one in memory, with the grants of its accounts.
type provider struct {
	w     *world
	name  string
	rules rules
	bad   windows // when it is down, throttles or refuses our client

	mu     sync.Mutex
	grants map[string]*grant // by the account's id there
	serial int
}

// grant is what the provider knows of an account.
type grant struct {
	provider        *provider
	id              string
	access, refresh string
	born, expires   time.Time // of the access token
	ends            time.Time // of the grant; zero: it does not
	revoked         time.Time // by the person
	session         time.Time // when it was signed out or in last
	signedOut       bool
	doomed          bool     // a spent token came twice, because of an answer that was lost
	last, spent     *attempt // the last one, and the one that made the tokens of now
}

// attempt is the last call that was to rotate a grant.
type attempt struct {
	by      *process
	token   string
	at      time.Time
	quiet   time.Time // before it nothing may be sent again
	done    bool      // the provider made new tokens
	settled bool      // it proved that it did nothing, and its answer arrived
	dropped bool      // its answer did not
}

func (v *provider) connect(id string) *grant {
	v.mu.Lock()
	defer v.mu.Unlock()
	g := v.grants[id]
	if g == nil {
		g = &grant{provider: v, id: id}
		v.grants[id] = g
	}
	*g = grant{provider: v, id: id}
	v.renew(g)
	return g
}

// renew gives new tokens.
func (v *provider) renew(g *grant) {
	v.serial++
	g.access, g.born, g.expires = fmt.Sprintf("%s-access-%d", g.id, v.serial), time.Now(), time.Time{}
	if v.rules.life > 0 {
		g.expires = g.born.Add(v.rules.life)
	}
	if v.rules.grantLife > 0 && (g.ends.IsZero() || v.rules.prolongs) {
		g.ends = g.born.Add(v.rules.grantLife)
	}
	if !v.rules.noRefresh && (g.refresh == "" || v.rules.Rotates) {
		g.refresh = fmt.Sprintf("%s-refresh-%d", g.id, v.serial)
	}
}

func (v *provider) granted(g *grant) connectors.Grant {
	out := connectors.Grant{
		AccessToken: connectors.NewSecret(g.access), ExpiresIn: v.rules.life, RefreshIn: v.rules.refreshIn,
	}
	if !g.ends.IsZero() {
		out.RefreshExpiresIn = time.Until(g.ends)
	}
	if g.refresh != "" {
		out.RefreshToken = connectors.NewSecret(g.refresh)
	}
	return out
}

// works says whether the access token of an account is good, and whether a person
// or a loss that cannot be helped has ended the grant.
func (v *provider) works(id string, now time.Time) (good, over bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	g := v.grants[id]
	over = !g.revoked.IsZero() || g.doomed || !g.ends.IsZero() && !now.Before(g.ends) || v.rules.nothing && !now.Before(g.expires)
	return !over && !g.signedOut && (g.expires.IsZero() || now.Before(g.expires)), over
}

// changed is when a grant ended, if it has, and when its session changed.
func (v *provider) changed(id string) (ended, session time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	g := v.grants[id]
	switch {
	case v.rules.nothing: // nobody finds out before
		ended = g.expires
	case !g.revoked.IsZero():
		ended = g.revoked
	case g.doomed:
		ended = g.last.at
	default:
		ended = g.ends
	}
	return ended, g.session
}

// ends says whether a grant ends at about that time, whatever is done.
func (v *provider) ends(id string, at time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	g, end := v.grants[id], time.Time{}
	switch {
	case v.rules.nothing:
		end = g.expires
	case !v.rules.prolongs:
		end = g.ends
	}
	return at.Sub(end).Abs() < time.Minute
}

func (v *provider) connector(p *process) connectors.Connector {
	base := simConnector{v: v, p: p}
	switch {
	case v.rules.nothing:
		return base
	case v.rules.checked > 0:
		return simChecker{base}
	default:
		return simRefresher{base}
	}
}

// simConnector is the connector to a provider in one process.
type simConnector struct {
	v *provider
	p *process
}

func (c simConnector) Provider() string { return c.v.name }

type simChecker struct{ simConnector }

// Check is as of a gateway that keeps a session.
func (c simChecker) Check(ctx context.Context, a connectors.Account) (time.Duration, error) {
	if err := c.call(ctx); err != nil {
		return 0, err
	}
	c.v.mu.Lock()
	g := c.v.grants[a.ProviderAccountID]
	dead := !g.revoked.IsZero() || g.signedOut
	c.v.mu.Unlock()
	c.p.step()
	if dead {
		return 0, &connectors.Error{Kind: connectors.KindReauthorize, Reason: connectors.ReasonSignedOut, Wait: c.v.rules.checked}
	}
	return c.v.rules.checked, nil
}

type simRefresher struct{ simConnector }

func (c simRefresher) RefreshRule() connectors.RefreshRule { return c.v.rules.RefreshRule }

// Refresh is one call that is never retried.
func (c simRefresher) Refresh(ctx context.Context, a connectors.Account, refresh connectors.Secret) (connectors.Grant, error) {
	if c.v.rules.Rotates {
		return c.rotate(ctx, a, refresh.Reveal())
	}
	if err := c.call(ctx); err != nil {
		return connectors.Grant{}, err
	}
	token := refresh.Reveal()
	if c.v.rules.noRefresh {
		token = a.AccessToken.Reveal()
	}
	out, err := c.exchange(a.ProviderAccountID, token)
	if c.p.float() < c.p.w.cfg.lostAnswers {
		return connectors.Grant{}, &connectors.Error{Kind: connectors.KindRetry, Message: "connection reset"}
	}
	c.p.step()
	return out, err
}

func (c simRefresher) exchange(id, token string) (connectors.Grant, error) {
	c.v.mu.Lock()
	defer c.v.mu.Unlock()
	g := c.v.grants[id]
	switch {
	case !g.revoked.IsZero():
		return connectors.Grant{}, &connectors.Error{Kind: connectors.KindReauthorize, Reason: connectors.ReasonRevoked}
	case !g.ends.IsZero() && !g.ends.After(time.Now()):
		return connectors.Grant{}, &connectors.Error{Kind: connectors.KindReauthorize, Reason: connectors.ReasonExpired}
	case c.v.rules.noRefresh && !g.expires.After(time.Now()):
		return connectors.Grant{}, &connectors.Error{Kind: connectors.KindReauthorize, Reason: connectors.ReasonExpired}
	case time.Since(g.born) < c.v.rules.youngest:
		return connectors.Grant{}, &connectors.Error{Kind: connectors.KindRetry, Wait: c.v.rules.youngest, Message: "too young"}
	case !c.v.rules.noRefresh && token != g.refresh:
		c.p.w.faulty("%s of %s is refreshed with a token that is not its own", id, c.v.name)
	}
	c.v.renew(g)
	return c.v.granted(g), nil
}

// call is what every call meets: the way there, and a provider that is not itself.
func (c simConnector) call(ctx context.Context) error {
	c.p.step()
	began := time.Now()
	c.p.respects(c.v.name, began)
	if err := sleep(ctx, c.p.w.cfg.latency(c.p.float())*10); err != nil {
		return &connectors.Error{Kind: connectors.KindRetry, Err: err}
	}
	c.p.step()
	if ctx.Err() != nil { // it stood still
		return &connectors.Error{Kind: connectors.KindRetry, Err: ctx.Err()}
	}
	w, bad := c.v.bad.at(time.Now())
	switch {
	case !bad:
		return nil
	case w.kind == throttles:
		wait := min(time.Until(w.to), 10*time.Minute)
		c.p.told(c.v.name, wait)
		return &connectors.Error{Kind: connectors.KindWait, Scope: connectors.ScopeClient, Reason: connectors.ReasonRateLimit, Wait: wait}
	case w.kind == refuses:
		return &connectors.Error{Kind: connectors.KindReject, Code: connectors.CodeInternal, Message: "invalid_client"}
	default:
		return &connectors.Error{Kind: connectors.KindRetry, Message: "503"}
	}
}

// told notes that the provider told the process to wait.
func (p *process) told(provider string, wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rests[provider] = time.Now().Add(wait)
}

// respects wants that no call begins while the process was told to wait. What was
// claimed at that moment is on its way already.
func (p *process) respects(provider string, now time.Time) {
	const onItsWay = time.Minute
	p.mu.Lock()
	until := p.rests[provider]
	p.mu.Unlock()
	if left := until.Sub(now); left > 0 && left < 10*time.Minute-onItsWay {
		p.w.faulty("%s was called %s before the wait that it had told was over", provider, left)
	}
}

// rotate is the call that burns the token that it is made with.
func (c simRefresher) rotate(ctx context.Context, a connectors.Account, token string) (connectors.Grant, error) {
	c.p.step()
	began := time.Now()
	window, err := connectors.SpendArm(ctx)
	if err != nil {
		return connectors.Grant{}, err
	}
	if took := time.Since(began); took > time.Second && !c.p.stoodSince(began) {
		c.p.w.faulty("a token is spent %s after the last write that succeeded was begun", took)
	}
	c.p.enter()
	defer c.p.leave()
	c.p.step()
	if !time.Now().Before(window.SendBy) {
		return connectors.Grant{}, &connectors.Error{Kind: connectors.KindRetry, NotSent: true, Message: "too late to send"}
	}
	at := &attempt{by: c.p, token: token, at: time.Now(), quiet: window.SendBy.Add(c.v.rules.Settle)}
	out, err := c.carryOut(a.ProviderAccountID, at)
	if e := sleepUnknown(ctx, c.p.w.cfg.latency(c.p.float())*10); e != nil {
		err = e
	}
	c.p.step()
	if c.p.float() < c.p.w.cfg.lostAnswers {
		err = &connectors.Error{Kind: connectors.KindUnknown, Message: "connection reset"}
	}
	c.v.mu.Lock()
	defer c.v.mu.Unlock()
	if err != nil && connectors.AsError(err).Kind == connectors.KindUnknown {
		at.dropped = true
		return connectors.Grant{}, err
	}
	at.settled = !at.done
	return out, err
}

func sleepUnknown(ctx context.Context, d time.Duration) *connectors.Error {
	if err := sleep(ctx, d); err != nil {
		return &connectors.Error{Kind: connectors.KindUnknown, Err: err}
	}
	return nil
}

// carryOut is what the provider does, by its rules: a spent token that comes again
// ends the grant.
func (c simRefresher) carryOut(id string, at *attempt) (connectors.Grant, error) {
	c.v.mu.Lock()
	defer c.v.mu.Unlock()
	g := c.v.grants[id]
	before := g.last
	g.last = at
	if before != nil && before.token == at.token && !before.settled {
		if at.at.Before(before.quiet) {
			c.p.w.faulty("a token of %s at %s is sent again %s before it is quiet", g.id, c.v.name, before.quiet.Sub(at.at))
		}
		c.p.w.count(&c.p.w.sentTwice)
	}
	if w, bad := c.v.bad.at(at.at); bad {
		switch w.kind {
		case throttles:
			wait := min(time.Until(w.to), 10*time.Minute)
			c.p.told(c.v.name, wait)
			return connectors.Grant{}, &connectors.Error{Kind: connectors.KindWait, Scope: connectors.ScopeClient, Reason: connectors.ReasonRateLimit, Wait: wait}
		case refuses:
			return connectors.Grant{}, &connectors.Error{Kind: connectors.KindReject, Code: connectors.CodeInternal, Message: "invalid_client"}
		default:
			return connectors.Grant{}, &connectors.Error{Kind: connectors.KindUnknown, Message: "503"}
		}
	}
	switch {
	case !g.revoked.IsZero() || g.doomed:
		return connectors.Grant{}, &connectors.Error{Kind: connectors.KindReauthorize, Reason: connectors.ReasonInvalidGrant}
	case at.token != g.refresh:
		c.reused(g, at)
		g.doomed = true
		return connectors.Grant{}, &connectors.Error{Kind: connectors.KindReauthorize, Reason: connectors.ReasonInvalidGrant}
	}
	c.v.renew(g)
	at.done, g.spent = true, at
	return c.v.granted(g), nil
}

// reused judges a spent token that comes again: it may only if its successor never
// reached anybody who could store it.
func (c simRefresher) reused(g *grant, at *attempt) {
	s := g.spent
	if s == nil || s.token != at.token || !s.dropped && !s.by.gone() && !s.by.stoodSince(s.at) {
		c.p.w.faulty("a token of %s at %s is spent twice, and whoever has its successor lives", g.id, c.v.name)
	}
	c.p.w.count(&c.p.w.spentTwice)
}
