package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"postbus.dev/services/connectors/sandbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func env(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func TestSettingsComeFromFlagsThenTheEnvironment(t *testing.T) {
	t.Parallel()
	cfg, err := read([]string{"--factor", "0.5"}, env(
		"POSTBUS_SANDBOX_ADDR", "127.0.0.1:1", "POSTBUS_SANDBOX_FACTOR", "2", "POSTBUS_SANDBOX_TLS", "true",
		"POSTBUS_SANDBOX_CA_FILE", "ca.pem", "POSTBUS_SANDBOX_PROFILE", "faithful",
		"POSTBUS_SANDBOX_STATE", "s.json", "POSTBUS_SANDBOX_PUBLIC_URL", "https://postbus.example",
		"POSTBUS_SANDBOX_CALL_URL", "http://gateway:3000",
	), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.serve.Addr != "127.0.0.1:1" || !cfg.serve.TLS || cfg.serve.CAFile != "ca.pem" || cfg.sandbox.Factor != 0.5 || cfg.sandbox.Profile != sandbox.Faithful ||
		cfg.sandbox.StatePath != "s.json" || cfg.sandbox.PublicURL != "https://postbus.example" || cfg.sandbox.CallURL != "http://gateway:3000" {
		t.Errorf("%+v", cfg)
	}
	cfg, err = read(nil, env(), io.Discard)
	if err != nil || cfg.serve.Addr != "127.0.0.1:4010" || cfg.sandbox.Profile != sandbox.Hostile {
		t.Errorf("defaults: %+v %v", cfg, err)
	}
}

func TestBadSettingsAreNamed(t *testing.T) {
	t.Parallel()
	for want, c := range map[string]struct {
		args []string
		env  func(string) string
	}{
		"POSTBUS_SANDBOX_FACTOR": {nil, env("POSTBUS_SANDBOX_FACTOR", "fast")},
		"unexpected":             {[]string{"start"}, env()},
		"profile":                {[]string{"--profile", "kind"}, env()},
		"factor":                 {[]string{"--factor", "-1"}, env()},
	} {
		if err := run(t.Context(), c.args, c.env, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestHelpNamesTheFlags(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if err := run(t.Context(), []string{"--help"}, env(), &out); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("%v", err)
	}
	for _, want := range []string{"-addr", "127.0.0.1:4010", "-tls", "-factor", "-profile", "-public-url", "-call-url", "-state", "POSTBUS_SANDBOX_CA_FILE"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s in\n%s", want, out.String())
		}
	}
}

func TestABusyAddressIsNamedWithTheWayOut(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	err = run(t.Context(), []string{"--addr", ln.Addr().String()}, env(), io.Discard)
	if err == nil || !strings.Contains(err.Error(), "POSTBUS_SANDBOX_ADDR") {
		t.Errorf("%v", err)
	}
}

func TestItServesUntilItIsStopped(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	r, w := io.Pipe()
	done := make(chan error)
	go func() {
		done <- run(ctx, []string{"--addr", "127.0.0.1:0", "--ca-file", filepath.Join(t.TempDir(), "ca.pem")}, env(), w)
		_ = w.Close()
	}()
	buf := make([]byte, 4096)
	n, err := r.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	url := regexp.MustCompile(`http://[0-9.:]+`).FindString(string(buf[:n]))
	go func() { _, _ = io.Copy(io.Discard, r) }()
	resp, err := http.Get(url + "/livez")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	stop()
	if err := <-done; err != nil || resp.StatusCode != 200 {
		t.Errorf("%v, livez %d", err, resp.StatusCode)
	}
}
