package sandbox_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postbus.dev/services/connectors/sandbox"
	"postbus.dev/services/connectors/sandbox/instagram"
	"postbus.dev/services/connectors/sandbox/proxy"
	"postbus.dev/services/connectors/sandbox/stage"
)

// dialTLS makes a connection with its handshake done and nothing sent.
func dialTLS(t *testing.T, srv *sandbox.Server) *tls.Conn {
	t.Helper()
	return dialTLSAt(t, srv, srv.Addr)
}

func dialTLSAt(t *testing.T, srv *sandbox.Server, addr string) *tls.Conn {
	t.Helper()
	c, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: srv.Pool, ServerName: "localhost", MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// publishRequest is the bytes of a media_publish.
func publishRequest(b *bundle, container string) string {
	body := "creation_id=" + container + "&access_token=" + b.acct.Token
	return fmt.Sprintf("POST /instagram/v25.0/me/media_publish HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"+
		"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

func TestARequestThatWasHeldAndResetLeavesNoByte(t *testing.T) {
	t.Parallel()
	b := setup(t, sandbox.Config{}, sandbox.ServeConfig{TLS: true})
	p, err := proxy.Start(proxy.Config{Target: b.srv.Addr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	for _, reset := range []bool{true, false} {
		container := b.ready()
		c := dialTLSAt(t, b.srv, p.Addr())
		p.Hold(proxy.Hold{})
		if _, err := io.WriteString(c, publishRequest(b, container)); err != nil {
			t.Fatal(err)
		}
		conns := p.Conns()
		peer := conns[len(conns)-1].Upstream
		waitFor(t, "bytes held", func() bool { return lastOf(p).Held[proxy.Up] > 0 })
		if reset {
			_ = c.NetConn().(*net.TCPConn).SetLinger(0)
			_ = c.NetConn().Close()
			waitFor(t, "bytes lost", func() bool { return lastOf(p).Lost[proxy.Up] > 0 })
		}
		p.Release()
		waitFor(t, "the outcome", func() bool {
			return reset && lastOf(p).Done || !reset && len(b.sb.Posts(stage.PostFilter{})) == 1
		})
		for _, rec := range b.sb.Connections() {
			if rec.Remote == peer && (rec.AppBytes == 0) != reset {
				t.Errorf("reset %v: %+v", reset, rec)
			}
		}
		if n := len(b.sb.Calls(stage.CallFilter{Name: instagram.CallPublish})); (n == 0) != reset {
			t.Errorf("reset %v: %d calls", reset, n)
		}
	}
}

func lastOf(p *proxy.Proxy) proxy.Info {
	conns := p.Conns()
	return conns[len(conns)-1]
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 2500 {
		if ok() {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
	t.Fatalf("never: %s", what)
}

const getEnv = "SANDBOX_TEST_GET"

// TestAnotherProcessTrustsItThroughSSLCertFile runs this test binary again, as
// a process that knows the CA from SSL_CERT_FILE alone.
func TestAnotherProcessTrustsItThroughSSLCertFile(t *testing.T) {
	if url := os.Getenv(getEnv); url != "" {
		resp, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		http.DefaultClient.CloseIdleConnections()
		return
	}
	t.Parallel()
	file := filepath.Join(t.TempDir(), "ca.pem")
	b := setup(t, sandbox.Config{}, sandbox.ServeConfig{TLS: true, CAFile: file})
	again := func(env ...string) (string, error) {
		cmd := exec.Command(os.Args[0], "-test.run=^TestAnotherProcessTrustsItThroughSSLCertFile$")
		cmd.Env = append(os.Environ(), append(env, getEnv+"="+b.srv.URL+"/livez")...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := again("SSL_CERT_FILE=" + file); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := again("SSL_CERT_FILE="); err == nil || !strings.Contains(out, "certificate") {
		t.Errorf("trusted without the CA: %s", out)
	}
}
