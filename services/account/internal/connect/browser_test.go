package connect

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"testing"

	"postbus.dev/services/internal/httpapi"
)

// browser keeps cookies and follows nothing by itself.
type browser struct {
	*bundle
	client *http.Client
}

func (b *bundle) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		b.Fatal(err)
	}
	client := &http.Client{Jar: jar, Transport: &http.Transport{}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	b.Cleanup(client.CloseIdleConnections)
	return &browser{bundle: b, client: client}
}

type seen struct {
	status   int
	header   http.Header
	body     string
	location string
}

// open opens an address as a browser does; headers are name, value, ...
func (br *browser) open(address string, headers ...string) seen {
	br.Helper()
	return br.send(http.MethodGet, address, "", headers...)
}

func (br *browser) send(method, address, body string, headers ...string) seen {
	br.Helper()
	r, err := http.NewRequestWithContext(br.Context(), method, address, strings.NewReader(body))
	if err != nil {
		br.Fatal(err)
	}
	if body == "" {
		r.Body = http.NoBody
	}
	r.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := br.client.Do(r)
	if err != nil {
		br.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		br.Fatal(err)
	}
	s := seen{status: resp.StatusCode, header: resp.Header, body: string(text), location: resp.Header.Get("Location")}
	if method == http.MethodGet && !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		br.guarded(s)
	}
	return s
}

// guarded checks what every page and redirect has.
func (br *browser) guarded(s seen) {
	br.Helper()
	for name, want := range map[string]string{
		"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
	} {
		if s.header.Get(name) != want {
			br.Errorf("%d has the header %s: %q", s.status, name, s.header.Get(name))
		}
	}
	if csp := s.header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") {
		br.Errorf("%d has the policy %q", s.status, csp)
	}
}

// page checks that a person reads a page with a status and a text.
func (s seen) page(t testing.TB, status int, text string) {
	t.Helper()
	if s.status != status || !strings.Contains(s.body, text) || !strings.HasPrefix(s.header.Get("Content-Type"), "text/html") || !strings.Contains(s.body, `<html lang="en">`) {
		t.Errorf("shown %d %s:\n%s\nwant a page with %d and %q", s.status, s.header.Get("Content-Type"), s.body, status, text)
	}
}

// failure checks what a program reads.
func (s seen) failure(t testing.TB, status int, code httpapi.Code) {
	t.Helper()
	var body struct{ Error struct{ Code httpapi.Code } }
	if err := json.Unmarshal([]byte(s.body), &body); err != nil || s.status != status || body.Error.Code != code {
		t.Errorf("answered %d %s, want %d %s", s.status, s.body, status, code)
	}
}

// call asks the API for something with a key.
func (b *bundle) call(method, path, key, body string) seen {
	b.Helper()
	headers := []string{"Accept", "*/*", "Content-Type", "application/json"}
	if key != "" {
		headers = append(headers, "Authorization", "Bearer "+key)
	}
	return b.browser().send(method, b.url+path, body, headers...)
}

// link makes a connect link for the user of the key.
func (b *bundle) link(key, body string) string {
	b.Helper()
	s := b.call(http.MethodPost, "/api/connect/example/links", key, body)
	var made struct{ Data Link }
	if err := json.Unmarshal([]byte(s.body), &made); err != nil || s.status != http.StatusCreated {
		b.Fatalf("made no link: %d %s", s.status, s.body)
	}
	return made.Data.URL
}

// start opens a link and returns the provider's page that it leads to.
func (br *browser) start(link string) string {
	br.Helper()
	s := br.open(link)
	if s.status != http.StatusSeeOther || !strings.HasPrefix(s.location, "https://provider.example/authorize?") {
		br.Fatalf("the link led to %d %s %s", s.status, s.location, s.body)
	}
	return s.location
}

// connect goes the whole way with a new link of the key's user, and returns its
// end.
func (br *browser) connect(key, account string) seen {
	br.Helper()
	return br.open(br.provider.consent(br.start(br.link(key, `{}`)), account))
}
