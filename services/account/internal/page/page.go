// Package page shows a person, in whose browser something ended, how it ended:
// one plain page that needs no script and loads nothing.
package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"html/template"
	"net/http"
)

//go:embed page.html page.css
var files embed.FS

// Page is what a person reads. Nothing of it has to be escaped.
type Page struct {
	Title string
	Text  []string // a paragraph each
	// Reference is what support finds the request by; "" shows none.
	Reference string
}

// Pages shows pages. It is safe for concurrent use.
type Pages struct {
	template *template.Template
	style    template.CSS
	policy   string
}

// New reads the page that the binary carries.
func New() *Pages {
	style, err := files.ReadFile("page.css")
	if err != nil {
		panic(err) // the file is embedded
	}
	sum := sha256.Sum256(style)
	return &Pages{
		template: template.Must(template.ParseFS(files, "page.html")), // the same
		style:    template.CSS(style),
		policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
			"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
	}
}

// Guard sets the headers that a page has, and every redirect in its place: the
// address may hold what must go no further, so that it is neither kept nor sent
// along as a referrer, and nobody may put the page into a frame.
func (p *Pages) Guard(h http.Header) {
	h.Set("Content-Security-Policy", p.policy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY") // what browsers without frame-ancestors read
}

// Show answers with a page.
func (p *Pages) Show(w http.ResponseWriter, status int, show Page) {
	var body bytes.Buffer
	p.Guard(w.Header())
	err := p.template.Execute(&body, struct {
		Page
		Style template.CSS
	}{show, p.style})
	if err != nil {
		http.Error(w, show.Title, status)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes())
}
