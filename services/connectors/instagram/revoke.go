package instagram

import (
	"context"
	"net/http"

	"postbus.dev/services/connectors"
)

// Revoke takes our permissions away. Meta documents no call for it with
// Instagram Login; this is the one that others make and that the other login
// has, so a success is what the answer says and no more.
func (c *Connector) Revoke(ctx context.Context, a connectors.Account, _ connectors.Secret) error {
	if a.AccessToken.Empty() {
		return &connectors.Error{Kind: connectors.KindReject, Code: connectors.CodeReauthRequired, NotSent: true, Message: "no token to revoke with"}
	}
	var out struct {
		Success bool `json:"success"`
	}
	call, failure, err := c.do(ctx, connectors.Request{
		Name: callRevoke, Method: http.MethodDelete, URL: c.graph + "/me/permissions", Route: "/me/permissions", Token: a.AccessToken,
	}, &out)
	switch {
	case err != nil:
		return err
	case failure == nil && out.Success, failure != nil && failure.grantGone():
		return nil
	case failure == nil:
		failure = &apiError{Status: call.Status, Unreadable: true, Call: call}
	}
	act, text := c.errors.decide(connecting, failure)
	return &connectors.Error{
		Kind: act.kind, Code: act.code, Reason: act.reason, Scope: act.scope, Wait: c.scale(act.wait),
		Call: failure.Call, ProviderCode: failure.providerCode(), Message: text,
	}
}

// grantGone: the token is of no use to anybody, for good. A checkpoint and an
// unconfirmed user (190/459, 190/464) pass.
func (e *apiError) grantGone() bool {
	switch {
	case e.Unreadable:
		return false
	case e.Code == 190:
		return e.Subcode != 459 && e.Subcode != 464
	}
	return e.Code == 102 || e.Code == 463 || e.Code == 467
}
