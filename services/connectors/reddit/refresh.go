package reddit

import (
	"context"
	"net/url"
	"time"

	"postbus.dev/services/connectors"
)

// RefreshRule says that nothing rotates: the refresh token goes on, whatever comes
// with the answer.
func (c *Connector) RefreshRule() connectors.RefreshRule {
	return connectors.RefreshRule{Call: c.scale(30 * time.Second)}
}

// Refresh asks for a new access token. A refresh token that comes with it is
// returned, to be stored in place of the old one.
func (c *Connector) Refresh(ctx context.Context, _ connectors.Account, refresh connectors.Secret) (connectors.Grant, error) {
	if err := c.app.configured(); err != nil {
		return connectors.Grant{}, &connectors.Error{Kind: connectors.KindReject, Code: connectors.CodeInternal, NotSent: true, Err: err}
	}
	if refresh.Empty() {
		return connectors.Grant{}, &connectors.Error{
			Kind: connectors.KindReauthorize, Code: connectors.CodeReauthRequired, Reason: connectors.ReasonExpired, NotSent: true,
			Message: "there is no refresh token",
		}
	}
	t, failure, err := c.tokens(ctx, callRefresh, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh.Reveal()}})
	switch {
	case err != nil:
		return connectors.Grant{}, err
	case failure != nil:
		return connectors.Grant{}, c.notRefreshed(failure)
	}
	return c.grant(t), nil
}

// notRefreshed says what an answer means for the tokens. Reddit does not tell a
// grant that was taken back from one that never was.
func (c *Connector) notRefreshed(e *apiError) *connectors.Error {
	switch e.meaning() {
	case deadGrant:
		out := c.fail(e, connectors.KindReauthorize, connectors.CodeReauthRequired)
		out.Reason = connectors.ReasonInvalidGrant
		return out
	case ours:
		return c.fail(e, connectors.KindReject, connectors.CodeInternal)
	case limited:
		return c.rest(e)
	default:
		return c.fail(e, connectors.KindRetry, connectors.CodeUnavailable)
	}
}

// Revoke ends the refresh token, and with it every access token that it made.
// Reddit answers to a token that it does not know as to one that it ends.
func (c *Connector) Revoke(ctx context.Context, a connectors.Account, refresh connectors.Secret) error {
	if err := c.app.configured(); err != nil {
		return &connectors.Error{Kind: connectors.KindReject, Code: connectors.CodeInternal, NotSent: true, Err: err}
	}
	token, hint := refresh, "refresh_token"
	if token.Empty() {
		token, hint = a.AccessToken, "access_token"
	}
	if token.Empty() {
		return &connectors.Error{Kind: connectors.KindReject, Code: connectors.CodeReauthRequired, NotSent: true, Message: "no token to revoke"}
	}
	resp, err := c.client.Do(ctx, c.form(callRevoke, "/revoke_token", url.Values{"token": {token.Reveal()}, "token_type_hint": {hint}}))
	if err != nil {
		return err
	}
	failure := read(resp, &struct{}{})
	if resp.Status/100 == 2 && (failure == nil || failure.Name == "" && failure.Number == 0 && len(resp.Body) == 0) {
		return nil
	}
	switch failure.meaning() {
	case deadGrant, ours:
		return c.fail(failure, connectors.KindReject, connectors.CodeInternal) // the request is wrong, no token is
	case limited:
		return c.rest(failure)
	default:
		return c.fail(failure, connectors.KindRetry, connectors.CodeUnavailable)
	}
}
