package sandbox_test

import (
	"crypto/tls"
	"testing"

	"postbus.dev/services/connectors/sandbox"
)

// dialTLS makes a connection with its handshake done and nothing sent.
func dialTLS(t *testing.T, srv *sandbox.Server) *tls.Conn {
	t.Helper()
	c, err := tls.Dial("tcp", srv.Addr, &tls.Config{RootCAs: srv.Pool, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}
