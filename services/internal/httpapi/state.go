package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"
)

// state is what the parts of the API know of the request in hand.
type state struct {
	requestID string
	header    http.Header // of the answer
	logger    *slog.Logger
}

type stateKey struct{}

// stateOf never returns nil, so that handlers can be tested by themselves.
func stateOf(ctx context.Context) *state {
	if s, ok := ctx.Value(stateKey{}).(*state); ok {
		return s
	}
	return &state{header: http.Header{}, logger: slog.New(slog.DiscardHandler)}
}

// Header returns the header of the answer, for handlers that add to it.
func Header(ctx context.Context) http.Header { return stateOf(ctx).header }

func metaOf(ctx context.Context) Meta {
	m := Meta{RequestID: stateOf(ctx).requestID, Timestamp: time.Now().UTC().Truncate(time.Millisecond)}
	if span := trace.SpanContextFromContext(ctx); span.HasTraceID() {
		m.TraceID = span.TraceID().String()
	}
	return m
}

// identify gives each request an id, which the caller may have chosen.
func identify(logger *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := requestID(r.Header)
		w.Header().Set("X-Request-Id", id)
		s := &state{requestID: id, header: w.Header(), logger: logger}
		r = r.WithContext(context.WithValue(r.Context(), stateKey{}, s))
		r.Pattern = "" // that of a mux around us is no route
		next.ServeHTTP(w, r)
	})
}

// requestID takes the caller's id only if it can stand in a log line as it is.
func requestID(h http.Header) string {
	const most, allowed = 128, "-_.:/+=@"
	id := h.Get("X-Request-Id")
	strange := func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && !strings.ContainsRune(allowed, r)
	}
	if id != "" && len(id) <= most && !strings.ContainsFunc(id, strange) {
		return id
	}
	return uuid.Must(uuid.NewV7()).String()
}
