package tiktok

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"time"

	"postbus.dev/services/connectors"
)

// Revoke takes our permissions away. TikTok asks for the access token: one whose
// time is over cannot do it, and that it is refused says nothing about the grant
// behind it.
func (c *Connector) Revoke(ctx context.Context, a connectors.Account, _ connectors.Secret) error {
	if err := c.app.configured(); err != nil {
		return &connectors.Error{Kind: connectors.KindReject, Code: connectors.CodeInternal, NotSent: true, Err: err}
	}
	if a.AccessToken.Empty() {
		return &connectors.Error{Kind: connectors.KindReject, Code: connectors.CodeReauthRequired, NotSent: true, Message: "no token to revoke with"}
	}
	resp, err := c.client.Do(ctx, c.form(callRevoke, "/v2/oauth/revoke/", url.Values{"token": {a.AccessToken.Reveal()}}))
	if err != nil {
		return err
	}
	if resp.Status == http.StatusOK && len(bytes.TrimSpace(resp.Body)) == 0 {
		return nil // as documented, beside {}
	}
	failure := read(resp, &struct{}{})
	if failure == nil {
		return nil
	}
	switch over := !a.ExpiresAt.IsZero() && time.Now().After(a.ExpiresAt); failure.meaning() {
	case deadGrant, deadToken:
		if over {
			return c.fail(failure, connectors.KindReject, connectors.CodeReauthRequired)
		}
		return nil // it is not its time that ended it
	case ours, forbidden:
		return c.fail(failure, connectors.KindReject, connectors.CodeInternal)
	case limited:
		return c.wait(failure)
	default:
		return c.fail(failure, connectors.KindRetry, connectors.CodeUnavailable)
	}
}
