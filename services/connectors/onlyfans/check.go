package onlyfans

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"postbus.dev/services/connectors"
)

const (
	// watchEvery is how often an account is looked at. A look may cost a credit, and
	// ten thousand accounts take a third of the smallest plan's calls.
	watchEvery = 30 * time.Minute
	// lookAgain is how soon one is that was signed out: most come back by themselves.
	lookAgain = 5 * time.Minute
)

// Check reads whether the account's session stands.
func (c *Connector) Check(ctx context.Context, a connectors.Account) (time.Duration, error) {
	if err := c.configured(); err != nil {
		return 0, notConfigured(err)
	}
	list, err := c.accounts(ctx, a.ProviderAccountID)
	if err != nil {
		return 0, err
	}
	e := &connectors.Error{Call: connectors.Call{Name: callAccounts, Status: http.StatusOK}}
	i := slices.IndexFunc(list, func(there account) bool { return there.Handle == a.AccessToken.Reveal() })
	switch {
	case i < 0:
		c.signedOut(e)
		e.Reason, e.Message = connectors.ReasonRevoked, "the account was removed at the gateway"
	case !list[i].Authenticated:
		c.signedOut(e)
	default:
		return c.scale(watchEvery), nil
	}
	return 0, e
}

// Revoke removes the account from the gateway.
func (c *Connector) Revoke(ctx context.Context, a connectors.Account, _ connectors.Secret) error {
	if err := c.configured(); err != nil {
		return notConfigured(err)
	}
	if a.AccessToken.Empty() {
		return &connectors.Error{Kind: connectors.KindReject, Code: connectors.CodeReauthRequired, NotSent: true, Message: "no handle to remove"}
	}
	resp, err := c.client.Do(ctx, c.request(callDelete, http.MethodDelete, "/api/accounts/{account}", "api", "accounts", a.AccessToken.Reveal()))
	if err != nil {
		return err
	}
	// That there is no such account is a success only if the gateway itself says so.
	var body failure
	gone := resp.Status == http.StatusNotFound && json.Unmarshal(resp.Body, &body) == nil && body.Upstream == nil
	if resp.Status/100 == 2 || gone {
		return nil
	}
	return c.judge(resp)
}

func notConfigured(err error) *connectors.Error {
	return &connectors.Error{Kind: connectors.KindReject, Code: connectors.CodeInternal, NotSent: true, Err: err}
}
