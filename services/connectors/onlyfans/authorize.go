package onlyfans

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"postbus.dev/services/connectors"
)

// AuthorizeURL makes a session of the gateway's login and leads to the page that
// opens it. The session's token is meant for a browser.
func (c *Connector) AuthorizeURL(ctx context.Context, r connectors.AuthorizeRequest) (string, error) {
	if err := c.connects(); err != nil {
		return "", err
	}
	body, err := json.Marshal(map[string]string{"display_name": displayName(r.State), "client_reference_id": r.State})
	if err != nil {
		return "", fmt.Errorf("make client session: %w", err)
	}
	q := c.request(callSession, http.MethodPost, "/api/client-sessions", "api", "client-sessions")
	q.Header, q.Body = http.Header{"Content-Type": {"application/json"}}, body
	resp, err := c.client.Do(ctx, q)
	if err != nil {
		return "", err
	}
	var out struct {
		Data struct {
			Token string `json:"token"`
		} `json:"data"`
	}
	if resp.Status/100 != 2 || json.Unmarshal(resp.Body, &out) != nil || out.Data.Token == "" {
		return "", c.judge(resp)
	}
	return connectors.WithQuery(c.authorizeURL, url.Values{"token": {out.Data.Token}, "redirect_uri": {r.RedirectURI}, "state": {r.State}})
}

// displayName is what the account is called at the gateway, where its operator
// sees it. The state is of no use to anybody who does: it is spent by then, and
// belongs to a browser.
func displayName(state string) string { return "Postbus " + state }

// PKCE is false: there is no token endpoint that could check anything.
func (c *Connector) PKCE() bool { return false }

// Exchange looks up what the browser says that it has connected. It changes
// nothing at the gateway.
func (c *Connector) Exchange(ctx context.Context, x connectors.Exchange) (connectors.Grant, error) {
	if err := c.connects(); err != nil {
		return connectors.Grant{}, err
	}
	handle, id, _ := strings.Cut(x.Code.Reveal(), ":")
	if handle == "" || id == "" || x.State == "" {
		return connectors.Grant{}, refused("the login brought no account")
	}
	list, err := c.accounts(ctx, id)
	if err != nil {
		return connectors.Grant{}, whileConnecting(err)
	}
	for _, a := range list {
		if a.Handle == handle && string(a.OnlyFansID) == id && (a.Reference == x.State || a.DisplayName == displayName(x.State)) {
			return c.grant(a)
		}
	}
	return connectors.Grant{}, refused("the gateway has no account of this connection")
}

// grant is an account that is this person's.
func (c *Connector) grant(a account) (connectors.Grant, error) {
	if !a.Authenticated {
		return connectors.Grant{}, refused("the login at OnlyFans is not complete")
	}
	metadata, err := json.Marshal(map[string]string{connectors.CallbackID: a.Handle})
	return connectors.Grant{
		ProviderAccountID: string(a.OnlyFansID), Username: a.Username, AccessToken: connectors.NewSecret(a.Handle), Metadata: metadata,
		RefreshIn: c.scale(watchEvery),
	}, err
}

func refused(text string) *connectors.Error {
	return &connectors.Error{Kind: connectors.KindReject, Code: connectors.CodeReauthRequired, Message: text}
}

// whileConnecting is an error of a read for a person who waits: nothing else does.
func whileConnecting(err error) error {
	e := connectors.AsError(err)
	switch e.Kind {
	case connectors.KindWait:
		e.Kind = connectors.KindRetry
	case connectors.KindReauthorize:
		e.Kind = connectors.KindReject
	}
	return e
}

// accounts are those at the gateway with that id at OnlyFans. Without the filter
// the list would hold everybody's, kilobytes of each.
func (c *Connector) accounts(ctx context.Context, onlyFansID string) ([]account, error) {
	r := c.request(callAccounts, http.MethodGet, "/api/accounts", "api", "accounts")
	r.Query = url.Values{"onlyfans_id": {onlyFansID}}
	resp, err := c.client.Do(ctx, r)
	if err != nil {
		return nil, err
	}
	var list []account
	if resp.Status != http.StatusOK || json.Unmarshal(resp.Body, &list) != nil || list == nil {
		return nil, c.judge(resp)
	}
	return list, nil
}
