package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"postbus.dev/deploy/testbed"
	"postbus.dev/migrations"
)

func TestAnotherPublisherLogsInAsPublishersDo(t *testing.T) {
	t.Parallel()
	s := &system{cfg: config{dataDir: testbed.Dir(t), getenv: os.Getenv}, dsn: testbed.Database(t), natsURL: "nats://it's:4222"}
	if err := s.writeEnv(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", `set -a; . "$1"; env`, "sh", filepath.Join(s.cfg.dataDir, envFile))
	cmd.Env = []string{}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	set := map[string]string{}
	for line := range strings.Lines(string(out)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		set[name] = value
	}
	if set["NATS_URL"] != s.natsURL || set["POSTBUS_MIGRATE_URL"] != "" {
		t.Errorf("a shell sees %v", set)
	}
	conn, err := pgx.Connect(t.Context(), set["DATABASE_URL"])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var role string
	if err := conn.QueryRow(t.Context(), `SELECT current_user`).Scan(&role); err != nil || role != migrations.RolePublisher {
		t.Errorf("it logs in as %s (%v)", role, err)
	}
	if state, err := migrations.Inspect(t.Context(), set["DATABASE_URL"]); err != nil || state.Current == "" || len(state.Pending) > 0 {
		t.Errorf("migrate status shows %+v (%v)", state, err)
	}
}
