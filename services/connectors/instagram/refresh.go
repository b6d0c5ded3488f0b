package instagram

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"postbus.dev/services/connectors"
	"postbus.dev/services/connectors/internal/answer"
)

// earlyWait is when a refresh is tried again that Instagram refuses for a
// parameter: what it says of a token that is less than a day old is not
// documented, and the only parameter is the token.
const earlyWait = 6 * time.Hour

// RefreshRule says that nothing rotates: there is no refresh token. The access
// token is its own credential, and whether the old one goes on working is not
// documented; nothing is lost with an answer, since the old one is still good for
// another refresh.
func (c *Connector) RefreshRule() connectors.RefreshRule {
	return connectors.RefreshRule{Call: c.scale(30 * time.Second)}
}

// Refresh exchanges the access token for one of another 60 days.
func (c *Connector) Refresh(ctx context.Context, a connectors.Account, _ connectors.Secret) (connectors.Grant, error) {
	var out struct {
		Token     string      `json:"access_token"`
		Type      string      `json:"token_type"`
		ExpiresIn json.Number `json:"expires_in"`
	}
	call, failure, err := c.do(ctx, connectors.Request{
		Name: callRefresh, Method: http.MethodGet, URL: c.graph + "/refresh_access_token", Route: "/refresh_access_token",
		Query: url.Values{"grant_type": {"ig_refresh_token"}, "access_token": {a.AccessToken.Reveal()}},
	}, &out)
	if err == nil && failure == nil && out.Token == "" {
		failure = &apiError{Status: call.Status, Unreadable: true, Call: call}
	}
	switch {
	case err != nil:
		return connectors.Grant{}, err
	case failure != nil:
		return connectors.Grant{}, c.notRefreshed(failure, a)
	}
	life := c.scale(cmp.Or(answer.Life(out.ExpiresIn), longLife)) // not told: as documented
	return connectors.Grant{
		AccessToken: connectors.NewSecret(out.Token), TokenType: out.Type, ExpiresIn: life, RefreshIn: c.refreshIn(life, c.scale(refreshAge)),
	}, nil
}

// notRefreshed says what an answer means for the token. A checkpoint and an
// unconfirmed user pass, and the token is good again then: the account is kept.
func (c *Connector) notRefreshed(e *apiError, a connectors.Account) *connectors.Error {
	act, text := c.errors.decide(connecting, e)
	out := &connectors.Error{
		Kind: connectors.KindRetry, Code: act.code, Call: e.Call, ProviderCode: e.providerCode(),
		Message: cmp.Or(text, quotable(e.Message, []string{a.AccessToken.Reveal()})),
	}
	switch {
	case e.refusesApp():
		out.Kind, out.Code, out.Message = connectors.KindReject, connectors.CodeInternal, appRefused
	case act.kind == connectors.KindWait:
		out.Kind, out.Reason, out.Scope, out.Wait = act.kind, act.reason, act.scope, c.scale(cmp.Or(regain(e.Header), act.wait))
	case act.kind == connectors.KindReject:
		out.Code, out.Wait = connectors.CodeUnavailable, c.scale(earlyWait)
	case e.grantGone(), e.lacksPermission():
		out.Kind, out.Code, out.Reason = connectors.KindReauthorize, connectors.CodeReauthRequired, e.reason()
	}
	return out
}

// reason is why a grant is gone. An expired token says 463 or nothing at all.
func (e *apiError) reason() string {
	switch {
	case e.Code == 463, e.Subcode == 463:
		return connectors.ReasonExpired
	case e.Subcode == 458, e.lacksPermission():
		return connectors.ReasonRevoked
	case e.Subcode == 460:
		return connectors.ReasonSignedOut
	}
	return connectors.ReasonInvalidGrant
}
