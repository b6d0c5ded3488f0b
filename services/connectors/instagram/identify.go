package instagram

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"postbus.dev/services/connectors"
	"postbus.dev/services/connectors/internal/answer"
)

// Import asks Instagram who a token belongs to. What it may do is not told
// anywhere: reading the publishing quota needs the permission to publish, and
// shows by that whether it is there.
func (c *Connector) Import(ctx context.Context, given connectors.Grant) (connectors.Grant, error) {
	k := c.connection(given.AccessToken)
	g, err := k.identify(ctx, connectors.Grant{AccessToken: given.AccessToken, TokenType: given.TokenType})
	if err != nil {
		return connectors.Grant{}, err
	}
	if given.ProviderAccountID != "" && given.ProviderAccountID != g.ProviderAccountID {
		return connectors.Grant{}, &connectors.Error{
			Kind: connectors.KindReject, Code: connectors.CodeValidation, Message: "the token belongs to another account",
		}
	}
	if g, err = k.knowScope(ctx, g); err != nil {
		return connectors.Grant{}, err
	}
	if g.Scope != "" {
		g.Scope = union(g.Scope, given.Scope)
	}
	g.ExpiresIn, g.RefreshIn = c.livesOn(given.ExpiresIn)
	return g, nil
}

// livesOn is how long an imported token is good and when it is refreshed first.
// Where its age is not told it may be young, which an early refresh would find
// out the hard way, and its end is the last that is possible.
func (c *Connector) livesOn(left time.Duration) (expires, refresh time.Duration) {
	life, age := c.scale(longLife), c.scale(refreshAge)
	if left <= 0 {
		return life, age
	}
	left = min(left, life)
	return left, c.refreshIn(left, age-(life-left))
}

// refreshIn is when a token is refreshed first: with ten days left, so that
// trouble has time to pass, and never before it is old enough.
func (c *Connector) refreshIn(left, earliest time.Duration) time.Duration {
	return max(left-c.scale(refreshAhead), earliest, c.scale(time.Minute))
}

// union joins two scopes, the first one's names first.
func union(a, b string) string {
	names := answer.Scopes(a)
	for _, name := range answer.Scopes(b) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// identify reads whose token it is. The professional account's id is user_id
// here; id is the app-scoped one, which callbacks name.
func (k *connection) identify(ctx context.Context, g connectors.Grant) (connectors.Grant, error) {
	var me struct {
		AppScoped answer.ID `json:"id"`
		ID        answer.ID `json:"user_id"`
		Username  string    `json:"username"`
		Kind      string    `json:"account_type"`
	}
	r := k.request(connectors.Account{AccessToken: g.AccessToken}, callMe, http.MethodGet, "/me", "me")
	call, failure, err := k.get(ctx, r, "id,user_id,username,account_type", &me)
	if err == nil && failure == nil && me.ID == "" {
		failure = &apiError{Status: call.Status, Unreadable: true, Call: call}
	}
	if err != nil || failure != nil {
		return g, k.failed(failure, err)
	}
	if !professional(me.Kind) {
		return g, &connectors.Error{
			Kind: connectors.KindReject, Code: connectors.CodeAccountRestricted, Call: call,
			Message: "only professional accounts (business or creator) can publish: switch the account in the Instagram app",
		}
	}
	g.ProviderAccountID, g.Username = string(me.ID), me.Username
	g.Metadata, err = json.Marshal(metadata{CallbackID: cmp.Or(string(me.AppScoped), k.appScoped), Kind: strings.ToLower(me.Kind)})
	return g, err
}

// metadata is what is kept of an account beside its row's own columns.
type metadata struct {
	CallbackID string `json:"callback_id,omitempty"`
	Kind       string `json:"account_type,omitempty"`
}

// professional: Meta's pages spell the kinds in two ways. An account whose kind
// is not told is taken, since this API serves no other.
func professional(kind string) bool {
	return slices.Contains([]string{"", "business", "media_creator", "creator"}, strings.ToLower(kind))
}

// knowScope finds out what a token may do, where no answer has told it.
func (k *connection) knowScope(ctx context.Context, g connectors.Grant) (connectors.Grant, error) {
	if g.Scope != "" {
		return g, nil
	}
	_, _, failure, err := k.quota(ctx, connectors.Account{ProviderAccountID: g.ProviderAccountID, AccessToken: g.AccessToken})
	switch {
	case err != nil:
		return g, err
	case failure == nil:
		g.Scope = scopeBasic + "," + scopePublish
	case failure.lacksPermission():
		g.Scope, g.Missing = scopeBasic, []string{scopePublish} // it has just told who it is
	default:
		return g, k.refusal(failure)
	}
	return g, nil
}
