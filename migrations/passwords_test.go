package migrations_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"postbus.dev/deploy/testbed"
	"postbus.dev/deploy/testbed/postgres"
	"postbus.dev/migrations"
)

// overTCP starts a cluster with the roles where passwords count, and which writes
// every statement into its log.
func overTCP(t *testing.T) (s *postgres.Server, port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port = l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s, err = postgres.Start(t.Context(), postgres.Config{Dir: testbed.Dir(t), Port: port, Settings: []string{"log_statement=all"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := migrations.EnsureRoles(t.Context(), s.DSN("postgres")); err != nil {
		t.Fatal(err)
	}
	return s, port
}

// login logs in over the network.
func login(t *testing.T, port int, role, password string) error {
	t.Helper()
	c, err := pgx.ParseConfig(fmt.Sprintf("postgres://%s@127.0.0.1:%d/postgres?sslmode=disable", role, port))
	if err != nil {
		t.Fatal(err)
	}
	c.Password = password
	conn, err := pgx.ConnectConfig(t.Context(), c)
	if err != nil {
		return err
	}
	return conn.Close(context.Background())
}

func TestARoleLogsInWithThePasswordThatItWasGivenLast(t *testing.T) {
	t.Parallel()
	s, port := overTCP(t)
	const odd = `it's a "long" one: ~\%$@/?#`
	var pg *pgconn.PgError
	if err := login(t, port, migrations.RoleAccount, odd); !errors.As(err, &pg) || pg.Code != "28P01" { // invalid_password
		t.Fatalf("without a password: %v", err)
	}
	var many sync.WaitGroup
	for range 8 { // migrate commands that start together
		many.Go(func() {
			if err := migrations.SetPasswords(t.Context(), s.DSN("postgres"), map[string]string{migrations.RoleAccount: odd, migrations.RolePublisher: "p1-secret"}); err != nil {
				t.Error(err)
			}
		})
	}
	many.Wait()
	if err := migrations.SetPasswords(t.Context(), s.DSN("postgres"), map[string]string{migrations.RolePublisher: "p2-secret"}); err != nil {
		t.Fatal(err)
	}
	for role, password := range map[string]string{migrations.RoleAccount: odd, migrations.RolePublisher: "p2-secret"} {
		if err := login(t, port, role, password); err != nil {
			t.Errorf("%s: %v", role, err)
		}
	}
	for role, password := range map[string]string{migrations.RoleAccount: "p2-secret", migrations.RolePublisher: "p1-secret", migrations.RoleRefresher: ""} {
		if err := login(t, port, role, password); !errors.As(err, &pg) || pg.Code != "28P01" {
			t.Errorf("%s with another password: %v", role, err)
		}
	}
	log, err := os.ReadFile(s.LogFile())
	if err != nil || !strings.Contains(string(log), "ALTER ROLE") || strings.Contains(string(log), "-secret") || strings.Contains(string(log), `"long"`) {
		t.Errorf("the server's log (%v) lacks the statement, or holds a password:\n%s", err, log)
	}
}

func TestPasswordsThatTheServerMightReadOtherwiseAreRefused(t *testing.T) {
	t.Parallel()
	err := migrations.SetPasswords(t.Context(), "host=/nowhere", map[string]string{
		migrations.RoleAccount: "pässword", migrations.RolePublisher: "", migrations.RoleRefresher: "a\nb",
	})
	if err == nil || strings.Contains(err.Error(), "pässword") {
		t.Fatal(err)
	}
	for _, role := range migrations.Roles() {
		if !strings.Contains(err.Error(), "the password of "+role) {
			t.Errorf("%s is not named: %v", role, err)
		}
	}
}
