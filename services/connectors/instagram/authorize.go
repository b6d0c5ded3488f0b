package instagram

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"postbus.dev/services/connectors"
	"postbus.dev/services/connectors/internal/answer"
)

// The permissions that publishing needs, and all that a person is asked for.
const (
	scopeBasic   = "instagram_business_basic"
	scopePublish = "instagram_business_content_publish"
)

// app is what we are at Instagram.
type app struct {
	id           string
	secret       connectors.Secret
	authorizeURL string
	tokenURL     string
}

// configured: New has seen to it that id and secret are set together.
func (a app) configured() error {
	if a.id == "" {
		return fmt.Errorf("instagram: INSTAGRAM_CLIENT_ID and INSTAGRAM_CLIENT_SECRET: %w", connectors.ErrNotConfigured)
	}
	return nil
}

// AuthorizeURL is Instagram's page for permissions.
func (c *Connector) AuthorizeURL(_ context.Context, r connectors.AuthorizeRequest) (string, error) {
	if err := c.app.configured(); err != nil {
		return "", err
	}
	return connectors.WithQuery(c.app.authorizeURL, url.Values{
		"client_id": {c.app.id}, "redirect_uri": {r.RedirectURI}, "response_type": {"code"},
		"scope": {scopeBasic + "," + scopePublish}, "state": {r.State},
	})
}

// PKCE is false: Business Login documents none.
func (c *Connector) PKCE() bool { return false }

// Exchange turns a code into a grant, in up to four calls:
//
//  1. the code for a token of an hour, which spends the code;
//  2. that token for one of 60 days;
//  3. whose it is;
//  4. where the first answer did not tell what was granted, a read that shows it.
//
// A permission that is missing ends it after the first: nothing would be kept.
func (c *Connector) Exchange(ctx context.Context, x connectors.Exchange) (connectors.Grant, error) {
	if err := c.app.configured(); err != nil {
		return connectors.Grant{}, err
	}
	k := c.connection(x.Code, x.State)
	g, err := k.spend(ctx, x)
	if err != nil || len(g.Missing) > 0 {
		return g, err
	}
	if g, err = k.extend(ctx, g); err != nil {
		return connectors.Grant{}, err
	}
	g.RefreshIn = c.refreshIn(g.ExpiresIn, c.scale(refreshAge))
	if g, err = k.identify(ctx, g); err != nil {
		return connectors.Grant{}, err
	}
	return k.knowScope(ctx, g)
}

// connection is one account on its way to us.
type connection struct {
	*Connector
	private   []string // what no text may repeat
	appScoped string   // the id that the first answer told
}

func (c *Connector) connection(secret connectors.Secret, more ...string) *connection {
	return &connection{Connector: c, private: append(more, secret.Reveal(), c.app.secret.Reveal())}
}

// spend makes the one call that is never made twice: it has a body, so that
// neither Client.Do nor what is below sends it again. Instagram appends "#_" to
// the address, which some clients take for a part of the code.
func (k *connection) spend(ctx context.Context, x connectors.Exchange) (connectors.Grant, error) {
	code := strings.TrimSuffix(x.Code.Reveal(), "#_")
	if code == "" {
		return connectors.Grant{}, &connectors.Error{
			Kind: connectors.KindReject, Code: connectors.CodeReauthRequired, NotSent: true, Message: "the callback brought no code",
		}
	}
	resp, err := k.client.Do(ctx, connectors.Request{
		Name: callCode, Method: http.MethodPost, URL: k.app.tokenURL, Route: "/oauth/access_token",
		Form: url.Values{
			"client_id": {k.app.id}, "client_secret": {k.app.secret.Reveal()}, "grant_type": {"authorization_code"},
			"redirect_uri": {x.RedirectURI}, "code": {code},
		},
	})
	if err != nil {
		return connectors.Grant{}, err
	}
	var out struct {
		Token       string     `json:"access_token"`
		AppScoped   answer.ID  `json:"user_id"`
		Permissions permission `json:"permissions"`
	}
	failure := readOAuth(resp, &out)
	if failure == nil && out.Token == "" {
		failure = &apiError{Status: resp.Status, Unreadable: true, Call: resp.Call}
	}
	if failure != nil {
		return connectors.Grant{}, k.refusal(failure)
	}
	k.private, k.appScoped = append(k.private, out.Token), string(out.AppScoped)
	g := connectors.Grant{AccessToken: connectors.NewSecret(out.Token), Scope: strings.Join(out.Permissions, ",")}
	if len(out.Permissions) > 0 {
		g.Missing = answer.Missing(out.Permissions, scopeBasic, scopePublish)
	}
	g.Metadata, err = json.Marshal(metadata{CallbackID: k.appScoped})
	return g, err
}

// permission is what was granted, as a list or as names with commas or spaces
// between them.
type permission []string

// UnmarshalJSON reads both forms.
func (p *permission) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil {
		*p = answer.Scopes(text)
		return nil
	}
	return json.Unmarshal(b, (*[]string)(p))
}

// extend exchanges a token of an hour for one of 60 days. Instagram takes the
// client secret in the query of a GET only.
func (k *connection) extend(ctx context.Context, g connectors.Grant) (connectors.Grant, error) {
	var out struct {
		Token     string      `json:"access_token"`
		Type      string      `json:"token_type"`
		ExpiresIn json.Number `json:"expires_in"`
	}
	call, failure, err := k.do(ctx, connectors.Request{
		Name: callExchange, Method: http.MethodGet, URL: k.graph + "/access_token", Route: "/access_token",
		Query: url.Values{
			"grant_type": {"ig_exchange_token"}, "client_secret": {k.app.secret.Reveal()}, "access_token": {g.AccessToken.Reveal()},
		},
	}, &out)
	if err == nil && failure == nil && out.Token == "" {
		failure = &apiError{Status: call.Status, Unreadable: true, Call: call}
	}
	if err != nil || failure != nil {
		return g, k.failed(failure, err)
	}
	k.private = append(k.private, out.Token)
	g.AccessToken, g.TokenType = connectors.NewSecret(out.Token), out.Type
	g.ExpiresIn = k.scale(cmp.Or(answer.Life(out.ExpiresIn), longLife)) // not told: as documented
	return g, nil
}
