// Package httpapi is what the HTTP APIs of the services have in common: one
// envelope for answers and one set of error codes, API keys, limits on what a
// caller may send, rate limit fields, request ids and traces, and an OpenAPI
// document that is made of the code.
//
// A service makes an API, registers its operations with Register and serves it.
// The handler chain, from the outside: request id, server span, rescue from
// panics, reading of the body, routing; then, within an operation, the key, its
// limits and what the request says.
package httpapi

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
)

// Config says what an API is and what it works with.
type Config struct {
	Title       string // of the OpenAPI document; required
	Version     string // of the API; required
	Description string // CommonMark

	Keys    Keys    // asked by every operation that is not public; required
	Budgets Budgets // count the calls of such operations; required
	Limits  Limits

	Logger     *slog.Logger                  // default discards
	Tracer     trace.TracerProvider          // default none
	Meter      metric.MeterProvider          // default none
	Propagator propagation.TextMapPropagator // default W3C Trace Context

	BodyLimit time.Duration // for the body to arrive; default 15 s
}

// API is a set of operations and their document. It serves /openapi.json and
// /docs too.
type API struct {
	huma    huma.API
	mux     *http.ServeMux
	handler http.Handler
	keys    Keys
	budgets Budgets
	limits  Limits
}

// New returns an API without operations.
func New(cfg Config) (*API, error) {
	if cfg.Title == "" || cfg.Version == "" || cfg.Keys == nil || cfg.Budgets == nil {
		return nil, errors.New("make http api: Title, Version, Keys and Budgets are required")
	}
	useEnvelope()
	a := &API{mux: http.NewServeMux(), keys: cfg.Keys, budgets: cfg.Budgets, limits: cfg.Limits.defaults()}
	a.huma = humago.New(a.mux, humaConfig(cfg))
	serveDocs(a.mux)
	a.handler = chain(cfg, a.mux)
	return a, nil
}

// humaConfig leaves out what huma's defaults add: $schema links in every answer
// and a page of documentation that loads its scripts from elsewhere.
func humaConfig(cfg Config) huma.Config {
	c := huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info:    &huma.Info{Title: cfg.Title, Version: cfg.Version, Description: cfg.Description},
			Components: &huma.Components{
				Schemas: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
				SecuritySchemes: map[string]*huma.SecurityScheme{
					bearer: {Type: "http", Scheme: "bearer", Description: "An API key, which begins with pb_"},
				},
			},
		},
		OpenAPIPath:   "/openapi",
		Formats:       map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat},
		DefaultFormat: "application/json",
	}
	c.AllowAdditionalPropertiesByDefault = true // a new field in an answer breaks nobody
	return c
}

// chain puts the span outside of everything that can refuse a request, and the
// request id outside of the span so that every answer has one.
func chain(cfg Config, mux *http.ServeMux) http.Handler {
	logger := cfg.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	traced := otelhttp.NewHandler(rescue(readBody(cmp.Or(cfg.BodyLimit, bodyLimit), routes(mux))), "http",
		otelhttp.WithTracerProvider(or[trace.TracerProvider](cfg.Tracer, tracenoop.NewTracerProvider())),
		otelhttp.WithMeterProvider(or[metric.MeterProvider](cfg.Meter, metricnoop.NewMeterProvider())),
		otelhttp.WithPropagators(or[propagation.TextMapPropagator](cfg.Propagator, propagation.TraceContext{})))
	return identify(logger, traced)
}

// or is cmp.Or for values that may not be comparable.
func or[T any](v, fallback T) T {
	if any(v) == nil {
		return fallback
	}
	return v
}

// ServeHTTP answers a request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.handler.ServeHTTP(w, r) }

// Document returns the OpenAPI 3.1 document, indented; the same operations give
// the same bytes.
func (a *API) Document() ([]byte, error) {
	doc, err := json.MarshalIndent(a.huma.OpenAPI(), "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write openapi document: %w", err)
	}
	return append(doc, '\n'), nil
}
