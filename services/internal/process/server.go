package process

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"
)

// MaxBodyBytes is the most that a request body may hold.
const MaxBodyBytes = 1 << 20

// ServerConfig is what an HTTP server needs. Zero times and sizes mean the
// defaults. Each part of a request has a limit of its own and not the whole: a
// caller may wait for a result, and net/http's read time-out would cut such a
// request off.
type ServerConfig struct {
	Addr    string // host:port
	Setting string // the variable that Addr came from, for the error when it is taken
	Handler http.Handler
	Logger  *slog.Logger

	// OnShutdown is called when the server stops taking requests, to make those
	// that only wait answer now.
	OnShutdown func()

	ReadHeaderTimeout time.Duration // default 5 s
	MaxHeaderBytes    int           // default 32 KiB; net/http allows 4 KiB more
	BodyTimeout       time.Duration // for the whole body, from the header on; default 30 s
	// WriteTimeout is from the end of the header to the end of the answer, longer
	// than a handler waits; default 2 min. A handler that streams moves it with
	// http.ResponseController.
	WriteTimeout time.Duration
	IdleTimeout  time.Duration // between two requests of a connection; default 60 s
	DrainLimit   time.Duration // for requests in progress at shutdown; default 10 s
}

// Server is an HTTP server that listens.
type Server struct {
	cfg      ServerConfig
	listener net.Listener
	http     *http.Server
}

// Listen takes the address at once, so that a port in use is an error of the
// start and not of later.
func Listen(ctx context.Context, cfg ServerConfig) (*Server, error) {
	if cfg.Handler == nil {
		return nil, errors.New("listen: a handler is required")
	}
	cfg.Logger = cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))
	cfg.DrainLimit = cmp.Or(cfg.DrainLimit, 10*time.Second)
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Addr)
	if err != nil {
		return nil, listenError(cfg, err)
	}
	s := &Server{cfg: cfg, listener: l, http: &http.Server{
		Handler:           http.MaxBytesHandler(limitBody(cmp.Or(cfg.BodyTimeout, 30*time.Second), cfg.Handler), MaxBodyBytes),
		ReadHeaderTimeout: cmp.Or(cfg.ReadHeaderTimeout, 5*time.Second),
		MaxHeaderBytes:    cmp.Or(cfg.MaxHeaderBytes, 32<<10),
		WriteTimeout:      cmp.Or(cfg.WriteTimeout, 2*time.Minute),
		IdleTimeout:       cmp.Or(cfg.IdleTimeout, time.Minute),
		ErrorLog:          slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelWarn),
	}}
	if cfg.OnShutdown != nil {
		s.http.RegisterOnShutdown(cfg.OnShutdown)
	}
	return s, nil
}

func listenError(cfg ServerConfig, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("listen on %s: another process has this address; stop it or set %s to another one",
			cfg.Addr, cmp.Or(cfg.Setting, "the address"))
	}
	return fmt.Errorf("listen on %s: %w", cfg.Addr, err)
}

// Addr is where the server listens, with the port that it got for port 0.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Run serves until ctx ends, then takes no more requests and waits for those in
// progress. It is a part for a Group.
func (s *Server) Run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(s.listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve http: %w", err)
	case <-ctx.Done():
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.DrainLimit)
	defer cancel()
	err := s.http.Shutdown(limit)
	if err != nil {
		err = errors.Join(fmt.Errorf("drain http requests: %w", err), s.http.Close())
	}
	if ended := <-served; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, fmt.Errorf("serve http: %w", ended))
	}
	return err
}

// limitBody gives the body of a request a time to arrive. The deadline is taken
// back with its last byte: net/http cancels a request whose read deadline passes
// while its handler is still at work. Where nobody reads the body it ends with
// the request.
func limitBody(limit time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body != nil && r.Body != http.NoBody {
			rc := http.NewResponseController(w)
			_ = rc.SetReadDeadline(time.Now().Add(limit))
			r.Body = &timedBody{ReadCloser: r.Body, rc: rc}
		}
		next.ServeHTTP(w, r)
	})
}

type timedBody struct {
	io.ReadCloser
	rc *http.ResponseController
}

func (b *timedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		_ = b.rc.SetReadDeadline(time.Time{})
	}
	return n, err
}
