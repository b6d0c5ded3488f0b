package process

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"
)

const checkLimit = 2 * time.Second

// Health answers whether a process lives and whether it can work.
type Health struct {
	mu       sync.RWMutex
	checks   map[string]func(ctx context.Context) error
	stopping bool
}

// NewHealth returns a Health without checks.
func NewHealth() *Health {
	return &Health{checks: map[string]func(ctx context.Context) error{}}
}

// Check adds what must work for the process to be ready. The error's text is
// shown to whoever asks: it holds no secret.
func (h *Health) Check(name string, check func(ctx context.Context) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.checks[name] = check
}

// Stopping makes the process not ready from now on, so that a load balancer
// turns away before the server does.
func (h *Health) Stopping() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopping = true
}

// Report is the body of /livez and /readyz.
type Report struct {
	Status string                 `json:"status"` // ok, unavailable or stopping
	Checks map[string]CheckReport `json:"checks,omitempty"`
}

// CheckReport is what one check said.
type CheckReport struct {
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
}

// Ready runs all checks at once, for two seconds at most.
func (h *Health) Ready(ctx context.Context) Report {
	ctx, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	h.mu.RLock()
	checks, stopping := h.checks, h.stopping
	results := make(chan namedReport, len(checks))
	for name, check := range checks {
		go func() { results <- namedReport{name, runCheck(ctx, check)} }()
	}
	h.mu.RUnlock()

	r := Report{Status: "ok", Checks: make(map[string]CheckReport, cap(results))}
	for range cap(results) {
		got := <-results
		r.Checks[got.name] = got.CheckReport
		if !got.OK {
			r.Status = "unavailable"
		}
	}
	if stopping {
		r.Status = "stopping"
	}
	return r
}

type namedReport struct {
	name string
	CheckReport
}

// runCheck does not wait for a check that ignores its context.
func runCheck(ctx context.Context, check func(ctx context.Context) error) CheckReport {
	done := make(chan error, 1)
	go func() { done <- check(ctx) }()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		return CheckReport{Error: err.Error()}
	}
	return CheckReport{OK: true}
}

// Routes serves /livez, /readyz and /metrics beside a service's own handler.
// They stand outside of it: probes are not traced, counted or asked for a key.
// /livez asks nothing: restarting a process does not bring its database back.
func (h *Health) Routes(metrics, service http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { writeReport(w, Report{Status: "ok"}) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { writeReport(w, h.Ready(r.Context())) })
	mux.Handle("GET /metrics", metrics)
	mux.Handle("/", service)
	return mux
}

func writeReport(w http.ResponseWriter, r Report) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if r.Status != "ok" {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(r)
}
