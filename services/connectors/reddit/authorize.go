package reddit

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"postbus.dev/services/connectors"
	"postbus.dev/services/connectors/internal/answer"
)

// What a person is asked for. Publishing needs the first two; the others read a
// subreddit's rules, its flairs, and the list in which a post can be found whose
// answer was lost.
const (
	scopeIdentity = "identity"
	scopeSubmit   = "submit"
	allScopes     = "identity submit read flair history"
)

// app is what we are at Reddit.
type app struct {
	id           string
	secret       connectors.Secret
	authorizeURL string
}

// configured: New has seen to it that id and secret are set together.
func (a app) configured() error {
	if a.id == "" {
		return fmt.Errorf("reddit: REDDIT_CLIENT_ID and REDDIT_CLIENT_SECRET: %w", connectors.ErrNotConfigured)
	}
	return nil
}

// AuthorizeURL is Reddit's page for permissions.
func (c *Connector) AuthorizeURL(_ context.Context, r connectors.AuthorizeRequest) (string, error) {
	if err := c.app.configured(); err != nil {
		return "", err
	}
	return connectors.WithQuery(c.app.authorizeURL, url.Values{
		"client_id": {c.app.id}, "redirect_uri": {r.RedirectURI}, "response_type": {"code"}, "state": {r.State},
		"scope": {allScopes}, "duration": {"permanent"},
	})
}

// PKCE is false: Reddit has none for web apps.
func (c *Connector) PKCE() bool { return false }

// Exchange turns a code into a grant: the code for tokens, which spends it, then
// whose they are. A permission that is missing ends it after the first.
func (c *Connector) Exchange(ctx context.Context, x connectors.Exchange) (connectors.Grant, error) {
	if err := c.app.configured(); err != nil {
		return connectors.Grant{}, err
	}
	code := strings.TrimSuffix(x.Code.Reveal(), "#_") // Reddit appends it to the address
	if code == "" {
		return connectors.Grant{}, &connectors.Error{
			Kind: connectors.KindReject, Code: connectors.CodeReauthRequired, NotSent: true, Message: "the callback brought no code",
		}
	}
	t, failure, err := c.tokens(ctx, callCode, url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {x.RedirectURI}})
	if err == nil && failure == nil && (t.Refresh == "" || t.Scope == "") {
		failure = &apiError{Status: http.StatusOK, Call: t.call}
	}
	if err != nil || failure != nil {
		return connectors.Grant{}, c.notConnected(failure, err)
	}
	return c.complete(ctx, c.grant(t))
}

// complete says what is missing, or reads whose the tokens are.
func (c *Connector) complete(ctx context.Context, g connectors.Grant) (connectors.Grant, error) {
	if g.Scope != "*" {
		g.Missing = answer.Missing(answer.Scopes(g.Scope), scopeIdentity, scopeSubmit)
	}
	if len(g.Missing) > 0 {
		return g, nil
	}
	return c.identify(ctx, g)
}

// Import asks for new tokens, which is what tells what the old ones may do and
// that they are our client's, and reads whose they are. An access token alone is
// of no use: it ends within a day.
func (c *Connector) Import(ctx context.Context, given connectors.Grant) (connectors.Grant, error) {
	if err := c.app.configured(); err != nil {
		return connectors.Grant{}, err
	}
	if given.RefreshToken.Empty() {
		return connectors.Grant{}, &connectors.Error{
			Kind: connectors.KindReject, Code: connectors.CodeValidation, NotSent: true, Message: "a refresh token is needed",
		}
	}
	t, failure, err := c.tokens(ctx, callRefresh, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {given.RefreshToken.Reveal()}})
	if err != nil || failure != nil {
		return connectors.Grant{}, c.notConnected(failure, err)
	}
	t.Refresh, t.Scope = cmp.Or(t.Refresh, given.RefreshToken.Reveal()), cmp.Or(t.Scope, given.Scope)
	g, err := c.complete(ctx, c.grant(t))
	if err == nil && len(g.Missing) == 0 && given.ProviderAccountID != "" && given.ProviderAccountID != g.ProviderAccountID {
		return connectors.Grant{}, &connectors.Error{
			Kind: connectors.KindReject, Code: connectors.CodeValidation, Message: "the token belongs to another account",
		}
	}
	return g, err
}

// tokens is what the token endpoint answers.
type tokens struct {
	Access, Refresh, Type, Scope string
	ExpiresIn                    json.Number
	call                         connectors.Call
}

// UnmarshalJSON reads each member by itself: one of an odd shape is as if it were
// not told.
func (t *tokens) UnmarshalJSON(b []byte) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(b, &members); err != nil {
		return err
	}
	text := func(name string) string {
		var v answer.ID
		if json.Unmarshal(members[name], &v) != nil {
			return ""
		}
		return string(v)
	}
	*t = tokens{
		Access: text("access_token"), Refresh: text("refresh_token"), Type: text("token_type"), Scope: text("scope"),
		ExpiresIn: json.Number(text("expires_in")),
	}
	return nil
}

// tokens makes the one call of the token endpoint. It has a body, so that neither
// Client.Do nor what is below sends it again.
func (c *Connector) tokens(ctx context.Context, name string, form url.Values) (tokens, *apiError, error) {
	resp, err := c.client.Do(ctx, c.form(name, "/access_token", form))
	if err != nil {
		return tokens{}, nil, err
	}
	var t tokens
	failure := read(resp, &t)
	if failure == nil && t.Access == "" {
		failure = &apiError{Status: resp.Status, Header: resp.Header, Call: resp.Call}
	}
	t.call = resp.Call
	return t, failure, nil
}

// shortest is how long an access token lives where the answer does not tell: it
// was an hour for years, and is a day now.
const shortest = time.Hour

// grant is what the tokens are. They are refreshed at half of the access token's
// life, so that trouble has as long to pass.
func (c *Connector) grant(t tokens) connectors.Grant {
	life := c.scale(cmp.Or(answer.Life(t.ExpiresIn), shortest))
	return connectors.Grant{
		AccessToken: connectors.NewSecret(t.Access), RefreshToken: connectors.NewSecret(t.Refresh), TokenType: strings.ToLower(t.Type),
		Scope: t.Scope, ExpiresIn: life, RefreshIn: life / 2,
	}
}

// identify reads who the account is.
func (c *Connector) identify(ctx context.Context, g connectors.Grant) (connectors.Grant, error) {
	var me struct {
		ID        answer.ID `json:"id"`
		Name      string    `json:"name"`
		Suspended bool      `json:"is_suspended"`
	}
	resp, err := c.client.Do(ctx, connectors.Request{
		Name: callMe, Method: http.MethodGet, URL: c.base + "/api/v1/me", Route: "/api/v1/me", Token: g.AccessToken,
		Query: url.Values{"raw_json": {"1"}}, Header: http.Header{"User-Agent": {c.userAgent}},
	})
	if err != nil {
		return connectors.Grant{}, err
	}
	failure := read(resp, &me)
	if failure == nil && (me.ID == "" || me.Name == "") {
		failure = &apiError{Status: resp.Status, Header: resp.Header, Call: resp.Call}
	}
	switch {
	case failure != nil:
		return connectors.Grant{}, c.unidentified(failure)
	case me.Suspended:
		return connectors.Grant{}, &connectors.Error{
			Kind: connectors.KindReject, Code: connectors.CodeAccountRestricted, Call: resp.Call, Message: "the account is suspended at Reddit",
		}
	}
	g.ProviderAccountID, g.Username = strings.TrimPrefix(string(me.ID), "t2_"), me.Name
	return g, nil
}

// unidentified: a token that is dead or may not say who it is shows in a header.
// Everything else may come from anybody between.
func (c *Connector) unidentified(e *apiError) *connectors.Error {
	told := e.Header.Get("Www-Authenticate")
	switch {
	case e.Status == http.StatusTooManyRequests:
		return c.limited(e)
	case e.Status == http.StatusUnauthorized && told != "", e.Status == http.StatusForbidden && strings.Contains(told, "insufficient_scope"):
		out := c.fail(e, connectors.KindReject, connectors.CodeReauthRequired)
		out.Message = "the access token is not good for this"
		return out
	}
	out := c.fail(e, connectors.KindRetry, connectors.CodeUnavailable)
	out.Message = "Reddit did not say who the account is"
	return out
}

// notConnected is the error of a token call for somebody who is connecting an
// account: they wait, and begin anew in any case.
func (c *Connector) notConnected(e *apiError, err error) error {
	if err != nil {
		return err
	}
	switch e.meaning() {
	case deadGrant:
		return c.fail(e, connectors.KindReject, connectors.CodeReauthRequired)
	case ours:
		return c.fail(e, connectors.KindReject, connectors.CodeInternal)
	case limited:
		return c.limited(e)
	default:
		return c.fail(e, connectors.KindRetry, connectors.CodeUnavailable)
	}
}

func (c *Connector) limited(e *apiError) *connectors.Error {
	out := c.fail(e, connectors.KindRetry, connectors.CodeRateLimited)
	out.Wait = c.wait(e)
	return out
}
