// Command migrate brings a Postbus database to the newest schema.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"postbus.dev/migrations"
)

const usage = `usage: migrate [apply | roles | status]

  apply   do what roles does, and execute what the database lacks (the default);
          safe to run at the same time as services and other migrate commands
  roles   make the services' roles where they are missing, and give them the
          passwords that are set: once a cluster, where the role that applies
          migrations may not create roles
  status  print the version of the database and the files that it lacks

Settings (environment variables):
  POSTBUS_MIGRATE_URL         PostgreSQL URL or keyword string of a role that may create
                              tables, and for roles of one that may create roles
  DATABASE_URL                the same, where POSTBUS_MIGRATE_URL is not set
  PGPASSWORD                  its password, where the string has none
  POSTBUS_ACCOUNT_PASSWORD    the role's password from now on, so that it can log in over the
  POSTBUS_PUBLISHER_PASSWORD  network: printable ASCII; not set, it stays as it is
  POSTBUS_REFRESHER_PASSWORD

Exit codes: 0 done, 1 failed, 2 called wrongly.
`

// errUsage is a wrong call.
var errUsage = errors.New("called wrongly")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Getenv, os.Stdout)
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "migrate:", err)
	if errors.Is(err, errUsage) {
		os.Exit(2)
	}
	os.Exit(1)
}

func run(ctx context.Context, args []string, env func(string) string, out io.Writer) error {
	verb := "apply"
	if len(args) > 0 {
		verb = args[0]
	}
	if verb == "help" || verb == "-h" || verb == "-help" || verb == "--help" {
		_, err := io.WriteString(out, usage)
		return err
	}
	command := map[string]func(context.Context, target, io.Writer) error{"apply": apply, "roles": roles, "status": status}[verb]
	if len(args) > 1 || command == nil {
		return fmt.Errorf("%w: %s\n%s", errUsage, strings.Join(args, " "), usage)
	}
	db := target{dsn: cmp.Or(env("POSTBUS_MIGRATE_URL"), env("DATABASE_URL")), passwords: map[string]string{}}
	if db.dsn == "" {
		return fmt.Errorf("%w: neither POSTBUS_MIGRATE_URL nor DATABASE_URL is set\n%s", errUsage, usage)
	}
	for _, role := range migrations.Roles() {
		if password := env(strings.ToUpper(role) + "_PASSWORD"); password != "" {
			db.passwords[role] = password
		}
	}
	return command(ctx, db, out)
}

// target is a database and what the services' roles get there.
type target struct {
	dsn       string
	passwords map[string]string // by role
}

func status(ctx context.Context, db target, out io.Writer) error {
	state, err := migrations.Inspect(ctx, db.dsn)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "version: %s\npending: %d\n", cmp.Or(state.Current, "none"), len(state.Pending))
	for _, name := range state.Pending {
		if err == nil {
			_, err = fmt.Fprintf(out, "  %s\n", name)
		}
	}
	return err
}

func roles(ctx context.Context, db target, out io.Writer) error {
	if err := ensureRoles(ctx, db, out); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "roles: %s\n", strings.Join(migrations.Roles(), ", "))
	return err
}

func ensureRoles(ctx context.Context, db target, out io.Writer) error {
	if err := migrations.EnsureRoles(ctx, db.dsn); err != nil || len(db.passwords) == 0 {
		return err
	}
	if err := migrations.SetPasswords(ctx, db.dsn, db.passwords); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "passwords: %s\n", strings.Join(slices.Sorted(maps.Keys(db.passwords)), ", "))
	return err
}

func apply(ctx context.Context, db target, out io.Writer) error {
	if err := ensureRoles(ctx, db, out); err != nil {
		return err
	}
	n, err := migrations.Apply(ctx, db.dsn, slog.New(slog.NewTextHandler(out, nil)))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%d applied\n", n)
	return err
}
