package gateway_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postbus.dev/deploy/gateway"
	"postbus.dev/schemas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// named answers with its name and what it was asked for.
func named(t *testing.T, name string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %s %s %s %s", name, r.Method, r.URL.RequestURI(), r.Header.Get("X-Forwarded-Host"), body)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func serve(t *testing.T, cfg gateway.Config) string {
	t.Helper()
	g, err := gateway.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(g)
	t.Cleanup(func() { s.Close(); g.Close() })
	return s.URL
}

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Post(url, "application/json", strings.NewReader("{}")) //nolint:noctx // the test's own server
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	http.DefaultClient.CloseIdleConnections()
	return fmt.Sprintf("%d %s", resp.StatusCode, body)
}

func TestEachPathReachesItsService(t *testing.T) {
	t.Parallel()
	at := serve(t, gateway.Config{Backends: map[string][]string{
		gateway.Account: {named(t, "account")}, gateway.Publisher: {named(t, "publisher")},
	}})
	for path, want := range map[string]string{
		"/api/connect/instagram?link=x": "account", "/api/accounts": "account", "/api/accounts/1/refresh": "account",
		"/api/users": "account", "/api/keys/1": "account", "/api/callbacks/instagram/deauthorize": "account",
		"/api/publishes": "publisher", "/api/instagram/publish": "publisher", "/api/accountsx/publish": "publisher",
		"/docs/page.js": "publisher",
	} {
		host := strings.TrimPrefix(at, "http://")
		if got := get(t, at+path); got != fmt.Sprintf("200 %s POST %s %s {}", want, path, host) {
			t.Errorf("%s: %s", path, got)
		}
	}
	if got := get(t, at+"/openapi.json"); got != "200 "+string(schemas.OpenAPI) {
		t.Errorf("the document: %.100s", got)
	}
	if got := get(t, at+"/"); !strings.HasPrefix(got, "200 publisher GET /docs ") {
		t.Errorf("the address alone does not lead to the documents: %s", got)
	}
	for _, path := range []string{"/metrics", "/apix", "/readyz"} {
		if got := get(t, at+path); !strings.HasPrefix(got, "404 there is nothing here") || !strings.Contains(got, "/readyz and /metrics at its own address") {
			t.Errorf("%s: %s", path, got)
		}
	}
}

func TestTheProcessesOfAServiceTakeTurnsAndADeadOneIsPassedOver(t *testing.T) {
	t.Parallel()
	dead := httptest.NewServer(http.NotFoundHandler())
	dead.Close()
	at := serve(t, gateway.Config{Backends: map[string][]string{gateway.Publisher: {named(t, "one"), dead.URL, named(t, "two")}}})
	seen := map[string]int{}
	for range 9 {
		seen[strings.Fields(get(t, at+"/api/publishes"))[1]]++
	}
	if seen["one"] < 3 || seen["two"] < 3 || seen["one"]+seen["two"] != 9 {
		t.Errorf("%v", seen)
	}
}

func TestAServiceThatIsAwayIsABadGateway(t *testing.T) {
	t.Parallel()
	dead := httptest.NewServer(http.NotFoundHandler())
	dead.Close()
	at := serve(t, gateway.Config{Backends: map[string][]string{gateway.Account: {dead.URL}}})
	if got := get(t, at+"/api/users"); !strings.HasPrefix(got, "502 ") {
		t.Error(got)
	}
}

func TestAnAnswerIsPassedOnWhileItIsWritten(t *testing.T) {
	t.Parallel()
	more := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "first\n")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-more:
		case <-time.After(10 * time.Second):
		}
		_, _ = io.WriteString(w, "second\n")
	}))
	t.Cleanup(s.Close)
	at := serve(t, gateway.Config{Backends: map[string][]string{gateway.Publisher: {s.URL}}})
	resp, err := http.Get(at + "/api/publishes/1/events") //nolint:noctx // the test's own server
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	buf := make([]byte, 6)
	if _, err := io.ReadFull(resp.Body, buf); err != nil || string(buf) != "first\n" {
		t.Fatalf("%q %v", buf, err)
	}
	close(more)
	if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != "second\n" {
		t.Errorf("%q %v", rest, err)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestBackendsThatMakeNoSenseAreNamed(t *testing.T) {
	t.Parallel()
	_, err := gateway.New(gateway.Config{Backends: map[string][]string{"a": {"localhost:1"}, "b": {}}})
	if err == nil || !strings.Contains(err.Error(), "localhost:1") || !strings.Contains(err.Error(), "backends of b") {
		t.Error(err)
	}
}
