package sandbox

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"postbus.dev/services/connectors/sandbox/stage"
	"postbus.dev/services/connectors/sandbox/wire"
)

// ServeConfig says where a sandbox is served.
type ServeConfig struct {
	Addr string // default 127.0.0.1:0
	// TLS serves HTTPS with a certificate of a new CA.
	TLS bool
	// CAFile is where the CA's certificate goes, for a process that gets the
	// path in SSL_CERT_FILE; empty: nowhere.
	CAFile string
	// Hosts are further names and addresses of the certificate, beside
	// localhost, 127.0.0.1, ::1 and the host of Addr.
	Hosts []string
}

// Server is a sandbox being served. Its connections are in the byte log.
type Server struct {
	URL  string         // such as https://127.0.0.1:41234
	Addr string         // host:port
	Pool *x509.CertPool // trusts the CA; nil without TLS

	http   *http.Server
	served chan error
	save   func() error
}

// Serve starts serving. A sandbox may be served at several addresses at once.
func (s *Sandbox) Serve(cfg ServeConfig) (*Server, error) {
	ln, err := net.Listen("tcp", cmp.Or(cfg.Addr, "127.0.0.1:0")) //nolint:noctx // it does not wait
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	srv := &Server{Addr: ln.Addr().String(), served: make(chan error, 1), save: s.Save}
	var tlsConfig *tls.Config
	scheme := "http"
	if cfg.TLS {
		scheme = "https"
		if tlsConfig, err = srv.secure(cfg); err != nil {
			return nil, errors.Join(err, ln.Close())
		}
	}
	srv.URL = scheme + "://" + srv.Addr
	srv.http = &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: 5 * time.Minute, // a test may hold a request back for long
		ErrorLog:          log.New(io.Discard, "", 0),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return stage.WithOrigin(ctx, stage.Origin{Conn: wire.ID(c), Scheme: scheme})
		},
	}
	go func() { srv.served <- srv.http.Serve(s.wire.Listener(ln, tlsConfig)) }()
	return srv, nil
}

// secure makes the CA and the certificate.
func (srv *Server) secure(cfg ServeConfig) (*tls.Config, error) {
	ca, err := wire.NewCA()
	if err != nil {
		return nil, err
	}
	host, _, err := net.SplitHostPort(srv.Addr)
	if err != nil {
		return nil, fmt.Errorf("read address: %w", err)
	}
	tlsConfig, err := ca.Server(append([]string{"localhost", "127.0.0.1", "::1", host}, cfg.Hosts...)...)
	if err != nil {
		return nil, err
	}
	if cfg.CAFile != "" {
		if err := ca.WriteFile(cfg.CAFile); err != nil {
			return nil, err
		}
	}
	srv.Pool = ca.Pool()
	return tlsConfig, nil
}

// Client returns an HTTP client that trusts the server. Close its idle
// connections when done.
func (srv *Server) Client() *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: srv.Pool, MinVersion: tls.VersionTLS12}}}
}

// Shutdown stops accepting, waits for the calls that are being served until ctx
// ends, then closes what is left.
func (srv *Server) Shutdown(ctx context.Context) error {
	err := srv.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(fmt.Errorf("shut down: %w", err), srv.http.Close())
	}
	if served := <-srv.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return errors.Join(err, srv.save())
}

// Close stops at once and cuts what is being served.
func (srv *Server) Close() error {
	err := srv.http.Close()
	if served := <-srv.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return errors.Join(err, srv.save())
}
