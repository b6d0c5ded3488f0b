package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"postbus.dev/deploy/testbed"
	"postbus.dev/migrations"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

// call runs the command with an environment.
func call(t *testing.T, env map[string]string, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := run(t.Context(), args, func(name string) string { return env[name] }, &out)
	return out.String(), err
}

func TestStatusAndApplyTellWhatThereIsToDo(t *testing.T) {
	t.Parallel()
	dsn := testbed.Database(t)
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), "DROP SCHEMA public CASCADE; DROP SCHEMA atlas_schema_revisions CASCADE; CREATE SCHEMA public"); err != nil {
		t.Fatal(err)
	}
	files, err := fs.Glob(migrations.Versions(), "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	// The one for migrations goes first.
	env := map[string]string{"POSTBUS_MIGRATE_URL": dsn, "DATABASE_URL": "host=/nowhere"}
	steps := []struct {
		args []string
		want string
	}{
		{[]string{"status"}, fmt.Sprintf("version: none\npending: %d\n  %s\n", len(files), strings.Join(files, "\n  "))},
		{nil, fmt.Sprintf("\n%d applied\n", len(files))},
		{[]string{"apply"}, "0 applied\n"},
		{[]string{"status"}, fmt.Sprintf("version: %.14s\npending: 0\n", files[len(files)-1])},
	}
	for _, s := range steps {
		if out, err := call(t, env, s.args...); err != nil || !strings.HasSuffix(out, s.want) {
			t.Errorf("migrate %v: got %q, %v, want %q", s.args, out, err, s.want)
		}
	}
	if out, err := call(t, map[string]string{"DATABASE_URL": dsn}, "status"); err != nil || !strings.Contains(out, "pending: 0") {
		t.Errorf("with DATABASE_URL alone: %q, %v", out, err)
	}
}

func TestAWrongCallIsAnsweredWithTheUsage(t *testing.T) {
	t.Parallel()
	env := map[string]string{"DATABASE_URL": "host=/nowhere"}
	for _, args := range [][]string{{"down"}, {"apply", "now"}, {"--force"}} {
		if _, err := call(t, env, args...); !errors.Is(err, errUsage) || !strings.Contains(err.Error(), "usage: migrate") {
			t.Errorf("migrate %v: got %v", args, err)
		}
	}
	if _, err := call(t, nil); !errors.Is(err, errUsage) || !strings.Contains(err.Error(), "neither POSTBUS_MIGRATE_URL nor DATABASE_URL is set") {
		t.Errorf("without a database: got %v", err)
	}
	if out, err := call(t, nil, "--help"); err != nil || out != usage {
		t.Errorf("--help: got %q, %v", out, err)
	}
}

// What is set is tried over the network in the package migrations.
func TestRolesGetThePasswordsThatAreSet(t *testing.T) {
	t.Parallel()
	dsn := testbed.Cluster(t).Database(t) // passwords are the cluster's
	env := map[string]string{"POSTBUS_MIGRATE_URL": dsn, "POSTBUS_ACCOUNT_PASSWORD": "a-secret", "POSTBUS_PUBLISHER_PASSWORD": "p-secret"}
	const given = "passwords: postbus_account, postbus_publisher\n"
	for _, verb := range []string{"apply", "roles"} {
		if out, err := call(t, env, verb); err != nil || !strings.HasPrefix(out, given) || strings.Contains(out, "secret") {
			t.Errorf("migrate %s: %q, %v", verb, out, err)
		}
	}
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var with string
	if err := conn.QueryRow(t.Context(), `SELECT string_agg(rolname, ' ' ORDER BY rolname) FROM pg_authid WHERE rolpassword LIKE 'SCRAM-SHA-256$4096:%'`).Scan(&with); err != nil || with != "postbus_account postbus_publisher" {
		t.Errorf("%q, %v", with, err)
	}
}
