package page

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func show(p Page) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	New().Show(rec, 409, p)
	return rec
}

func TestAPageIsWhatAnyBrowserAndScreenReaderCanRead(t *testing.T) {
	t.Parallel()
	rec := show(Page{Title: "Connected", Text: []string{"One.", "Two."}, Reference: "id-1"})
	body := rec.Body.String()
	for _, want := range []string{
		"<!doctype html>", `<html lang="en">`, `<meta charset="utf-8">`, `content="width=device-width, initial-scale=1"`,
		"<title>Connected – Postbus</title>", "<main>", "<h1>Connected</h1>", "<p>One.</p>", "<p>Two.</p>", "id-1",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %s:\n%s", want, body)
		}
	}
	if rec.Code != 409 || rec.Header().Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("answered %d %s", rec.Code, rec.Header().Get("Content-Type"))
	}
}

func TestWhatComesFromOutsideIsShownAsText(t *testing.T) {
	t.Parallel()
	const evil = `</title><script>alert(1)</script>"'`
	body := show(Page{Title: evil, Text: []string{evil}, Reference: evil}).Body.String()
	if strings.Contains(body, "<script") || strings.Count(body, "</title>") != 1 || strings.Count(body, "&lt;script&gt;") != 4 {
		t.Errorf("not escaped:\n%s", body)
	}
}

func TestAPageLoadsNothingAndItsOwnStyleIsAllowed(t *testing.T) {
	t.Parallel()
	rec := show(Page{Title: "Connected"})
	h, body := rec.Header(), rec.Body.String()
	style := regexp.MustCompile(`(?s)<style>(.*)</style>`).FindStringSubmatch(body)
	if style == nil {
		t.Fatalf("no style in %s", body)
	}
	sum := sha256.Sum256([]byte(style[1]))
	want := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	if got := h.Get("Content-Security-Policy"); got != want {
		t.Errorf("policy is %s, want %s", got, want)
	}
	for name, value := range map[string]string{
		"Referrer-Policy": "no-referrer", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
	} {
		if h.Get(name) != value {
			t.Errorf("%s is %q", name, h.Get(name))
		}
	}
	for _, never := range []string{"<script", "src=", "href=", "style=", "url("} {
		if strings.Contains(body, never) {
			t.Errorf("the page holds %s", never)
		}
	}
}
