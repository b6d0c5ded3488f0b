// Command schema keeps the versioned migration files and schema.sql together.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"ariga.io/atlas/sql/migrate"

	"postbus.dev/migrations"
	"postbus.dev/migrations/internal/drift"
)

const (
	directory = "versions"
	desired   = "schema.sql"
	usage     = `usage, in the migrations directory:
  go run ./cmd/schema hash   rewrite atlas.sum from the versioned files
  go run ./cmd/schema check  fail unless atlas.sum fits the versioned files (needs no database)
  go run ./cmd/schema diff   print what a new versioned file must do to reach schema.sql
                             (DATABASE_URL: a server on which two databases can be made and dropped)
`
)

func main() {
	err := run(context.Background(), os.Args[1:], os.Stdout)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Print(usage)
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "schema:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) != 1 {
		return fmt.Errorf("one command is needed\n%s", usage)
	}
	switch args[0] {
	case "hash":
		return rehash()
	case "check":
		return check()
	case "diff":
		return diff(ctx, out)
	case "help", "-h", "--help":
		return flag.ErrHelp
	}
	return fmt.Errorf("unknown command %q\n%s", args[0], usage)
}

func rehash() error {
	dir, err := migrate.NewLocalDir(directory)
	if err != nil {
		return err
	}
	sum, err := dir.Checksum()
	if err != nil {
		return err
	}
	return migrate.WriteSumFile(dir, sum)
}

func check() error {
	dir, err := migrate.NewLocalDir(directory)
	if err != nil {
		return err
	}
	if err := migrate.Validate(dir); err != nil {
		return fmt.Errorf("%s does not fit the versioned files: %w", migrate.HashFileName, err)
	}
	return nil
}

func diff(ctx context.Context, out io.Writer) error {
	dsn := os.Getenv("DATABASE_URL")
	if dsn == "" {
		return errors.New("DATABASE_URL is not set: name a server on which two databases can be made and dropped")
	}
	dir, err := migrate.NewLocalDir(directory)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(desired)
	if err != nil {
		return err
	}
	if err := migrations.EnsureRoles(ctx, dsn); err != nil {
		return err
	}
	report, err := drift.Find(ctx, dsn, dir, string(text))
	if err != nil {
		return err
	}
	return show(out, report)
}

func show(out io.Writer, r drift.Report) error {
	if r.Empty() {
		_, err := fmt.Fprintln(out, "-- the versioned files lead to schema.sql")
		return err
	}
	var errs []error
	for _, d := range r.Differences {
		_, err := fmt.Fprintf(out, "-- %s\n", strings.ReplaceAll(d, "\n", "\n-- "))
		errs = append(errs, err)
	}
	for _, s := range r.Statements {
		_, err := fmt.Fprintf(out, "%s;\n", s)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
