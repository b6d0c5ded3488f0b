package tiktok

import (
	"context"
	"net/url"
	"time"

	"postbus.dev/services/connectors"
)

// RefreshRule says that the refresh token rotates. Settle is TCP_USER_TIMEOUT, a
// minute in which TikTok may go on working on what it has read, and ten seconds
// more.
func (c *Connector) RefreshRule() connectors.RefreshRule {
	const userTimeout = 20 * time.Second
	return connectors.RefreshRule{
		Rotates: true, Call: c.scale(30 * time.Second), UserTO: c.scale(userTimeout),
		Settle: c.scale(userTimeout + time.Minute + 10*time.Second),
	}
}

// Refresh spends the refresh token for a new pair.
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
	resp, err := c.client.Commit(ctx, c.form(callRefresh, "/v2/oauth/token/", url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {refresh.Reveal()},
	}))
	if err != nil {
		return connectors.Grant{}, err
	}
	var t tokens
	failure := read(resp, &t)
	if failure == nil && t.Access == "" {
		failure = &apiError{Status: resp.Status, Call: resp.Call}
	}
	if failure != nil {
		return connectors.Grant{}, c.notRefreshed(failure)
	}
	return c.grant(t), nil
}

// notRefreshed says what an answer means for the tokens. The question is whether
// it proves that the old refresh token was not spent:
//
//   - A refusal by name does: TikTok looks at client, request and token before it
//     makes another pair, and says one of the names of RFC 6749 instead of one.
//     invalid_grant is such a refusal, and says that the token was dead before
//     this call.
//   - A limit does: what is not let in is not carried out.
//   - A server error does not, whatever is in it. That TikTok failed says nothing
//     about what it had done by then, and the new pair may be stored there while
//     its answer is lost. For a call that rotates nothing it would be KindRetry;
//     here it is unknown. Neither does server_error or temporarily_unavailable
//     with another status: they are the same failure behind a front end that
//     answers 200.
//   - An answer that cannot be read, or whose name nobody documents, may come
//     from anybody between, before or after. It is never taken for the end of a
//     grant.
//
// What is unknown costs the time until quiet_at, in which the access token is
// good for as long again: it was refreshed at half of its life.
func (c *Connector) notRefreshed(e *apiError) *connectors.Error {
	switch e.meaning() {
	case deadGrant:
		out := c.fail(e, connectors.KindReauthorize, connectors.CodeReauthRequired)
		out.Reason = connectors.ReasonInvalidGrant
		return out
	case ours:
		return c.fail(e, connectors.KindReject, connectors.CodeInternal)
	case limited:
		return c.wait(e)
	default:
		return c.fail(e, connectors.KindUnknown, connectors.CodeUnavailable)
	}
}
