package onlyfans

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"postbus.dev/services/connectors/sandbox/consent"
	"postbus.dev/services/connectors/sandbox/stage"
)

// withKey refuses calls that have no team's key.
func withKey(op func(of *OnlyFans, c *call, team stage.Client) stage.Answer) func(*OnlyFans, *call) stage.Answer {
	return func(of *OnlyFans, c *call) stage.Answer {
		for _, team := range of.st.Clients.List(Name) {
			if c.key != "" && c.key == team.Secret {
				return op(of, c, team)
			}
		}
		return refuseKey()
	}
}

func refuseKey() stage.Answer {
	return jsonAnswer(http.StatusUnauthorized, map[string]string{"error": "Unauthorized. Go to https://app.onlyfansapi.com/api-keys to get an API key."})
}

// meta is what most answers have beside their data.
func meta() map[string]any {
	return map[string]any{
		"_credits":     map[string]any{"used": 1, "balance": 981, "note": "Always"},
		"_cache":       map[string]any{"is_cached": false, "note": "Cache disabled for this endpoint"},
		"_rate_limits": map[string]any{"limit_minute": 1000, "remaining_minute": 996, "limit_day": nil, "remaining_day": nil},
	}
}

func whoami(_ *OnlyFans, _ *call, team stage.Client) stage.Answer {
	return jsonAnswer(http.StatusOK, map[string]any{"api_key": map[string]string{"name": team.ID}, "team": map[string]string{"name": team.ID, "slug": team.ID}})
}

// makeSession is POST /api/client-sessions.
func makeSession(of *OnlyFans, c *call, team stage.Client) stage.Answer {
	if c.params["display_name"] == "" {
		return jsonAnswer(http.StatusUnprocessableEntity, map[string]any{
			"error": "VALIDATION_ERROR", "message": "The display name field is required.", "errors": map[string][]string{"display_name": {"The display name field is required."}},
		})
	}
	token := fmt.Sprintf("ofapi_cs_%016x%016x", of.st.Uint64(), of.st.Uint64())
	s := session{Client: team.ID, Reference: c.params["client_reference_id"], DisplayName: c.params["display_name"]}
	of.sessions[token] = s
	return jsonAnswer(http.StatusOK, map[string]any{
		"data": map[string]string{"token": token, "display_name": s.DisplayName, "client_reference_id": s.Reference}, "_meta": meta(),
	})
}

// ask reads what the page was opened with.
func (of *OnlyFans) ask(c *call) (consent.Request, *stage.Answer) {
	s := of.sessions[c.params["token"]]
	return of.pages.Read(of.st, consent.Asked{
		Provider: Name, ClientID: s.Client, RedirectURI: c.params["redirect_uri"], ResponseType: "code", State: c.params["state"],
	})
}

// showLogin is the page.
func showLogin(of *OnlyFans, c *call) stage.Answer {
	r, refused := of.ask(c)
	if refused != nil {
		return *refused
	}
	return of.pages.Show(r)
}

// logIn is the page's form. The login ends with the account's handle and id, as
// the gateway's script tells them to the page.
func logIn(of *OnlyFans, c *call) stage.Answer {
	r, refused := of.ask(c)
	if refused != nil {
		return *refused
	}
	if consent.Canceled(c.params) {
		return r.Back(url.Values{"error": {"access_denied"}}, "")
	}
	if _, again := of.pages.Allowed(r, c.params, c.account); again != nil {
		return *again
	}
	handle := of.connect(c.account, of.sessions[c.params["token"]])
	delete(of.sessions, c.params["token"])
	return r.Back(url.Values{"code": {handle + ":" + c.account.ID}}, "")
}

// connect makes an account the team's, or signs it in anew.
func (of *OnlyFans) connect(a stage.Account, s session) string {
	handle := a.Token
	filter := stage.TokenFilter{Provider: Name, Account: a.ID, Kind: "access"}
	for _, t := range of.st.Accounts.Tokens(filter) {
		if t.Client == "" || t.Client == s.Client {
			handle = t.Value
			of.remove(handle)
		}
	}
	if of.Now().NewHandle {
		handle = fmt.Sprintf("acct_%016x%016x", of.st.Uint64(), of.st.Uint64())
	}
	of.st.Accounts.Issue(stage.Token{Value: handle, Provider: Name, Account: a.ID, Kind: "access", Issued: time.Now(), Client: s.Client})
	of.links[handle] = s
	return handle
}

func (of *OnlyFans) remove(handle string) bool {
	delete(of.links, handle)
	_, there := of.st.Accounts.Spend(Name, handle)
	return there
}

// listAccounts is GET /api/accounts, with its filters. A handle that was revoked
// or has expired is an account that is signed out.
func listAccounts(of *OnlyFans, c *call, team stage.Client) stage.Answer {
	list := []any{}
	for _, t := range of.st.Accounts.Tokens(stage.TokenFilter{Provider: Name, Kind: "access"}) {
		a, known := of.st.Accounts.Get(Name, t.Account)
		if !known || t.Client != "" && t.Client != team.ID {
			continue
		}
		if id, name := c.params["onlyfans_id"], c.params["onlyfans_username"]; cmp.Or(id, a.ID) == a.ID && cmp.Or(name, a.Username) == a.Username {
			list = append(list, of.show(a, t))
		}
	}
	return jsonAnswer(http.StatusOK, list)
}

func (of *OnlyFans) show(a stage.Account, t stage.Token) map[string]any {
	_, out := of.st.Faults.State("signed_out", Name, CallAccounts, a.ID)
	in := !out && t.Dead == nil && !t.Expired()
	progress := "signed_in"
	if !in {
		progress = "needs_login"
	}
	item := map[string]any{
		"id": t.Value, "onlyfans_id": a.ID, "onlyfans_username": a.Username, "onlyfans_email": a.Username + "@example.com",
		"display_name": cmp.Or(of.links[t.Value].DisplayName, a.Name), "is_authenticated": in, "authentication_progress": progress,
		"onlyfans_user_data": map[string]any{"name": a.Name, "csrf": "a secret of the session", "wsAuthToken": "another"},
	}
	if n, err := strconv.ParseInt(a.ID, 10, 64); err == nil && !(of.Now().Alternate && of.st.Chance(0.5)) {
		item["onlyfans_id"] = n // as documented
	}
	if of.Now().ShowsReference {
		item["client_reference_id"] = of.links[t.Value].Reference
	}
	return item
}

// deleteAccount is DELETE /api/accounts/{id}.
func deleteAccount(of *OnlyFans, c *call, team stage.Client) stage.Answer {
	t, ok := of.st.Accounts.Token(Name, c.handle)
	if !ok || t.Kind != "access" || t.Client != "" && t.Client != team.ID {
		return jsonAnswer(http.StatusNotFound, map[string]string{"error": "Account not found", "code": "account_not_found"})
	}
	of.remove(c.handle)
	return stage.Answer{Status: http.StatusNoContent}
}

// Account fills in what spec leaves open, from the username. Its token is the
// handle that it has from the start.
func (of *OnlyFans) Account(spec stage.Account) (stage.Account, error) {
	if spec.Username == "" {
		return stage.Account{}, fmt.Errorf("an account needs a username")
	}
	sum := sha256.Sum256([]byte("onlyfans/" + spec.Username))
	spec.Provider = Name
	spec.ID = cmp.Or(spec.ID, fmt.Sprint(100_000_000+binary.BigEndian.Uint64(sum[:])%900_000_000))
	spec.AppID = cmp.Or(spec.AppID, spec.ID)
	spec.Token = cmp.Or(spec.Token, "acct_"+hex.EncodeToString(sum[8:24]))
	spec.Name = cmp.Or(spec.Name, spec.Username)
	if err := of.st.Accounts.Put(spec); err != nil {
		return stage.Account{}, err
	}
	of.st.Accounts.Issue(stage.Token{Value: spec.Token, Provider: Name, Account: spec.ID, Kind: "access", Issued: time.Now()})
	return spec, nil
}
