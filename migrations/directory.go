package migrations

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"ariga.io/atlas/sql/migrate"
)

// Load copies an Atlas directory into memory (versioned files and atlas.sum,
// at the top of fsys) and checks the files against their sums.
func Load(fsys fs.FS) (migrate.Dir, error) {
	dir := &migrate.MemDir{}
	names, err := fs.Glob(fsys, "*")
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	for _, name := range names {
		b, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, fmt.Errorf("read migrations: %w", err)
		}
		if err := dir.WriteFile(name, b); err != nil {
			return nil, fmt.Errorf("read migrations: %w", err)
		}
	}
	err = migrate.Validate(dir)
	var sum *migrate.ChecksumError
	if errors.As(err, &sum) { // Atlas knows the file and does not say it
		return nil, fmt.Errorf("check %s: %s was %s since: if that was meant, run go run ./cmd/schema hash", migrate.HashFileName, sum.File, sum.Reason)
	}
	if err != nil {
		return nil, fmt.Errorf("check %s: %w", migrate.HashFileName, err)
	}
	return dir, nil
}

// unedited refuses a database to which a file was applied whose text has
// changed since. Atlas itself compares files with atlas.sum only, which
// whoever edits a file renews.
func unedited(dir migrate.Dir, done []*migrate.Revision) error {
	files, err := dir.Files()
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	sums, err := dir.Checksum()
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	for _, f := range files {
		sum, err := sums.SumByName(f.Name())
		if err != nil {
			return fmt.Errorf("read migrations: %s: %w", f.Name(), err)
		}
		edited := func(r *migrate.Revision) bool {
			return r.Version == f.Version() && r.Applied == r.Total && r.Hash != sum
		}
		if slices.ContainsFunc(done, edited) {
			return fmt.Errorf("compare database with migrations: %s (or a file before it) was edited after it had been applied here: put the text back and write a new file; a database that nobody needs may be dropped instead", f.Name())
		}
	}
	return nil
}

func withoutTransaction(f migrate.File) bool {
	local, ok := f.(*migrate.LocalFile)
	return ok && slices.Equal(local.Directive("txmode"), []string{"none"})
}

// plain words a failed statement by its line instead of its whole text, and
// without what failed after it because of it.
func plain(err error) error {
	var failed *migrate.StmtExecError
	if !errors.As(err, &failed) {
		return err
	}
	line := 1 + strings.Count(string(failed.File.Bytes()[:min(failed.Stmt.Pos, len(failed.File.Bytes()))]), "\n")
	return fmt.Errorf("statement at line %d: %w", line, failed.Err)
}
