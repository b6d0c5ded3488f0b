// Command schema keeps the versioned migration files in step with schema.sql.
// Run it in the migrations directory.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"ariga.io/atlas/sql/migrate"
)

const (
	directory = "versions"
	initFile  = "20261122000001_init.sql"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "schema:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		args = []string{"help"}
	}
	switch args[0] {
	case "init":
		return rewriteInit()
	case "hash":
		return rehash()
	}
	return fmt.Errorf("usage: schema init | hash | diff")
}

func rewriteInit() error {
	b, err := os.ReadFile("schema.sql")
	if err != nil {
		return err
	}
	head := "-- Made from schema.sql by `go run ./cmd/schema init`; do not edit.\n\n"
	if err := os.WriteFile(filepath.Join(directory, initFile), append([]byte(head), b...), 0o644); err != nil {
		return err
	}
	return rehash()
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
