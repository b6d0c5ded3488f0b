package wire_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postbus.dev/services/connectors/sandbox/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve accepts one connection after the other and echoes, until the listener closes.
func serve(t *testing.T, l *wire.Log, cfg *tls.Config) string {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln := l.Listener(inner, cfg)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(c, c)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		<-done
	})
	return inner.Addr().String()
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 2500 {
		if ok() {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
	t.Fatalf("never: %s", what)
}

func TestPlainBytesAreCountedWithTheirTime(t *testing.T) {
	t.Parallel()
	l := wire.NewLog(0)
	c, err := net.Dial("tcp", serve(t, l, nil))
	if err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	got := l.List()[0]
	if got.RawBytes != 5 || got.AppBytes != 5 || got.SentBytes != 5 || got.TLS || got.Remote != c.LocalAddr().String() ||
		got.FirstApp.Before(before) || len(got.App) != 1 || got.App[0].N != 5 || !got.Closed.IsZero() {
		t.Errorf("%+v", got)
	}
	_ = c.Close()
	eventually(t, "closed", func() bool { return l.List()[0].Ending == "EOF" && !l.List()[0].Closed.IsZero() })
}

func TestUnderTLSAHandshakeIsNoApplicationByte(t *testing.T) {
	t.Parallel()
	ca, err := wire.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := ca.Server("127.0.0.1", "sandbox.test")
	if err != nil {
		t.Fatal(err)
	}
	l := wire.NewLog(0)
	addr := serve(t, l, cfg)
	c, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: ca.Pool(), ServerName: "sandbox.test", MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "handshake", func() bool { return !l.List()[0].Handshaken.IsZero() })
	if got := l.List()[0]; !got.TLS || got.RawBytes == 0 || got.AppBytes != 0 || !got.FirstApp.IsZero() {
		t.Errorf("after the handshake: %+v", got)
	}
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	if got := l.List()[0]; got.AppBytes != 5 || got.RawBytes <= 5 || got.FirstApp.Before(got.Handshaken) {
		t.Errorf("after a request: %+v", got)
	}
	_ = c.Close()
}

func TestTheCertificateIsTrustedOnlyWithItsCA(t *testing.T) {
	t.Parallel()
	ca, err := wire.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	other, err := wire.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := ca.Server("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	addr := serve(t, wire.NewLog(0), cfg)
	if c, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: other.Pool(), MinVersion: tls.VersionTLS12}); err == nil {
		_ = c.Close()
		t.Error("another CA vouches for it")
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := ca.WriteFile(file); err != nil {
		t.Fatal(err)
	}
	if pem, err := os.ReadFile(file); err != nil || string(pem) != string(ca.PEM()) {
		t.Errorf("file: %v", err)
	}
	if err := ca.WriteFile(filepath.Join(file, "x")); err == nil {
		t.Error("written where no file can be")
	}
}

func TestTheLogKeepsTheNewestAndNumbersGoOn(t *testing.T) {
	t.Parallel()
	l := wire.NewLog(10)
	addr := serve(t, l, nil)
	for range 25 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
	}
	eventually(t, "all seen", func() bool { return len(l.List()) > 0 && l.List()[len(l.List())-1].ID == 25 })
	if n := len(l.List()); n > 10 {
		t.Errorf("%d kept", n)
	}
	l.Clear()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	eventually(t, "the next", func() bool { return len(l.List()) == 1 && l.List()[0].ID == 26 })
}

func TestAConnectionKnowsItsNumberAndWhatIsBelow(t *testing.T) {
	t.Parallel()
	l := wire.NewLog(0)
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln := l.Listener(inner, nil)
	defer ln.Close()
	out, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	in, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if wire.ID(in) != 1 || wire.ID(out) != 0 {
		t.Errorf("numbers %d and %d", wire.ID(in), wire.ID(out))
	}
	_ = in.SetReadDeadline(time.Now().Add(time.Millisecond))
	if _, err := in.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || l.List()[0].Ending != "" {
		t.Errorf("a deadline is taken for an end: %v %+v", err, l.List()[0])
	}
	_ = in.Close()
	if l.List()[0].Closed.IsZero() {
		t.Error("our own close is not recorded")
	}
}
