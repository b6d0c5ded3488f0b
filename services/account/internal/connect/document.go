package connect

import (
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"postbus.dev/services/internal/httpapi"
)

func inPath(name, doc string) *huma.Param {
	return &huma.Param{Name: name, In: "path", Required: true, Description: doc, Schema: &huma.Schema{Type: huma.TypeString}}
}

func inQuery(name, doc string) *huma.Param {
	return &huma.Param{Name: name, In: "query", Description: doc, Schema: &huma.Schema{Type: huma.TypeString}}
}

// pages documents answers for a browser: pages, and redirects, which have none.
func pages(texts map[int]string) map[string]*huma.Response {
	out := map[string]*huma.Response{}
	for status, text := range texts {
		r := &huma.Response{Description: text, Headers: map[string]*huma.Param{"Cache-Control": httpapi.NoStore(status == http.StatusSeeOther)}}
		if status == http.StatusSeeOther {
			r.Headers["Location"] = httpapi.Location("Where the browser goes")
		} else {
			r.Content = map[string]*huma.MediaType{"text/html": {Schema: &huma.Schema{Type: huma.TypeString}}}
		}
		out[strconv.Itoa(status)] = r
	}
	return out
}
