package reddit

import (
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"time"

	"postbus.dev/services/connectors/sandbox/stage"
)

// client is the app that makes a call, or the answer that refuses it.
func (rd *Reddit) client(c *call) (stage.Client, *stage.Answer) {
	if refused := rd.agent(c); refused != nil {
		return stage.Client{}, refused
	}
	app, ok := rd.st.Clients.Get(Name, c.id)
	if !ok || c.id == "" || subtle.ConstantTimeCompare([]byte(app.Secret), []byte(c.secret)) != 1 {
		a := rd.fail(http.StatusUnauthorized, "Unauthorized")
		a.Header.Set("Www-Authenticate", `Basic realm="reddit"`)
		return stage.Client{}, &a
	}
	if len(c.names(true)) > 0 && rd.Now().Strict {
		a := rd.named("invalid_request")
		return stage.Client{}, &a
	}
	return app, nil
}

// tokenByCode is POST /api/v1/access_token with a code. One that comes again ends
// what it was good for.
func tokenByCode(rd *Reddit, c *call) stage.Answer {
	app, refused := rd.client(c)
	if refused != nil {
		return *refused
	}
	if c.params["grant_type"] != "authorization_code" {
		return rd.named("unsupported_grant_type")
	}
	value := c.params["code"]
	code, ok := rd.st.Accounts.Token(Name, value)
	if !ok || !strings.HasSuffix(code.Kind, "code") || code.Client != app.ID {
		return rd.named("invalid_grant")
	}
	rd.st.Accounts.Update(Name, value, func(t *stage.Token) { t.Spent++ })
	if code.Spent > 0 {
		rd.end(stage.TokenFilter{Provider: Name, Grant: code.Grant})
	}
	if code.Spent > 0 || code.Expired() || code.Dead != nil || code.Redirect != c.params["redirect_uri"] {
		return rd.named("invalid_grant")
	}
	refresh := ""
	if code.Kind == "code" {
		refresh = rd.issue(code, "refresh")
	}
	return rd.tokens(code, refresh)
}

// tokenByRefresh is POST /api/v1/access_token with a refresh token, which goes on.
func tokenByRefresh(rd *Reddit, c *call) stage.Answer {
	app, refused := rd.client(c)
	if refused != nil {
		return *refused
	}
	old, ok := rd.st.Accounts.Token(Name, c.params["refresh_token"])
	if !ok || old.Kind != "refresh" || old.Client != "" && old.Client != app.ID || old.Expired() && !old.Refreshable || old.Dead != nil {
		return rd.badRefresh()
	}
	shown := old.Value
	switch {
	case rd.alternate():
		shown = ""
	case rd.alternate():
		shown = rd.issue(old, "refresh")
	}
	return rd.tokens(old, shown)
}

// issue makes a token for whoever has from. A refresh token has no end.
func (rd *Reddit) issue(from stage.Token, kind string) string {
	t := stage.Token{
		Value: rd.value(from.Account + "-"), Provider: Name, Account: from.Account, Kind: kind, Scopes: from.Scopes, Issued: time.Now(),
		Client: from.Client, Grant: from.Grant,
	}
	if kind == "access" {
		t.Expires = t.Issued.Add(rd.st.Scale(time.Duration(rd.Now().AccessLife)))
	}
	rd.st.Accounts.Issue(t)
	return t.Value
}

func (rd *Reddit) tokens(from stage.Token, refresh string) stage.Answer {
	out := map[string]any{
		"access_token": rd.issue(from, "access"), "token_type": "bearer", "scope": strings.Join(from.Scopes, " "),
		"expires_in": int(time.Duration(rd.Now().AccessLife).Seconds()),
	}
	if refresh != "" {
		out["refresh_token"] = refresh
	}
	return rd.json(http.StatusOK, "", out)
}

func (rd *Reddit) end(which stage.TokenFilter) {
	rd.st.Accounts.Change(which, func(t *stage.Token) { t.Dead = &stage.Dead{Message: "revoked"} })
}

// revoke is POST /api/v1/revoke_token. A refresh token takes the access tokens of
// its grant with it; a token that nobody knows is no error.
func revoke(rd *Reddit, c *call) stage.Answer {
	app, refused := rd.client(c)
	if refused != nil {
		return *refused
	}
	t, ok := rd.st.Accounts.Token(Name, c.params["token"])
	switch {
	case !ok || t.Client != "" && t.Client != app.ID:
	case t.Kind == "refresh":
		rd.end(stage.TokenFilter{Provider: Name, Grant: t.Grant})
	default:
		rd.end(stage.TokenFilter{Provider: Name, Token: t.Value})
	}
	if rd.alternate() {
		return stage.Answer{Status: http.StatusOK}
	}
	return stage.Answer{Status: http.StatusNoContent}
}

// me is GET /api/v1/me.
func me(rd *Reddit, c *call) stage.Answer {
	if refused := rd.agent(c); refused != nil {
		return *refused
	}
	t, ok := rd.st.Accounts.Token(Name, c.token)
	if !ok || t.Kind != "access" || t.Expired() || t.Dead != nil {
		return rd.bearer(http.StatusUnauthorized, "Unauthorized", "invalid_token")
	}
	if limited := rd.count(t.Client); limited != nil {
		return *limited
	}
	if !hasScope(t, "identity") {
		return rd.bearer(http.StatusForbidden, "Forbidden", "insufficient_scope")
	}
	a := rd.json(http.StatusOK, "", map[string]any{
		"id": c.account.ID, "name": c.account.Username, "is_suspended": c.account.Kind == "suspended", "suspension_expiration_utc": nil,
		"over_18": false, "has_verified_email": true, "link_karma": 12, "comment_karma": 9, "created_utc": 1284611485.0,
	})
	rd.rate(a.Header, t.Client)
	return a
}

// Account fills in what spec leaves open, from the username. Kind "suspended" is
// an account that Reddit has stopped.
func (rd *Reddit) Account(spec stage.Account) (stage.Account, error) {
	if spec.Username == "" {
		return stage.Account{}, errors.New("an account needs a username")
	}
	sum := sha256.Sum256([]byte("reddit/" + spec.Username))
	text := hex.EncodeToString(sum[:])
	spec.Provider = Name
	spec.ID = cmp.Or(spec.ID, text[:7])
	spec.AppID = cmp.Or(spec.AppID, "t2_"+spec.ID)
	spec.Token = cmp.Or(spec.Token, spec.ID+"-"+text[8:36])
	spec.RefreshToken = cmp.Or(spec.RefreshToken, spec.ID+"-"+text[36:])
	spec.Name = cmp.Or(spec.Name, spec.Username)
	if spec.Scopes == nil {
		spec.Scopes = offered()
	}
	if err := rd.st.Accounts.Put(spec); err != nil {
		return stage.Account{}, err
	}
	issued := time.Now().Add(-rd.st.Scale(time.Duration(spec.TokenAge)))
	t := stage.Token{Provider: Name, Account: spec.ID, Scopes: spec.Scopes, Issued: issued, Grant: "grant-" + spec.ID, Value: spec.RefreshToken, Kind: "refresh"}
	rd.st.Accounts.Issue(t)
	t.Value, t.Kind, t.Expires = spec.Token, "access", issued.Add(rd.st.Scale(time.Duration(rd.Now().AccessLife)))
	rd.st.Accounts.Issue(t)
	return spec, nil
}
