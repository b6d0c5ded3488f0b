package main

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"postbus.dev/deploy/testbed"
	"postbus.dev/deploy/testbed/postgres"
	"postbus.dev/migrations"
)

// onPorts is a configuration for run in this process, on free ports.
func onPorts(dir string, env map[string]string) config {
	cfg, err := settings(func(name string) string {
		if strings.HasSuffix(name, "_ADDR") && env[name] == "" {
			return "127.0.0.1:0"
		}
		return env[name]
	})
	if err != nil {
		panic(err)
	}
	cfg.dataDir = dir
	return cfg
}

// wantLine wants an error of one line that says each of these.
func wantLine(t *testing.T, err error, says ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("more than a line: %v", err)
	}
	for _, want := range says {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
}

func TestBusyPortsAreNamedWithTheirSettings(t *testing.T) {
	t.Parallel()
	var addrs []string
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		addrs = append(addrs, l.Addr().String())
	}
	cfg := onPorts(testbed.Dir(t), map[string]string{"POSTBUS_HTTP_ADDR": addrs[0], "POSTBUS_SANDBOX_ADDR": addrs[1]})
	err := run(t.Context(), cfg, &output{})
	wantLine(t, err, addrs[0]+", "+addrs[1]+" are in use", "end the program", "POSTBUS_HTTP_ADDR, POSTBUS_SANDBOX_ADDR")
	cfg = onPorts(testbed.Dir(t), map[string]string{"POSTBUS_NATS_ADDR": "192.0.2.1:4222"})
	wantLine(t, run(t.Context(), cfg, &output{}), "POSTBUS_NATS_ADDR=192.0.2.1:4222")
}

func TestBadSettingsAreNamedTogether(t *testing.T) {
	t.Parallel()
	_, err := settings(func(name string) string {
		return map[string]string{"POSTBUS_HTTP_ADDR": "3000", "POSTBUS_NATS_ADDR": "localhost:nats", "POSTBUS_DEMO": "twice", "POSTBUS_LOG_LEVEL": "loud"}[name]
	})
	wantLine(t, err, "POSTBUS_HTTP_ADDR=3000", "POSTBUS_NATS_ADDR=localhost:nats", "host:port", "POSTBUS_DEMO=twice", "POSTBUS_LOG_LEVEL=loud is unknown: set it to debug")
}

func TestADataDirectoryThatCannotBeMadeIsNamed(t *testing.T) {
	t.Parallel()
	file := filepath.Join(testbed.Dir(t), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := run(t.Context(), onPorts(filepath.Join(file, "data"), nil), &output{})
	wantLine(t, err, file, "POSTBUS_DATA_DIR")
}

func TestADataDirectoryInUseNamesTheProcess(t *testing.T) {
	t.Parallel()
	dir := testbed.Dir(t)
	lock, err := claim(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	wantLine(t, run(t.Context(), onPorts(dir, nil), &output{}), dir, "in use by process", "POSTBUS_DATA_DIR")
}

func TestTheDataOfAnotherUserIsLeftAlone(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	dir := testbed.Dir(t)
	lock, err := claim(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(lock.Name(), nobody, nobody); err != nil {
		t.Fatal(err)
	}
	wantLine(t, run(t.Context(), onPorts(dir, nil), &output{}), dir, "belongs to user", "this is user root", "POSTBUS_DATA_DIR")
}

func TestFilesThatAreNotPostgresDataAreLeftAlone(t *testing.T) {
	t.Parallel()
	dir := testbed.Dir(t)
	photo := filepath.Join(dir, "postgres", "data", "photo.jpg")
	if err := os.MkdirAll(filepath.Dir(photo), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(photo, []byte("dear"), 0o600); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(filepath.Dir(photo), nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	wantLine(t, run(t.Context(), onPorts(dir, nil), &output{}), filepath.Dir(photo), "not PostgreSQL's")
	if b, err := os.ReadFile(photo); err != nil || string(b) != "dear" {
		t.Errorf("%q %v", b, err)
	}
}

func TestTheDataOfAnotherVersionIsNamed(t *testing.T) {
	t.Parallel()
	dir := testbed.Dir(t)
	db, err := postgres.Start(t.Context(), postgres.Config{Dir: filepath.Join(dir, "postgres")})
	if err != nil {
		t.Fatal(err)
	}
	if err := migrations.EnsureRoles(t.Context(), db.DSN("postgres")); err != nil {
		t.Fatal(err)
	}
	if _, err := migrations.Apply(t.Context(), db.DSN("postgres"), nil); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), db.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "UPDATE atlas_schema_revisions.atlas_schema_revisions SET hash = 'other'"); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	wantLine(t, run(t.Context(), onPorts(dir, nil), &output{}), "data in "+dir+" does not fit", "move it away")
}

func TestASandboxStateOfAnotherVersionIsNamed(t *testing.T) {
	t.Parallel()
	dir := testbed.Dir(t)
	state := filepath.Join(dir, "sandbox.json")
	if err := os.WriteFile(state, []byte(`{"version":99}`), 0o600); err != nil {
		t.Fatal(err)
	}
	wantLine(t, run(t.Context(), onPorts(dir, nil), &output{}), state, "version 99", "move it away")
}

// The account is connected before the provider is another one.
func TestOnceFailsWhereTheProviderIsAwayOrRefuses(t *testing.T) {
	t.Parallel()
	dir := testbed.Dir(t)
	if code := start(t, dir, systemCommand(dir, "POSTBUS_DEMO=once")).code(startWait); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	providerAway(t, dir)
	refusal := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"error":{"message":"no such shape","type":"OAuthException","code":36003,"error_subcode":2207009}}`))
	}))
	defer refusal.Close()
	c := start(t, dir, systemCommand(dir, "INSTAGRAM_BASE_URL="+refusal.URL, "POSTBUS_DEMO=once"))
	c.await(`publish.failed +IMAGE +MEDIA_REJECTED: `, startWait)
	if code := c.code(startWait); code != 1 {
		t.Errorf("exit code %d", code)
	}
}

func providerAway(t *testing.T, dir string) {
	t.Helper()
	cfg := onPorts(dir, map[string]string{"INSTAGRAM_BASE_URL": "http://127.0.0.1:1/instagram", "POSTBUS_DEMO": "once"})
	cfg.patience = 8 * time.Second
	ctx, cancel := context.WithTimeout(t.Context(), startWait)
	defer cancel()
	var out output
	wantLine(t, run(ctx, cfg, &out), "3 of the first posts not completed", "postbus.log")
	for _, want := range []string{"publish.delayed", "provider_down", "3 of 3 are not through after 8s", "connection refused"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("does not tell %q:\n%s", want, &out)
		}
	}
}

func TestAnAccountThatCannotBeConnectedIsNamed(t *testing.T) {
	t.Parallel()
	var out output
	cfg := onPorts(testbed.Dir(t), map[string]string{"INSTAGRAM_TOKEN_URL": "http://127.0.0.1:1/", "POSTBUS_DEMO": "once"})
	wantLine(t, run(t.Context(), cfg, &out), "connect demo of instagram", "status 502")
}

func TestCtrlCWhileItStartsLeavesNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	out := &output{}
	go func() {
		for !strings.Contains(out.String(), "NATS  ") && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	_ = run(ctx, onPorts(testbed.Dir(t), nil), out) // that nothing is left is TestMain's to see
	if strings.Contains(out.String(), "Ctrl-C ends everything") {
		t.Skip("it had started before it could be stopped")
	}
}
