package reddit

import (
	"fmt"
	"net/http"
	"net/url"
	"time"

	"postbus.dev/services/connectors/sandbox/consent"
	"postbus.dev/services/connectors/sandbox/stage"
)

// codeLife is how long a code is good.
const codeLife = 10 * time.Minute

func authorizeParams() []string {
	return []string{"client_id", "redirect_uri", "response_type", "scope", "state", "duration"}
}

// offered are the permissions that an app can ask for.
func offered() []string {
	return []string{"identity", "submit", "read", "flair", "edit", "history", "mysubreddits"}
}

// ask reads what an app asks of a person.
func (rd *Reddit) ask(c *call) (consent.Request, *stage.Answer) {
	if c.params["state"] == "" {
		refused := rd.pages.Render(http.StatusBadRequest, "refused", "Invalid request: state is missing")
		return consent.Request{}, &refused
	}
	return rd.pages.Read(rd.st, consent.Asked{
		Provider: Name, ClientID: c.params["client_id"], RedirectURI: c.params["redirect_uri"], ResponseType: c.params["response_type"],
		State: c.params["state"], Scope: c.params["scope"], Offered: offered(),
	})
}

// showAuthorize is GET /api/v1/authorize: a page for a person.
func showAuthorize(rd *Reddit, c *call) stage.Answer {
	r, refused := rd.ask(c)
	if refused != nil {
		return *refused
	}
	return rd.pages.Show(r)
}

// decide is the page's form. Whether there will be a refresh token is decided
// here, by the duration that the app asks for.
func decide(rd *Reddit, c *call) stage.Answer {
	r, refused := rd.ask(c)
	if refused != nil {
		return *refused
	}
	if consent.Canceled(c.params) {
		return r.Back(url.Values{"error": {"access_denied"}}, "_")
	}
	scopes, again := rd.pages.Allowed(r, c.params, c.account)
	if again != nil {
		return *again
	}
	kind, now := "code", time.Now()
	if c.params["duration"] != "permanent" {
		kind = "temporary_code"
	}
	code := stage.Token{
		Value: rd.value(""), Provider: Name, Account: c.account.ID, Kind: kind, Scopes: scopes, Issued: now,
		Expires: now.Add(rd.st.Scale(codeLife)), Client: r.Client.ID, Redirect: c.params["redirect_uri"], Grant: rd.value("grant-"),
	}
	rd.st.Accounts.Issue(code)
	return r.Back(url.Values{"code": {code.Value}}, "_")
}

// value makes a credential.
func (rd *Reddit) value(prefix string) string {
	return fmt.Sprintf("%s%016x%016x", prefix, rd.st.Uint64(), rd.st.Uint64())
}
