// Package consent is the page of a stand-in where a person decides what an app
// may do: which account, which permissions, allow or cancel.
package consent

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"postbus.dev/services/connectors/sandbox/stage"
)

//go:embed pages.html
var pages string

// AllowPrefix makes the name of a permission's checkbox.
const AllowPrefix = "allow_"

// FormParams are what the form sends for the permissions that an app can ask for.
func FormParams(offered []string) []string {
	names := []string{"account", "decision"}
	for _, scope := range offered {
		names = append(names, AllowPrefix+scope)
	}
	return names
}

// Listed is how many accounts a page shows.
const Listed = 500

// Pages are the pages of one stand-in.
type Pages struct {
	templates *template.Template
}

// New makes the pages of a provider that people know by that brand. more are
// templates of its own, which may use "head" and "foot".
func New(brand string, more ...string) *Pages {
	t := template.New("pages").Funcs(template.FuncMap{"brand": func() string { return brand }})
	for _, text := range append([]string{pages}, more...) {
		template.Must(t.Parse(text))
	}
	return &Pages{t}
}

// Request is what an app asks of a person.
type Request struct {
	Client   stage.Client
	Redirect *url.URL
	State    string
	Scopes   []string
	Accounts []stage.Account
	Wrong    string // what the person did wrong
}

// Asked is the address that an app sends a person to, its parameters by our names.
type Asked struct {
	Provider     string
	ClientID     string
	RedirectURI  string
	ResponseType string
	State        string
	Scope        string   // with commas or spaces
	Offered      []string // permissions that an app can ask for
}

// Read reads a request, or returns the page that refuses it. What is wrong is
// told to the person: sending them on to an address that is not registered would
// hand them to anybody.
func (p *Pages) Read(st *stage.Stage, a Asked) (Request, *stage.Answer) {
	refuse := func(text string) (Request, *stage.Answer) {
		answer := p.Render(http.StatusBadRequest, "refused", text)
		return Request{}, &answer
	}
	client, ok := st.Clients.Get(a.Provider, a.ClientID)
	if !ok || a.ClientID == "" {
		return refuse("Invalid platform app: client_id is not registered")
	}
	if !slices.Contains(client.RedirectURIs, a.RedirectURI) {
		return refuse("Invalid redirect_uri: it is not one of those registered for the app")
	}
	redirect, err := url.Parse(a.RedirectURI)
	if err != nil || a.ResponseType != "code" {
		return refuse("Invalid request: response_type must be code")
	}
	scopes := strings.FieldsFunc(a.Scope, func(r rune) bool { return r == ',' || r == ' ' })
	for _, s := range scopes {
		if !slices.Contains(a.Offered, s) {
			return refuse("Invalid scope: " + s)
		}
	}
	if len(scopes) == 0 && len(a.Offered) > 0 {
		return refuse("Invalid scope: none is asked for")
	}
	accounts := st.Accounts.List(a.Provider)
	return Request{client, redirect, a.State, scopes, accounts[:min(len(accounts), Listed)], ""}, nil
}

// Show is the page with the form.
func (p *Pages) Show(r Request) stage.Answer { return p.Render(http.StatusOK, "authorize", r) }

// Canceled says whether the person does not want to after all.
func Canceled(form map[string]string) bool { return form["decision"] == "cancel" }

// Allowed are the permissions that the form leaves checked, or the page that
// asks once more.
func (p *Pages) Allowed(r Request, form map[string]string, chosen stage.Account) ([]string, *stage.Answer) {
	if form["decision"] != "allow" || chosen.ID == "" {
		r.Wrong = "Choose one of the accounts."
		again := p.Render(http.StatusBadRequest, "authorize", r)
		return nil, &again
	}
	var scopes []string
	for _, s := range r.Scopes {
		if form[AllowPrefix+s] != "" {
			scopes = append(scopes, s)
		}
	}
	return scopes, nil
}

// Back sends the person to where they came from.
func (r Request) Back(add url.Values, fragment string) stage.Answer {
	to := *r.Redirect
	q := to.Query()
	for name, v := range add {
		q[name] = v
	}
	if r.State != "" {
		q.Set("state", r.State)
	}
	to.RawQuery, to.Fragment = q.Encode(), fragment
	h := header()
	h.Set("Location", to.String())
	return stage.Answer{Status: http.StatusSeeOther, Header: h}
}

// Render makes a page of the templates.
func (p *Pages) Render(status int, name string, data any) stage.Answer {
	var b bytes.Buffer
	if err := p.templates.ExecuteTemplate(&b, name, data); err != nil {
		return stage.Answer{Status: http.StatusInternalServerError, Body: fmt.Appendf(nil, "render page: %v", err)}
	}
	return stage.Answer{Status: status, Header: header(), Body: b.Bytes()}
}

// header allows no script. It does not limit where forms lead: a browser would
// apply that to the way back as well.
func header() http.Header {
	return http.Header{
		"Content-Type": {"text/html; charset=utf-8"}, "Cache-Control": {"no-store"}, "Referrer-Policy": {"no-referrer"},
		"Content-Security-Policy": {"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"},
	}
}
