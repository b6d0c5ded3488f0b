// Package visitor is a person with a browser, as far as connecting an account
// takes one: it keeps cookies, goes where it is sent, and allows at a stand-in's
// page what that asks for. The local system connects its accounts so, and tests.
package visitor

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
)

// Visitor is one browser. Its cookies live as long as it does.
type Visitor struct{ client *http.Client }

// New returns a browser that was nowhere yet. transport may be nil.
func New(transport http.RoundTripper) *Visitor {
	jar, _ := cookiejar.New(nil) // never fails without options
	return &Visitor{client: &http.Client{Jar: jar, Transport: transport}}
}

// Page is where a visit ended.
type Page struct {
	Status  int
	URL     *url.URL
	Heading string // what the page says first
	Text    string
}

// Err is nil for a page that tells of success.
func (p Page) Err() error {
	if p.Status == http.StatusOK {
		return nil
	}
	return fmt.Errorf("%s%s: status %d: %s", p.URL.Host, p.URL.Path, p.Status, p.Heading)
}

// Connect opens a link to connect an account, allows what the provider's page
// asks for and comes back. denied are permissions that are not allowed.
func (v *Visitor) Connect(ctx context.Context, link, account string, denied ...string) (Page, error) {
	asked, err := v.Open(ctx, link)
	if err != nil || asked.Err() != nil {
		return asked, err
	}
	form := url.Values{"account": {account}, "decision": {"allow"}}
	for _, scope := range strings.FieldsFunc(asked.URL.Query().Get("scope"), func(r rune) bool { return r == ',' || r == ' ' }) {
		if !slices.Contains(denied, scope) {
			form.Set("allow_"+scope, "on")
		}
	}
	return v.Submit(ctx, asked.URL.String(), form)
}

// Open visits an address.
func (v *Visitor) Open(ctx context.Context, address string) (Page, error) {
	return v.visit(ctx, http.MethodGet, address, nil)
}

// Submit sends a form.
func (v *Visitor) Submit(ctx context.Context, address string, form url.Values) (Page, error) {
	return v.visit(ctx, http.MethodPost, address, form)
}

func (v *Visitor) visit(ctx context.Context, method, address string, form url.Values) (Page, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(form.Encode()))
	if err != nil {
		return Page{}, err
	}
	req.Header.Set("Accept", "text/html")
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := v.client.Do(req)
	if err != nil {
		return Page{}, err
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return Page{Status: resp.StatusCode, URL: resp.Request.URL, Heading: heading(string(text)), Text: string(text)}, err
}

func heading(page string) string {
	_, rest, _ := strings.Cut(page, "<h1")
	_, rest, _ = strings.Cut(rest, ">")
	text, _, _ := strings.Cut(rest, "</h1>")
	return strings.TrimSpace(text)
}
