package httpapi

import (
	"encoding/json"
	"net/http"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// routes serves mux, and gives what it has no route for our envelope. A
// catch-all pattern would not do: it would hide that a path exists with another
// method.
func routes(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, pattern := mux.Handler(r)
		if pattern != "" {
			tellRoute(r, pattern)
			mux.ServeHTTP(w, r)
			return
		}
		refusal := refusalWriter{header: http.Header{}}
		h.ServeHTTP(&refusal, r)
		if allow := refusal.header.Get("Allow"); allow != "" {
			w.Header().Set("Allow", allow)
			WriteFailure(w, r, &Error{Code: CodeValidation, Status: http.StatusMethodNotAllowed, Message: "this path takes " + allow})
			return
		}
		WriteFailure(w, r, &Error{Code: CodeNotFound, Message: "there is nothing at this path"})
	})
}

// tellRoute adds what otelhttp could not know when it made the span.
func tellRoute(r *http.Request, pattern string) {
	if _, path, ok := strings.Cut(pattern, " "); ok {
		trace.SpanFromContext(r.Context()).SetAttributes(attribute.String("http.route", path))
	}
}

// refusalWriter keeps the header of the mux's own refusal and drops the rest.
type refusalWriter struct{ header http.Header }

func (w *refusalWriter) Header() http.Header         { return w.header }
func (w *refusalWriter) Write(b []byte) (int, error) { return len(b), nil }
func (w *refusalWriter) WriteHeader(int)             {}

// WriteFailure answers with the envelope of err, as an operation of Register
// that returns it does.
func WriteFailure(w http.ResponseWriter, r *http.Request, e error) {
	f := failure(r.Context(), e)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(f.status)
	_ = json.NewEncoder(w).Encode(f)
}
