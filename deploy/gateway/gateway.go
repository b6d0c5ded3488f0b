// Package gateway puts the services behind one address, as an ingress does in
// production. Routes is the one table that says which service answers which
// path: the local system, the tests and cmd/gateway, which compose.yaml starts,
// serve it with New.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"postbus.dev/schemas"
)

// The services that answer HTTP.
const (
	Account   = "account"
	Publisher = "publisher"
)

// Route is a path and the service that answers it and everything below it.
type Route struct {
	Path    string // such as /api/accounts, without a slash at the end
	Service string
}

// Routes is the table; where two routes match, the longer one counts. The page of
// documents shows /openapi.json, which is that of all services here.
func Routes() []Route {
	return []Route{
		{"/api/connect", Account},
		{"/api/accounts", Account},
		{"/api/users", Account},
		{"/api/keys", Account},
		{"/api/callbacks", Account},
		{"/api", Publisher},
		{"/docs", Publisher},
	}
}

// serviceOf is the service that answers a path; "" is none.
func serviceOf(path string) string {
	var best Route
	for _, r := range Routes() {
		below := path == r.Path || strings.HasPrefix(path, r.Path+"/")
		if below && len(r.Path) > len(best.Path) {
			best = r
		}
	}
	return best.Service
}

// Config names what stands behind the gateway.
type Config struct {
	// Backends are the processes of each service, as http://host:port. They take
	// turns; one that cannot be dialed is passed over.
	Backends map[string][]string
	Logger   *slog.Logger // default discards
}

// nothing is for people who look for a service's own pages here: they are not
// for everybody who reaches the API.
const nothing = "there is nothing here: the API is below /api, and /docs tells of it. Each service serves /livez, /readyz and /metrics at its own address"

// Gateway is an http.Handler. Close it when it is no longer used.
type Gateway struct {
	proxies   map[string]*httputil.ReverseProxy
	transport *http.Transport
}

// New returns a Gateway, or every fault in cfg.
func New(cfg Config) (*Gateway, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	g := &Gateway{
		proxies: map[string]*httputil.ReverseProxy{},
		transport: &http.Transport{
			DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext, MaxIdleConnsPerHost: 64,
			IdleConnTimeout: 30 * time.Second, // the services close theirs after a minute, maybe under a request that is on its way
		},
	}
	var faults []error
	for service, list := range cfg.Backends {
		turns, err := g.turns(list)
		if err != nil {
			faults = append(faults, fmt.Errorf("backends of %s: %w", service, err))
			continue
		}
		g.proxies[service] = proxy(turns, cfg.Logger)
	}
	return g, errors.Join(faults...)
}

// Close closes the idle connections.
func (g *Gateway) Close() { g.transport.CloseIdleConnections() }

// ServeHTTP hands the request to the service that answers its path.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/openapi.json" {
		w.Header().Set("Content-Type", "application/openapi+json")
		_, _ = w.Write(schemas.OpenAPI)
		return
	}
	if r.URL.Path == "/" { // who opens the address in a browser wants to know what is there
		http.Redirect(w, r, "/docs", http.StatusFound)
		return
	}
	p := g.proxies[serviceOf(r.URL.Path)]
	if p == nil {
		http.Error(w, nothing, http.StatusNotFound)
		return
	}
	p.ServeHTTP(w, r)
}

// Serve answers requests on l until ctx ends; those under way have until grace
// has passed to end.
func (g *Gateway) Serve(ctx context.Context, l net.Listener, grace time.Duration) error {
	srv := &http.Server{Handler: g, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := srv.Shutdown(last); err != nil {
		_ = srv.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// proxy passes answers on as they come: events of a publish are a stream.
func proxy(t *turns, log *slog.Logger) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", "backend" // turns puts the real one in
			r.Out.Host = r.In.Host
			r.SetXForwarded()
		},
		Transport:     t,
		FlushInterval: -1,
		ErrorLog:      slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}

// turns sends each request to the next backend.
type turns struct {
	hosts []string
	next  atomic.Uint64
	via   http.RoundTripper
}

func (g *Gateway) turns(backends []string) (*turns, error) {
	t := &turns{via: g.transport}
	for _, b := range backends {
		u, err := url.Parse(b)
		if err != nil || u.Scheme != "http" || u.Host == "" {
			return nil, fmt.Errorf("%q is not http://host:port", b)
		}
		t.hosts = append(t.hosts, u.Host)
	}
	if len(t.hosts) == 0 {
		return nil, errors.New("there is none")
	}
	return t, nil
}

// RoundTrip tries another backend only where the connection could not be made:
// nothing of the request was sent then.
func (t *turns) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	first := t.next.Add(1)
	for i := range uint64(len(t.hosts)) {
		out := r.Clone(r.Context())
		out.URL.Host = t.hosts[(first+i)%uint64(len(t.hosts))]
		if r.Body != nil {
			out.Body = io.NopCloser(r.Body) // a transport closes it although it read nothing; the server does at the end
		}
		if resp, err = t.via.RoundTrip(out); !isDial(err) {
			return resp, err
		}
	}
	return nil, err
}

func isDial(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}
