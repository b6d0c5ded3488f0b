package tiktok

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"postbus.dev/services/connectors/sandbox/consent"
	"postbus.dev/services/connectors/sandbox/stage"
)

// codeLife is how long a code is good: TikTok documents none, and codes of others
// live so long.
const codeLife = 10 * time.Minute

func authorizeParams() []string {
	return []string{"client_key", "redirect_uri", "response_type", "scope", "state", "disable_auto_auth"}
}

func decideParams() []string { return append(authorizeParams(), consent.FormParams(offered())...) }

// ask reads what an app asks of a person.
func (tk *TikTok) ask(c *call) (consent.Request, *stage.Answer) {
	return tk.pages.Read(tk.st, consent.Asked{
		Provider: Name, ClientID: c.params["client_key"], RedirectURI: c.params["redirect_uri"], ResponseType: c.params["response_type"],
		State: c.params["state"], Scope: c.params["scope"], Offered: offered(),
	})
}

// showAuthorize is GET /v2/auth/authorize/: a page for a person.
func showAuthorize(tk *TikTok, c *call) stage.Answer {
	r, refused := tk.ask(c)
	if refused != nil {
		return *refused
	}
	return tk.pages.Show(r)
}

// decide is the page's form.
func decide(tk *TikTok, c *call) stage.Answer {
	r, refused := tk.ask(c)
	if refused != nil {
		return *refused
	}
	if consent.Canceled(c.params) {
		return r.Back(url.Values{"error": {"access_denied"}, "error_type": {"user"}, "error_description": {"User canceled the authorization"}}, "")
	}
	scopes, again := tk.pages.Allowed(r, c.params, c.account)
	if again != nil {
		return *again
	}
	now := time.Now()
	code := stage.Token{
		Value: fmt.Sprintf("%016x%016x*0!%d.va", tk.st.Uint64(), tk.st.Uint64(), 4000+tk.st.Uint64()%1000), Provider: Name, Account: c.account.ID,
		Kind: "code", Scopes: scopes, Issued: now, Expires: now.Add(tk.st.Scale(codeLife)), Client: r.Client.ID, Redirect: c.params["redirect_uri"],
	}
	tk.st.Accounts.Issue(code)
	shown := code.Value
	if tk.alternate() {
		shown = url.QueryEscape(shown) // once more than a query is
	}
	return r.Back(url.Values{"code": {shown}, "scopes": {strings.Join(scopes, ",")}}, "")
}
