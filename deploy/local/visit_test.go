//go:build linux

package main

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/jackc/pgx/v5"

	"postbus.dev/deploy/visitor"
	"postbus.dev/schemas"
	"postbus.dev/services/connectors/sandbox"
)

// visits is what somebody may meet in a browser beside what README.md leads her
// through.
func (r *reader) visits(t *testing.T) {
	if r.window == nil && os.Getenv("CI") != "" {
		t.Fatal(noBrowser)
	}
	if r.window == nil {
		t.Skip(noBrowser)
	}
	link := r.link(t) // good for any number of visits, until it has connected
	for _, v := range []struct {
		name string
		do   func(t *testing.T, w *window)
	}{
		{"who declines is told that nothing is connected", func(_ *testing.T, w *window) { w.decline(link) }},
		{"who takes a permission away is told which one is missing", func(_ *testing.T, w *window) { w.takeAway(link) }},
		{"an account of somebody else is not connected", func(_ *testing.T, w *window) { w.chooseAnother(link) }},
		{"a callback is of the browser that began", func(_ *testing.T, w *window) { w.steal(link) }},
		{"a link that is not whole says so", func(_ *testing.T, w *window) { w.cut(link) }},
		{"a link that has expired says so", r.comeLate},
		{"the documentation shows every operation", r.readDocs},
	} {
		t.Run(v.name, func(t *testing.T) { v.do(t, r.window.as(t)) })
	}
}

func (w *window) decline(link string) {
	w.atProvider(link)
	w.follow("button", "Cancel")
	w.wantPage(403, "Not connected", "You did not allow the connection at instagram.")
}

func (w *window) takeAway(link string) {
	w.atProvider(link)
	w.choose("Account", "ada")
	w.click("checkbox", "instagram_business_content_publish")
	w.follow("button", "Allow")
	w.wantPage(403, "Not connected", "Publishing needs permissions that were not granted", "Missing: instagram_business_content_publish")
}

func (w *window) chooseAnother(link string) {
	w.atProvider(link)
	w.choose("Account", "demo")
	w.follow("button", "Allow")
	w.wantPage(409, "Not connected", "connected for somebody else already")
}

func (w *window) steal(link string) {
	w.atProvider(link)
	once := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	_, asked := w.page()
	back, err := sandbox.Person{Account: "ada"}.Decide(w.t.Context(), once, asked)
	once.CloseIdleConnections()
	if err != nil {
		w.t.Fatal(err)
	}
	thief := w.stranger()
	thief.open(back.String())
	thief.wantPage(403, "Not connected", "begun in another browser")
	w.open(back.String()) // the thief has not spent it
	w.wantPage(200, "Connected", "Your instagram account is connected.")
	do(w, "reload", chromedp.Reload())
	w.wantPage(409, "Already answered", "what came of it stands")
	w.open(link)
	w.wantPage(410, "This link was used", "For another one you need a new link.")
}

func (w *window) cut(link string) {
	w.open(link[:len(link)-1])
	w.wantPage(404, "This link does not work", "Ask for a new one")
}

func (r *reader) comeLate(t *testing.T, w *window) {
	link := r.link(t)
	db, err := pgx.Connect(t.Context(), r.p.dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(context.WithoutCancel(t.Context()))
	if _, err := db.Exec(t.Context(), `UPDATE connect_links SET created_at = now() - interval '16 minutes', expires_at = now() - interval '1 minute' WHERE used_at IS NULL`); err != nil {
		t.Fatal(err)
	}
	w.open(link)
	w.wantPage(410, "This has expired", "It took too long.")
}

func (r *reader) readDocs(t *testing.T, w *window) {
	w.letScriptsRun(true)
	w.open(r.p.api + "/docs")
	const headings = `[...document.querySelectorAll("main h2")].map(h => h.textContent).sort()`
	var shown []string
	for deadline := time.Now().Add(startWait); len(shown) == 0 && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		shown = do(w, "read the headings", chromedp.Evaluate[[]string](headings))
	}
	if want := operations(t); !slices.Equal(shown, want) {
		t.Errorf("shows %q, want %q", shown, want)
	}
	const links = `[...document.querySelectorAll("nav a")].filter(a => document.getElementById(a.hash.slice(1))).map(a => a.textContent).sort()`
	if led := do(w, "read the contents", chromedp.Evaluate[[]string](links)); !slices.Equal(led, shown) {
		t.Errorf("the contents lead to %q, want %q", led, shown)
	}
	w.wantReadable()
}

// operations are what the API's document says of each, in alphabetical order.
func operations(t *testing.T) (all []string) {
	t.Helper()
	var doc struct {
		Paths map[string]map[string]struct{ Summary string }
	}
	if err := json.Unmarshal(schemas.OpenAPI, &doc); err != nil {
		t.Fatal(err)
	}
	for _, methods := range doc.Paths {
		for _, o := range methods {
			all = append(all, o.Summary)
		}
	}
	slices.Sort(all)
	return all
}

// connect allows what the stand-in's page asks for, as README.md says.
func (r *reader) connect(link string) {
	r.t.Helper()
	if r.window == nil { // visits says so
		if p, err := visitor.New(nil).Connect(r.t.Context(), link, "ada"); err != nil || p.Err() != nil {
			r.t.Errorf("%v, %v", err, p.Err())
		}
		return
	}
	r.window.atProvider(link)
	r.window.choose("Account", "ada")
	r.window.follow("button", "Allow")
	r.window.wantPage(200, "Connected", "Your instagram account is connected. You can close this page.")
}

// atProvider opens a link, which leads to the stand-in's page.
func (w *window) atProvider(link string) {
	w.t.Helper()
	w.open(link)
	if status, at := w.page(); status != http.StatusOK {
		w.t.Errorf("%s answered %d", at, status)
	}
	w.find(w.parts(), "heading", "Connect postbus-instagram")
	w.wantReadable()
}

// link makes one for ada, as README.md does.
func (r *reader) link(t *testing.T) string {
	t.Helper()
	for _, b := range r.blocks {
		if b.how == inBrowser {
			reader := *r
			reader.t = t
			return reader.check(b, reader.result(b))
		}
	}
	t.Fatal("README.md does not tell how to make a link")
	return ""
}

// wantPage wants one of our pages: such as anybody can read who cannot see, has
// a telephone, or lets no script run.
func (w *window) wantPage(status int64, title string, texts ...string) {
	w.t.Helper()
	if got, _ := w.page(); got != status {
		w.t.Errorf("%s: status %d, want %d", title, got, status)
	}
	parts := w.parts()
	w.find(parts, "RootWebArea", title+" – Postbus")
	w.find(parts, "main", "")
	if h := w.find(parts, "heading", title); h.level != 1 {
		w.t.Errorf("the heading is of level %v", h.level)
	}
	var all strings.Builder
	for _, p := range parts {
		if p.role == "StaticText" {
			all.WriteString(p.name + "\n")
		}
	}
	for _, text := range texts {
		if !strings.Contains(all.String(), text) {
			w.t.Errorf("the page lacks %q: %s", text, all.String())
		}
	}
	w.wantReadable()
}

// wantReadable wants a page of a known language that fits and did nothing wrong.
func (w *window) wantReadable() {
	w.t.Helper()
	if lang := w.language(); lang != "en" {
		w.t.Errorf("the language is %q", lang)
	}
	if layout := call(w, page.GetLayoutMetrics, cdp.Empty{}); layout.CSSContentSize.Width > narrow {
		w.t.Errorf("the page does not fit a telephone: it is %v wide", layout.CSSContentSize.Width)
	}
	w.seen.mu.Lock()
	defer w.seen.mu.Unlock()
	for _, fault := range w.seen.faults {
		w.t.Error(fault)
	}
	w.seen.faults = nil // told once
}

func (w *window) language() string {
	w.t.Helper()
	for _, n := range call(w, dom.GetDocument, dom.GetDocumentParams{}).Root.Children {
		if i := slices.Index(n.Attributes, "lang"); i >= 0 {
			return n.Attributes[i+1]
		}
	}
	return ""
}
