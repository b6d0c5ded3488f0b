package instagram

import (
	_ "embed"
	"encoding/base64"
	"encoding/binary"
	"net/url"
	"time"

	"postbus.dev/services/connectors/sandbox/consent"
	"postbus.dev/services/connectors/sandbox/stage"
)

// apps is the page where a person removes an app.
//
//go:embed apps.html
var apps string

// offered are the permissions that an app can ask for.
func offered() []string {
	return []string{
		basicScope, publishScope, "instagram_business_manage_comments", "instagram_business_manage_messages", "instagram_business_manage_insights",
	}
}

func authorizeParams() []string {
	return []string{"client_id", "redirect_uri", "response_type", "scope", "state", "enable_fb_login", "force_reauth"}
}

// ask reads what an app asks of a person.
func (ig *Instagram) ask(c *call) (consent.Request, *stage.Answer) {
	return ig.pages.Read(ig.st, consent.Asked{
		Provider: Name, ClientID: c.params["client_id"], RedirectURI: c.params["redirect_uri"], ResponseType: c.params["response_type"],
		State: c.params["state"], Scope: c.params["scope"], Offered: offered(),
	})
}

// showAuthorize is GET /oauth/authorize: a page for a person.
func showAuthorize(ig *Instagram, c *call) (any, *apiError) {
	r, refused := ig.ask(c)
	if refused != nil {
		return *refused, nil
	}
	return ig.pages.Show(r), nil
}

// decide is the page's form. The provider appends "#_" to an address with a
// code.
func decide(ig *Instagram, c *call) (any, *apiError) {
	r, refused := ig.ask(c)
	if refused != nil {
		return *refused, nil
	}
	if consent.Canceled(c.params) {
		return r.Back(url.Values{
			"error": {"access_denied"}, "error_reason": {"user_denied"}, "error_description": {"The user denied your request"},
		}, ""), nil
	}
	scopes, again := ig.pages.Allowed(r, c.params, c.account)
	if again != nil {
		return *again, nil
	}
	code := stage.Token{
		Value: ig.newCode(), Account: c.account.ID, Kind: "code", Scopes: scopes, Issued: time.Now(), Client: r.Client.ID, Redirect: c.params["redirect_uri"],
	}
	ig.issue(code, shortLife)
	return r.Back(url.Values{"code": {code.Value}}, "_"), nil
}

func (ig *Instagram) newCode() string {
	b := make([]byte, 48)
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], ig.st.Uint64())
	}
	return "AQ" + base64.RawURLEncoding.EncodeToString(b)
}
