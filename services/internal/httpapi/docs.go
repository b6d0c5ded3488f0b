package httpapi

import (
	"embed"
	"io/fs"
	"net/http"
)

//go:embed docs
var docsFiles embed.FS

// serveDocs serves a page that shows /openapi.json. It loads nothing from
// elsewhere, so that it works where the service does.
func serveDocs(mux *http.ServeMux) {
	files, err := fs.Sub(docsFiles, "docs")
	if err != nil {
		panic(err) // the folder is embedded
	}
	page := func(name string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Security-Policy",
				"default-src 'none'; connect-src 'self'; script-src 'self'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
			w.Header().Set("X-Content-Type-Options", "nosniff")
			http.ServeFileFS(w, r, files, name)
		}
	}
	mux.HandleFunc("GET /docs", page("page.html"))
	mux.HandleFunc("GET /docs/page.js", page("page.js"))
	mux.HandleFunc("GET /docs/page.css", page("page.css"))
}
