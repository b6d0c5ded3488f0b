package tiktok

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"postbus.dev/services/connectors"
	"postbus.dev/services/connectors/internal/answer"
)

// What a person is asked for. Publishing needs the first two; the third tells
// the username, the fourth lists their videos, which is where a post can be
// found whose answer was lost.
const (
	scopeBasic   = "user.info.basic"
	scopePublish = "video.publish"
	scopeProfile = "user.info.profile"
	scopeList    = "video.list"
)

// app is what we are at TikTok.
type app struct {
	key          string
	secret       connectors.Secret
	authorizeURL string
}

// configured: New has seen to it that key and secret are set together.
func (a app) configured() error {
	if a.key == "" {
		return fmt.Errorf("tiktok: TIKTOK_CLIENT_ID and TIKTOK_CLIENT_SECRET: %w", connectors.ErrNotConfigured)
	}
	return nil
}

// AuthorizeURL is TikTok's page for permissions. What other providers call
// client_id is client_key here.
func (c *Connector) AuthorizeURL(_ context.Context, r connectors.AuthorizeRequest) (string, error) {
	if err := c.app.configured(); err != nil {
		return "", err
	}
	return connectors.WithQuery(c.app.authorizeURL, url.Values{
		"client_key": {c.app.key}, "redirect_uri": {r.RedirectURI}, "response_type": {"code"}, "state": {r.State},
		"scope": {strings.Join([]string{scopeBasic, scopePublish, scopeProfile, scopeList}, ",")},
	})
}

// PKCE is false: TikTok checks a code_verifier of mobile and desktop apps only.
func (c *Connector) PKCE() bool { return false }

// Exchange turns a code into a grant: the code for tokens, which spends it, then
// whose they are. A permission that is missing ends it after the first.
func (c *Connector) Exchange(ctx context.Context, x connectors.Exchange) (connectors.Grant, error) {
	if err := c.app.configured(); err != nil {
		return connectors.Grant{}, err
	}
	g, err := c.spend(ctx, x)
	if err != nil || len(g.Missing) > 0 {
		return g, err
	}
	return c.identify(ctx, g)
}

// spend makes the one call that is never made twice: it has a body, so that
// neither Client.Do nor what is below sends it again.
func (c *Connector) spend(ctx context.Context, x connectors.Exchange) (connectors.Grant, error) {
	code := plain(x.Code.Reveal())
	if code == "" {
		return connectors.Grant{}, &connectors.Error{
			Kind: connectors.KindReject, Code: connectors.CodeReauthRequired, NotSent: true, Message: "the callback brought no code",
		}
	}
	resp, err := c.client.Do(ctx, c.form(callCode, "/v2/oauth/token/", url.Values{
		"grant_type": {"authorization_code"}, "redirect_uri": {x.RedirectURI}, "code": {code},
	}))
	if err != nil {
		return connectors.Grant{}, err
	}
	var t tokens
	failure := read(resp, &t)
	if failure == nil && (t.Access == "" || t.Refresh == "" || t.Scope == "") {
		failure = &apiError{Status: resp.Status, Call: resp.Call}
	}
	if failure != nil {
		return connectors.Grant{}, c.refusal(failure)
	}
	g := c.grant(t)
	g.Missing = answer.Missing(answer.Scopes(g.Scope), scopeBasic, scopePublish)
	return g, nil
}

// plain is a code as the token endpoint takes it. TikTok asks that it be decoded
// once more than the query is; a code has no percent sign of its own.
func plain(code string) string {
	if decoded, err := url.PathUnescape(code); err == nil {
		return decoded
	}
	return code
}

// tokens is what the token endpoint answers.
type tokens struct {
	Access, Refresh, Type, OpenID, Scope string
	ExpiresIn, RefreshExpiresIn          json.Number
}

// UnmarshalJSON reads each member by itself: one of an odd shape is as if it were
// not told, since a new pair that is dropped for it would be lost for ever.
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
		Access: text("access_token"), Refresh: text("refresh_token"), Type: text("token_type"), OpenID: text("open_id"), Scope: text("scope"),
		ExpiresIn: json.Number(text("expires_in")), RefreshExpiresIn: json.Number(text("refresh_expires_in")),
	}
	return nil
}

// How long tokens live where an answer does not tell: the shorter of the times
// that are documented, since one that ends earlier than told is refreshed too
// late.
const (
	shortestAccess  = 2 * time.Hour
	shortestRefresh = 180 * 24 * time.Hour
)

// grant is what the tokens are.
func (c *Connector) grant(t tokens) connectors.Grant {
	g := connectors.Grant{
		ProviderAccountID: t.OpenID, AccessToken: connectors.NewSecret(t.Access), RefreshToken: connectors.NewSecret(t.Refresh),
		TokenType: strings.ToLower(t.Type), Scope: t.Scope,
		ExpiresIn: c.scale(cmp.Or(answer.Life(t.ExpiresIn), shortestAccess)),
	}
	if t.Refresh != "" {
		g.RefreshExpiresIn = c.scale(cmp.Or(answer.Life(t.RefreshExpiresIn), shortestRefresh))
	}
	g.RefreshIn = g.ExpiresIn / 2
	return g
}

// identify reads who the account is. Without the permission for the profile
// there is no username in it, and to ask for one would be refused.
func (c *Connector) identify(ctx context.Context, g connectors.Grant) (connectors.Grant, error) {
	fields, profile := "open_id,display_name", slices.Contains(answer.Scopes(g.Scope), scopeProfile)
	if profile {
		fields += ",username"
	}
	var out struct {
		User struct {
			OpenID      string `json:"open_id"`
			DisplayName string `json:"display_name"`
			Username    string `json:"username"`
		} `json:"user"`
	}
	resp, err := c.client.Do(ctx, connectors.Request{
		Name: callUser, Method: http.MethodGet, URL: c.base + "/v2/user/info/", Route: "/v2/user/info/", Token: g.AccessToken,
		Query: url.Values{"fields": {fields}},
	})
	if err != nil {
		return connectors.Grant{}, err
	}
	failure := read(resp, &out)
	if failure == nil && (out.User.OpenID == "" || g.ProviderAccountID != "" && out.User.OpenID != g.ProviderAccountID) {
		failure = &apiError{Status: resp.Status, Call: resp.Call}
	}
	if failure != nil {
		return connectors.Grant{}, c.refusal(failure)
	}
	g.ProviderAccountID, g.Username = out.User.OpenID, out.User.Username
	if g.Username == "" {
		g.Username = cmp.Or(c.creator(ctx, g.AccessToken), out.User.DisplayName)
	}
	return g, nil
}

// creator reads the username where the permission to publish shows it. It is ""
// where that fails: a grant is worth more than a name.
func (c *Connector) creator(ctx context.Context, token connectors.Secret) string {
	const path = "/v2/post/publish/creator_info/query/"
	var out struct {
		Username string `json:"creator_username"`
	}
	resp, err := c.client.Do(ctx, connectors.Request{
		Name: callCreator, Method: http.MethodPost, URL: c.base + path, Route: path, Token: token,
		Header: http.Header{"Content-Type": {"application/json; charset=UTF-8"}},
	})
	if err != nil || read(resp, &out) != nil {
		return ""
	}
	return out.Username
}

// refusal turns an answer that is no success into the error of Exchange: a
// person waits, and begins anew in any case.
func (c *Connector) refusal(e *apiError) *connectors.Error {
	switch e.meaning() {
	case deadGrant, deadToken, forbidden:
		return c.fail(e, connectors.KindReject, connectors.CodeReauthRequired)
	case ours:
		return c.fail(e, connectors.KindReject, connectors.CodeInternal)
	case limited:
		out := c.fail(e, connectors.KindRetry, connectors.CodeRateLimited)
		out.Wait = c.limitWait(e)
		return out
	default:
		return c.fail(e, connectors.KindRetry, connectors.CodeUnavailable)
	}
}
