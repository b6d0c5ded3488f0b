// Package api is the publisher's HTTP API: ask for a publish and wait for what
// becomes of it; list, follow, reschedule, cancel and resolve publishes.
//
// # Asking
//
// A request is valid JSON that breaks no rule of publish.requested, or it is
// refused with every violation and nothing is stored. It becomes the same
// publish.requested that an upstream system would send on the bus, with source
// /postbus/api/{user} and the Idempotency-Key as its id, and is accepted by the
// same code: what the provider's own rules refuse is stored as a failed publish.
//
// # Waiting
//
// The caller waits (Prefer: wait=N) without a worker: a map of publish ids, and
// one view of the final events for the process, tell when to read the row. The
// wait is registered before the request is stored, so that no event is too
// early. At the end of the wait, when the caller goes away and when the process
// stops the publish goes on all the same; the answer is then 202 and where to
// look.
//
// # Following
//
// A stream of events begins with the row and goes on with what passes on the
// bus. It keeps nothing: whoever was away is sent the row again. Every event has
// the publish's version, which the row has too, so that nothing is sent twice
// and nothing older after something newer. A caller who is slow is sent the row
// instead of what it missed, and one who stands still is let go.
package api

import (
	"cmp"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"postbus.dev/services/internal/httpapi"
)

// Version is that of the API.
const Version = "1.0"

// The limits that Config can change.
const (
	DefaultQuota   = 20 // requests for a publish, a user and Window
	DefaultWindow  = time.Minute
	DefaultWait    = 25 * time.Second
	DefaultMaxWait = 60 * time.Second
	acceptLimit    = 15 * time.Second // to store a request, whether or not its caller still waits
)

// Config says what the API works with.
type Config struct {
	Publishes Publishes    // required
	Finals    Finals       // required
	Keys      httpapi.Keys // required
	Users     Users        // required
	Providers []string     // that have a connector; required

	// Quota and Window are told in the RateLimit fields. Publishes.Accept counts.
	Quota  int64
	Window time.Duration

	Budgets httpapi.Budgets // count all other operations; required
	Limits  httpapi.Limits

	Wait    time.Duration // without a Prefer header; default 25 s
	MaxWait time.Duration // default 60 s

	Logger     *slog.Logger
	Tracer     trace.TracerProvider
	Meter      metric.MeterProvider
	Propagator propagation.TextMapPropagator
}

// API is an http.Handler. Drain it when the server stops, Close it afterwards.
type API struct {
	cfg     Config
	http    *httpapi.API
	waiters *waiters
	streams streams
	drain   chan struct{}
	drained sync.Once
}

// New returns the API, which watches for final events until Close.
func New(cfg Config) (*API, error) {
	if cfg.Publishes == nil || cfg.Finals == nil || cfg.Users == nil || len(cfg.Providers) == 0 {
		return nil, errors.New("make publish api: Publishes, Finals, Users and Providers are required")
	}
	a, err := build(cfg)
	if err != nil {
		return nil, err
	}
	if a.waiters, err = watch(cfg.Finals); err != nil {
		return nil, err
	}
	return a, nil
}

// build registers the operations.
func build(cfg Config) (*API, error) {
	cfg.Quota = cmp.Or(cfg.Quota, DefaultQuota)
	cfg.Window = cmp.Or(cfg.Window, DefaultWindow)
	cfg.MaxWait = cmp.Or(cfg.MaxWait, DefaultMaxWait)
	cfg.Wait = min(cmp.Or(cfg.Wait, DefaultWait), cfg.MaxWait)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	h, err := httpapi.New(httpapi.Config{
		Title: "Postbus: publishing", Version: Version, Description: about,
		Keys: cfg.Keys, Budgets: cfg.Budgets, Limits: cfg.Limits,
		Logger: cfg.Logger, Tracer: cfg.Tracer, Meter: cfg.Meter, Propagator: cfg.Propagator,
	})
	if err != nil {
		return nil, err
	}
	a := &API{cfg: cfg, http: h, streams: streams{by: map[uuid.UUID]int{}}, drain: make(chan struct{})}
	a.register()
	return a, nil
}

// ServeHTTP answers a request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.http.ServeHTTP(w, r) }

// Drain makes every request that waits answer now, and every later one at once.
func (a *API) Drain() { a.drained.Do(func() { close(a.drain) }) }

// Close stops watching.
func (a *API) Close() { a.waiters.close() }

func (a *API) knows(provider string) bool { return slices.Contains(a.cfg.Providers, provider) }
