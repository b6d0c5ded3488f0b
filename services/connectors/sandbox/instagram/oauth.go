package instagram

import (
	"crypto/subtle"
	"fmt"
	"strconv"
	"strings"
	"time"

	"postbus.dev/services/connectors/sandbox/stage"
)

// badOAuth is an error of api.instagram.com.
func badOAuth(message string) *apiError { return &apiError{OAuth: true, Code: 400, Message: message} }

// tokenByCode is POST /oauth/access_token of api.instagram.com. A code that came
// with the right secret is spent, whatever else is wrong: the documentation
// does not say, and this is the worse choice.
func tokenByCode(ig *Instagram, c *call) (any, *apiError) {
	for _, name := range []string{"client_id", "client_secret", "redirect_uri", "code"} {
		if c.params[name] == "" {
			return nil, badOAuth("Missing required field " + name)
		}
	}
	if c.params["grant_type"] != "authorization_code" {
		return nil, badOAuth("Invalid grant_type")
	}
	if e := ig.checkUnknown(c); e != nil {
		return nil, badOAuth(e.Message)
	}
	client, ok := ig.st.Clients.Get(Name, c.params["client_id"])
	if !ok || !same(client.Secret, c.params["client_secret"]) {
		return nil, badOAuth("Invalid platform app")
	}
	code, ok := ig.st.Accounts.Spend(Name, c.params["code"])
	a, known := ig.st.Accounts.Get(Name, code.Account)
	if !ok || !known || code.Kind != "code" || code.Client != client.ID || code.Expired() || code.Dead != nil {
		return nil, badOAuth("Matching code was not found or was already used")
	}
	if code.Redirect != c.params["redirect_uri"] {
		return nil, badOAuth("Error validating verification code. Please make sure your redirect_uri is identical to the one you used in the OAuth dialog request")
	}
	return ig.firstToken(a, code), nil
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// firstToken answers with a token of an hour, in one of the two shapes that are
// documented or seen.
func (ig *Instagram) firstToken(a stage.Account, code stage.Token) map[string]any {
	t := stage.Token{Value: ig.newToken(), Account: a.ID, Kind: "short", Scopes: code.Scopes, Issued: time.Now(), Client: code.Client}
	ig.issue(t, shortLife)
	out := map[string]any{"access_token": t.Value, "user_id": a.AppID, "permissions": strings.Join(t.Scopes, ",")}
	if !ig.alternate() {
		return map[string]any{"data": []any{out}}
	}
	out["permissions"] = t.Scopes
	if n, err := strconv.ParseUint(a.AppID, 10, 64); err == nil {
		out["user_id"] = n
	}
	return out
}

// exchangeToken is GET /access_token: a short-lived token for a long-lived one.
func exchangeToken(ig *Instagram, c *call) (any, *apiError) {
	if c.params["grant_type"] != "ig_exchange_token" || c.params["client_secret"] == "" {
		return nil, errParam("grant_type must be ig_exchange_token, with client_secret")
	}
	if e := ig.checkUnknown(c); e != nil {
		return nil, e
	}
	t, ok := ig.st.Accounts.Token(Name, c.token)
	if !ok || t.Kind != "short" || t.Expired() || t.Dead != nil {
		return nil, documented(190, 0)
	}
	if client, known := ig.st.Clients.Get(Name, t.Client); !known || !same(client.Secret, c.params["client_secret"]) {
		return nil, errParam("Error validating client secret")
	}
	return ig.renew(t), nil
}

// refreshToken is GET /refresh_access_token.
func refreshToken(ig *Instagram, c *call) (any, *apiError) {
	if c.params["grant_type"] != "ig_refresh_token" {
		return nil, errParam("grant_type must be ig_refresh_token")
	}
	t, _ := ig.st.Accounts.Token(Name, c.token)
	if t.Kind != "access" || !t.Refreshable && time.Since(t.Issued) < ig.st.Scale(24*time.Hour) {
		// What the provider answers here is not documented.
		return nil, errParam("The access token is less than 24 hours old")
	}
	return ig.renew(t), nil
}

// renew makes a token of 60 days that may do what the old one may.
func (ig *Instagram) renew(old stage.Token) map[string]any {
	t := stage.Token{Value: ig.newToken(), Account: old.Account, Kind: "access", Scopes: old.Scopes, Issued: time.Now(), Client: old.Client}
	ig.issue(t, longLife)
	return map[string]any{"access_token": t.Value, "token_type": "bearer", "expires_in": int(longLife.Seconds())}
}

// newToken makes an access token.
func (ig *Instagram) newToken() string {
	return fmt.Sprintf("IGAA%016x%016x", ig.st.Uint64(), ig.st.Uint64())
}

// disconnect is DELETE /me/permissions.
func disconnect(ig *Instagram, c *call) (any, *apiError) {
	t, _ := ig.st.Accounts.Token(Name, c.token)
	ig.removeApp(c.account.ID, t.Client)
	return map[string]bool{"success": true}, nil
}

// removeApp ends every credential that a client has of an account. One that was
// there from the start belongs to whoever removes it.
func (ig *Instagram) removeApp(account, client string) {
	ig.st.Accounts.Change(stage.TokenFilter{Provider: Name, Account: account}, func(t *stage.Token) {
		if t.Client == "" || client == "" || t.Client == client {
			t.Dead = &stage.Dead{Code: 190, Subcode: 458}
		}
	})
}
