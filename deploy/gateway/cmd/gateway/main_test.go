package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func env(pairs map[string]string) func(string) string {
	return func(name string) string { return pairs[name] }
}

func TestItHandsRequestsOnUntilItIsStopped(t *testing.T) {
	t.Parallel()
	named := func(name string) *httptest.Server {
		return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, name) }))
	}
	account, one, two := named("account"), named("publisher"), named("publisher")
	defer func() { account.Close(); one.Close(); two.Close() }()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, nil, env(map[string]string{
			"POSTBUS_HTTP_ADDR": "127.0.0.1:0", "POSTBUS_ACCOUNT_URLS": account.URL, "POSTBUS_PUBLISHER_URLS": one.URL + ", " + two.URL + ",",
		}), w)
		_ = w.Close()
	}()
	buf := make([]byte, 4096)
	n, err := r.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, r) }()
	at := "http://" + regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(string(buf[:n]))
	for path, want := range map[string]string{"/api/accounts": "account", "/api/publishes": "publisher"} {
		resp, err := http.Get(at + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if string(body) != want {
			t.Errorf("%s: %s", path, body)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestWrongSettingsAreNamed(t *testing.T) {
	t.Parallel()
	for want, settings := range map[string]map[string]string{
		"backends of publisher: there is none": {"POSTBUS_ACCOUNT_URLS": "http://account:3000"},
		`"account:3000" is not http://`:        {"POSTBUS_ACCOUNT_URLS": "account:3000", "POSTBUS_PUBLISHER_URLS": "http://publisher:3000"},
		"POSTBUS_HTTP_ADDR":                    {"POSTBUS_ACCOUNT_URLS": "http://account:3000", "POSTBUS_PUBLISHER_URLS": "http://publisher:3000", "POSTBUS_HTTP_ADDR": "nowhere"},
	} {
		if err := run(t.Context(), nil, env(settings), io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %s", settings, err, want)
		}
	}
	if err := run(t.Context(), []string{"start"}, env(nil), io.Discard); err == nil || !strings.Contains(err.Error(), "no arguments") {
		t.Error(err)
	}
	var out strings.Builder
	if err := run(t.Context(), []string{"--help"}, env(nil), &out); err != nil || out.String() != usage {
		t.Errorf("--help: %v, %s", err, out.String())
	}
}
