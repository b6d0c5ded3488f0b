package instagram

import (
	"bytes"
	_ "embed"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"postbus.dev/services/connectors/sandbox/stage"
)

//go:embed pages.html
var pages string

func parsePages() *template.Template { return template.Must(template.New("pages").Parse(pages)) }

// allowPrefix makes the name of a permission's checkbox.
const allowPrefix = "allow_"

// offered are the permissions that an app can ask for.
func offered() []string {
	return []string{
		basicScope, publishScope, "instagram_business_manage_comments", "instagram_business_manage_messages", "instagram_business_manage_insights",
	}
}

func authorizeParams() []string {
	return []string{"client_id", "redirect_uri", "response_type", "scope", "state", "enable_fb_login", "force_reauth"}
}

// request is what an app asks of a person.
type request struct {
	Client   stage.Client
	Redirect *url.URL
	State    string
	Scopes   []string
	Accounts []stage.Account
	Wrong    string // what the person did wrong
}

// listed is how many accounts the page offers.
const listed = 500

// ask reads a request. What is wrong with it is told to the person: sending
// them on to an address that is not registered would hand them to anybody.
func (ig *Instagram) ask(c *call) (request, string) {
	client, ok := ig.st.Clients.Get(Name, c.params["client_id"])
	if !ok || c.params["client_id"] == "" {
		return request{}, "Invalid platform app: client_id is not registered"
	}
	if !slices.Contains(client.RedirectURIs, c.params["redirect_uri"]) {
		return request{}, "Invalid redirect_uri: it is not one of those registered for the app"
	}
	redirect, err := url.Parse(c.params["redirect_uri"])
	if err != nil || c.params["response_type"] != "code" {
		return request{}, "Invalid request: response_type must be code"
	}
	scopes := strings.FieldsFunc(c.params["scope"], func(r rune) bool { return r == ',' || r == ' ' })
	for _, s := range scopes {
		if !slices.Contains(offered(), s) {
			return request{}, "Invalid scope: " + s
		}
	}
	if len(scopes) == 0 {
		return request{}, "Invalid scope: none is asked for"
	}
	accounts := ig.st.Accounts.List(Name)
	return request{client, redirect, c.params["state"], scopes, accounts[:min(len(accounts), listed)], ""}, ""
}

// showAuthorize is GET /oauth/authorize: a page for a person.
func showAuthorize(ig *Instagram, c *call) (any, *apiError) {
	r, wrong := ig.ask(c)
	if wrong != "" {
		return ig.page(http.StatusBadRequest, "refused", wrong), nil
	}
	return ig.page(http.StatusOK, "authorize", r), nil
}

// decide is the page's form.
func decide(ig *Instagram, c *call) (any, *apiError) {
	r, wrong := ig.ask(c)
	switch {
	case wrong != "":
		return ig.page(http.StatusBadRequest, "refused", wrong), nil
	case c.params["decision"] == "cancel":
		return r.back(url.Values{
			"error": {"access_denied"}, "error_reason": {"user_denied"}, "error_description": {"The user denied your request"},
		}, ""), nil
	case c.params["decision"] != "allow" || c.account.ID == "":
		r.Wrong = "Choose one of the accounts."
		return ig.page(http.StatusBadRequest, "authorize", r), nil
	}
	code := stage.Token{
		Value: ig.newCode(), Account: c.account.ID, Kind: "code", Issued: time.Now(), Client: r.Client.ID, Redirect: c.params["redirect_uri"],
	}
	for _, s := range r.Scopes {
		if c.params[allowPrefix+s] != "" {
			code.Scopes = append(code.Scopes, s)
		}
	}
	ig.issue(code, shortLife)
	return r.back(url.Values{"code": {code.Value}}, "_"), nil
}

// back sends the person to where they came from. The provider appends "#_" to
// an address with a code.
func (r request) back(add url.Values, fragment string) stage.Answer {
	to := *r.Redirect
	q := to.Query()
	for name, v := range add {
		q[name] = v
	}
	if r.State != "" {
		q.Set("state", r.State)
	}
	to.RawQuery, to.Fragment = q.Encode(), fragment
	h := pageHeader()
	h.Set("Location", to.String())
	return stage.Answer{Status: http.StatusSeeOther, Header: h}
}

func (ig *Instagram) newCode() string {
	b := make([]byte, 48)
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], ig.st.Uint64())
	}
	return "AQ" + base64.RawURLEncoding.EncodeToString(b)
}

// page renders one of pages.html.
func (ig *Instagram) page(status int, name string, data any) stage.Answer {
	var b bytes.Buffer
	if err := ig.pages.ExecuteTemplate(&b, name, data); err != nil {
		return stage.Answer{Status: http.StatusInternalServerError, Body: fmt.Appendf(nil, "render page: %v", err)}
	}
	return stage.Answer{Status: status, Header: pageHeader(), Body: b.Bytes()}
}

// pageHeader allows no script. It does not limit where forms lead: a browser
// would apply that to the way back as well.
func pageHeader() http.Header {
	return http.Header{
		"Content-Type": {"text/html; charset=utf-8"}, "Cache-Control": {"no-store"}, "Referrer-Policy": {"no-referrer"},
		"Content-Security-Policy": {"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"},
	}
}
