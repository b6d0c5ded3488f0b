package httpapi

import (
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
)

// legible is the middleware that refuses addresses which hold what no text
// column can: U+0000, and what is not UTF-8.
func (a *API) legible(ctx huma.Context, next func(huma.Context)) {
	if u := ctx.URL(); !addressIsText(&u) {
		_ = huma.WriteErr(a.huma, ctx, http.StatusBadRequest, "the path or the query is malformed: it must be percent-encoded UTF-8 without U+0000")
		return
	}
	next(ctx)
}

func addressIsText(u *url.URL) bool {
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil || !isText(u.Path) {
		return false
	}
	for name, values := range query {
		for _, v := range append(values, name) {
			if !isText(v) {
				return false
			}
		}
	}
	return true
}

func isText(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }
