package tiktok

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"time"

	"postbus.dev/services/connectors/sandbox/stage"
)

// client is the app that makes a call, or the answer that refuses it. Of more
// parameters a call needs each.
func (tk *TikTok) client(c *call, more ...string) (stage.Client, *stage.Answer) {
	refuse := func(name, description string) (stage.Client, *stage.Answer) {
		a := tk.refuse(name, description)
		return stage.Client{}, &a
	}
	app, ok := tk.st.Clients.Get(Name, c.params["client_key"])
	if !ok || c.params["client_key"] == "" || subtle.ConstantTimeCompare([]byte(app.Secret), []byte(c.params["client_secret"])) != 1 {
		return refuse("invalid_client", "Client key or secret is incorrect.")
	}
	for _, name := range more {
		if c.params[name] == "" {
			return refuse("invalid_request", "The request parameters are malformed: "+name)
		}
	}
	if wrong := tk.checkUnknown(c); wrong != "" {
		return refuse("invalid_request", wrong)
	}
	return app, nil
}

// tokenByCode is POST /v2/oauth/token/ with a code. A code that came with the
// right secret is spent, whatever else is wrong.
func tokenByCode(tk *TikTok, c *call) stage.Answer {
	app, refused := tk.client(c, "code", "redirect_uri")
	if refused != nil {
		return *refused
	}
	if c.params["grant_type"] != "authorization_code" {
		return tk.refuse("unsupported_grant_type", "Grant type is not supported.")
	}
	code, ok := tk.st.Accounts.Spend(Name, c.params["code"])
	if !ok || code.Kind != "code" || code.Client != app.ID || code.Expired() || code.Dead != nil {
		return tk.refuse("invalid_grant", "Authorization code is expired.")
	}
	if code.Redirect != c.params["redirect_uri"] {
		return tk.refuse("invalid_grant", "Redirect_uri is not matched with the uri when requesting code.")
	}
	code.Grant = fmt.Sprintf("grant-%016x", tk.st.Uint64())
	return tk.tokens(code, time.Time{})
}

// tokenByRefresh is POST /v2/oauth/token/ with a refresh token, which it ends.
func tokenByRefresh(tk *TikTok, c *call) stage.Answer {
	app, refused := tk.client(c, "refresh_token")
	if refused != nil {
		return *refused
	}
	value := c.params["refresh_token"]
	old, ok := tk.st.Accounts.Token(Name, value)
	if !ok || old.Kind != "refresh" || old.Client != "" && old.Client != app.ID || old.Expired() && !old.Refreshable || old.Dead != nil {
		return tk.refuse("invalid_grant", "Refresh token is invalid or expired.")
	}
	tk.st.Accounts.Update(Name, value, func(t *stage.Token) { t.Spent++ })
	if old.Spent > 0 && !tk.forgive(old) {
		tk.end(stage.TokenFilter{Provider: Name, Grant: old.Grant})
		return tk.refuse("invalid_grant", "Refresh token was used before.")
	}
	tk.saw(old)
	old.Client = app.ID
	return tk.tokens(old, old.Expires)
}

// forgive ends the pair that a spent token was spent for, if that may be.
func (tk *TikTok) forgive(old stage.Token) bool {
	lost, ok := tk.unseen[old.Grant]
	if !ok || lost.Spent != old.Value || old.Spent > 1 || !tk.Now().Forgives {
		return false
	}
	for _, value := range []string{lost.Access, lost.Refresh} {
		tk.st.Accounts.Update(Name, value, dead)
	}
	return true
}

// saw notes that somebody has a token.
func (tk *TikTok) saw(t stage.Token) {
	if p, ok := tk.unseen[t.Grant]; ok && (t.Value == p.Access || t.Value == p.Refresh) {
		delete(tk.unseen, t.Grant)
	}
}

func dead(t *stage.Token) { t.Dead = &stage.Dead{Message: "revoked"} }

func (tk *TikTok) end(which stage.TokenFilter) { tk.st.Accounts.Change(which, dead) }

// tokens makes a pair for whoever has from, and answers with it. The refresh
// token ends with the grant, if that has an end already.
func (tk *TikTok) tokens(from stage.Token, end time.Time) stage.Answer {
	b, now := tk.Now(), time.Now()
	life := time.Duration(b.RefreshLife)
	if full := now.Add(tk.st.Scale(life)); b.Restarts || end.IsZero() {
		end = full
	} else {
		life -= time.Duration(float64(full.Sub(end)) * float64(life) / float64(tk.st.Scale(life)))
	}
	access := stage.Token{
		Value: fmt.Sprintf("act.%016x%016x", tk.st.Uint64(), tk.st.Uint64()), Kind: "access", Expires: now.Add(tk.st.Scale(time.Duration(b.AccessLife))),
	}
	refresh := stage.Token{Value: fmt.Sprintf("rft.%016x%016x", tk.st.Uint64(), tk.st.Uint64()), Kind: "refresh", Expires: end}
	for _, t := range []stage.Token{access, refresh} {
		t.Provider, t.Account, t.Client, t.Grant, t.Scopes, t.Issued = Name, from.Account, from.Client, from.Grant, from.Scopes, now
		tk.st.Accounts.Issue(t)
	}
	if from.Kind == "refresh" {
		tk.unseen[from.Grant] = pair{Spent: from.Value, Access: access.Value, Refresh: refresh.Value}
	}
	out := map[string]any{
		"access_token": access.Value, "expires_in": int(time.Duration(b.AccessLife).Seconds()), "open_id": from.Account,
		"refresh_token": refresh.Value, "refresh_expires_in": int(life.Seconds()), "scope": strings.Join(from.Scopes, ","), "token_type": "Bearer",
	}
	if tk.alternate() {
		return tk.json(http.StatusOK, "", map[string]any{"data": out, "message": "success"})
	}
	return tk.json(http.StatusOK, "", out)
}

// revoke is POST /v2/oauth/revoke/: it ends all that the app has of the account.
// What it answers to a token that is dead is not documented.
func revoke(tk *TikTok, c *call) stage.Answer {
	app, refused := tk.client(c, "token")
	if refused != nil {
		return *refused
	}
	t, ok := tk.st.Accounts.Token(Name, c.params["token"])
	if !ok || t.Kind != "access" || t.Client != "" && t.Client != app.ID || t.Expired() || t.Dead != nil {
		return tk.refuse("invalid_grant", "Access token is invalid or expired.")
	}
	tk.st.Accounts.Change(stage.TokenFilter{Provider: Name, Account: t.Account}, func(other *stage.Token) {
		if other.Client == "" || other.Client == app.ID {
			dead(other)
		}
	})
	if tk.alternate() {
		return stage.Answer{Status: http.StatusOK}
	}
	return tk.json(http.StatusOK, "", map[string]any{})
}

// Account fills in what spec leaves open, from the username. Its first tokens are
// those of a consent that nobody saw.
func (tk *TikTok) Account(spec stage.Account) (stage.Account, error) {
	if spec.Username == "" {
		return stage.Account{}, fmt.Errorf("an account needs a username")
	}
	sum := sha256.Sum256([]byte("tiktok/" + spec.Username))
	text := hex.EncodeToString(sum[:])
	fill := func(to *string, value string) {
		if *to == "" {
			*to = value
		}
	}
	spec.Provider = Name
	fill(&spec.ID, "-000"+text[:28])
	fill(&spec.AppID, text[32:40]+"-"+text[40:44]+"-4"+text[44:47]+"-8"+text[47:50]+"-"+text[50:62]) // union_id
	fill(&spec.Token, "act."+text[:32])
	fill(&spec.RefreshToken, "rft."+text[32:])
	fill(&spec.Name, spec.Username)
	if spec.Scopes == nil {
		spec.Scopes = offered()
	}
	if err := tk.st.Accounts.Put(spec); err != nil {
		return stage.Account{}, err
	}
	tk.issueFirst(spec)
	return spec, nil
}

// issueFirst makes the tokens that an account has from the start known. A refresh
// token that is known stays as it is: it may be spent.
func (tk *TikTok) issueFirst(a stage.Account) {
	issued := time.Now().Add(-tk.st.Scale(time.Duration(a.TokenAge)))
	t := stage.Token{Provider: Name, Account: a.ID, Scopes: a.Scopes, Issued: issued, Grant: "grant-" + a.ID}
	t.Value, t.Kind, t.Expires = a.Token, "access", issued.Add(tk.st.Scale(time.Duration(tk.Now().AccessLife)))
	tk.st.Accounts.Issue(t)
	if _, known := tk.st.Accounts.Token(Name, a.RefreshToken); !known {
		t.Value, t.Kind, t.Expires = a.RefreshToken, "refresh", issued.Add(tk.st.Scale(time.Duration(tk.Now().RefreshLife)))
		tk.st.Accounts.Issue(t)
	}
}
