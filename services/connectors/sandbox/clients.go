package sandbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"postbus.dev/services/connectors/sandbox/stage"
)

// LocalClient is the app that a Postbus has at a provider when browsers see it
// at publicURL: where people come back to, and where the provider calls.
func LocalClient(provider, publicURL string) stage.Client {
	at := strings.TrimRight(publicURL, "/") + "/api/"
	return stage.Client{
		Provider: provider, ID: "postbus-" + provider, Secret: "sandbox-secret-of-" + provider,
		RedirectURIs:   []string{at + "connect/" + provider + "/callback"},
		DeauthorizeURL: at + "callbacks/" + provider + "/deauthorize",
		DeletionURL:    at + "callbacks/" + provider + "/deletion",
	}
}

// Settings are the environment variables that make the stand-ins, served at
// url, the providers of a Postbus that browsers see at publicURL.
func (s *Sandbox) Settings(url, publicURL string) map[string]string {
	all := map[string]string{}
	for _, p := range s.providers {
		maps.Copy(all, p.Settings(url+"/"+p.Name(), LocalClient(p.Name(), publicURL)))
	}
	return all
}

// addClients registers the app of one Postbus at each provider. That nobody said
// where it is does not mean that the one at the usual address wants to be called.
func (s *Sandbox) addClients(publicURL, callURL string) error {
	for _, p := range s.providers {
		c := LocalClient(p.Name(), callURL)
		c.RedirectURIs = LocalClient(p.Name(), cmp.Or(publicURL, "http://localhost:3000")).RedirectURIs
		if callURL == "" {
			c.DeauthorizeURL, c.DeletionURL = "", ""
		}
		if err := s.AddClient(c); err != nil {
			return err
		}
	}
	return nil
}

// AddClient registers an app with a provider, or changes the one with its id.
func (s *Sandbox) AddClient(c stage.Client) error {
	if s.provider(c.Provider) == nil {
		return fmt.Errorf("add client: no provider %q", c.Provider)
	}
	if err := s.stage.Clients.Put(c); err != nil {
		return fmt.Errorf("add client: %w", err)
	}
	return nil
}

// Clients lists the apps at a provider, or all.
func (s *Sandbox) Clients(provider string) []stage.Client { return s.stage.Clients.List(provider) }

// Call does what a person does at a provider, "deauthorize" or "deletion", and
// calls the app as the provider would; with client "" the first one.
func (s *Sandbox) Call(provider, kind, account, client string) ([]stage.Called, error) {
	p, ok := s.provider(provider).(stage.Caller)
	if !ok {
		return nil, fmt.Errorf("call: no provider %q that calls", provider)
	}
	return p.Call(kind, account, client)
}

// Person is somebody at a stand-in's page for permissions.
type Person struct {
	Account string   // username or id of the account that they choose
	Deny    []string // permissions that they take off
	Cancel  bool     // they do not want to after all
}

// Decide sends what the page's form sends, and returns where the browser is sent
// then. client must not follow redirects by itself.
func (p Person) Decide(ctx context.Context, client *http.Client, authorizeURL string) (*url.URL, error) {
	u, err := url.Parse(authorizeURL)
	if err != nil {
		return nil, fmt.Errorf("decide: %w", err)
	}
	form := url.Values{"account": {p.Account}, "decision": {"allow"}}
	if p.Cancel {
		form.Set("decision", "cancel")
	}
	for _, s := range strings.FieldsFunc(u.Query().Get("scope"), func(r rune) bool { return r == ',' || r == ' ' }) {
		if !slices.Contains(p.Deny, s) {
			form.Set("allow_"+s, "on")
		}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, authorizeURL, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, fmt.Errorf("decide: %w", err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("decide: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusSeeOther {
		body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		return nil, errors.Join(fmt.Errorf("decide: not sent back but answered %d: %s", resp.StatusCode, body), err)
	}
	return resp.Location()
}
