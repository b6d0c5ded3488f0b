package connect

import (
	"strings"
	"testing"

	"github.com/google/uuid"

	"postbus.dev/services/internal/httpapi"
)

func TestOnlyListedPlacesAreReturnedTo(t *testing.T) {
	t.Parallel()
	rs, err := newReturns([]string{"https://app.example", "https://shop.example:8443/done/", "http://localhost:5173", "HTTPS://Caps.Example:443", "http://[::1]:80/x"})
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]string{
		"https://app.example":                    "https://app.example",
		"https://app.example/":                   "https://app.example/",
		"https://app.example:443/a":              "https://app.example/a",
		"https://app.example:/a":                 "https://app.example/a",
		"HTTPS://APP.example/A?b=c&d=%2F%2Fx":    "https://app.example/A?b=c&d=%2F%2Fx",
		"https://app.example//evil.example":      "https://app.example//evil.example", // a path: the origin stays
		"https://app.example/?to=//evil.example": "https://app.example/?to=//evil.example",
		"https://caps.example/x":                 "https://caps.example/x",
		"https://shop.example:8443/done":         "https://shop.example:8443/done",
		"https://shop.example:8443/done/1":       "https://shop.example:8443/done/1",
		"https://shop.example:8443/done?x=1":     "https://shop.example:8443/done?x=1",
		"http://localhost:5173/back":             "http://localhost:5173/back",
		"http://[::1]/x":                         "http://[::1]/x",
	} {
		if got, err := rs.allow(address); err != nil || got != want {
			t.Errorf("%s gave %q, %v", address, got, err)
		}
	}
	for _, address := range []string{
		"", "/", "/local", "app.example", "//app.example", "//evil.example", "///evil.example", `/\evil.example`, "https:app.example", "https:/app.example", "https:///app.example",
		"http://app.example", "ftp://app.example", "javascript:alert(1)", "javascript://app.example/%0aalert(1)", "data:text/html,x", "blob:https://app.example/1",
		"https://evil.example", "https://app.example.evil.example", "https://evilapp.example", "https://sub.app.example", "https://app.example.", "https://app.exampl%65",
		"https://app.example:8443", "https://app.example:80", "https://app.example:0443", "https://app.example:99999", "https://app.example:x",
		"https://app.example@evil.example", "https://app.example:443@evil.example/", "https://user@app.example", "https://user:secret@app.example", "https://@app.example", "https://app.example%40evil.example",
		`https://app.example\@evil.example`, `https://evil.example\@app.example`, `https://evil.example\.app.example`, `https:\\app.example`, `https://app.example\..\x`,
		"https://evil.example#@app.example", "https://app.example#x", "https://app.example/#", "https://app.example/a#//evil.example", "https://evil.example?@app.example", "https://evil.example/https://app.example",
		" https://app.example", "https://app.example ", "https://app.example\t", "ht\ntps://app.example", "https://app.exa\rmple", "https://app.example/\x00", "https://app.example/\x7f", "https://app.example/ü", "https://аpp.example", "https://app。example",
		"https://shop.example:8443", "https://shop.example:8443/", "https://shop.example:8443/don", "https://shop.example:8443/donee", "https://shop.example:8443/Done",
		"https://shop.example:8443/done/../admin", "https://shop.example:8443/done/%2e%2e/admin", "https://shop.example:8443/done/.%2E/admin", "https://shop.example:8443/done/./x",
		"https://shop.example:8443/done%2fx", "https://shop.example:8443/done/%2f..%2fadmin", "https://shop.example:8443/done/%5c..%5cadmin", "https://shop.example/done", "https://app.example/%zz",
		"http://[::1]:8080/x", "http://[::1%25lo]/x", "http://127.0.0.1:5173", "http://localhost", "https://app.example/" + strings.Repeat("a", maxReturnTo),
	} {
		if got, err := rs.allow(address); err == nil {
			t.Errorf("%q was allowed as %q", address, got)
		}
	}
}

func TestNoPlaceIsReturnedToUnlessOneIsListed(t *testing.T) {
	t.Parallel()
	rs, err := newReturns(nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := rs.allow("https://app.example"); err == nil {
		t.Errorf("allowed %q", got)
	}
}

func TestEveryFaultInTheListOfPlacesIsNamed(t *testing.T) {
	t.Parallel()
	_, err := newReturns([]string{"app.example", "https://ok.example", "https://*.example", "https://a.example?x=1", "https://u@b.example", "https://c.example/#x", "null"})
	for _, entry := range []string{"app.example", "https://*.example", "https://a.example?x=1", "https://u@b.example", "https://c.example/#x", "null"} {
		if err == nil || !strings.Contains(err.Error(), `"`+entry+`"`) {
			t.Errorf("%s is not named in: %v", entry, err)
		}
	}
	if strings.Contains(err.Error(), "ok.example") {
		t.Errorf("a good one is named in: %v", err)
	}
}

func TestHowItEndedIsAddedToWhatTheAddressHas(t *testing.T) {
	t.Parallel()
	id := uuid.MustParse("0197e0c3-7a53-7d1c-9d63-1f0a3c0f5a01")
	for _, c := range []struct {
		address string
		code    httpapi.Code
		want    string
	}{
		{"https://app.example", "", "https://app.example?accountId=0197e0c3-7a53-7d1c-9d63-1f0a3c0f5a01&status=connected"},
		{"https://app.example/a?b=%26&status=x", "", "https://app.example/a?b=%26&status=x&accountId=0197e0c3-7a53-7d1c-9d63-1f0a3c0f5a01&status=connected"},
		{"https://app.example/a", httpapi.CodeConflict, "https://app.example/a?code=CONFLICT&status=failed"},
	} {
		if got := backTo(c.address, c.code, id); got != c.want {
			t.Errorf("%s became %s, want %s", c.address, got, c.want)
		}
	}
}
