package migrations

import (
	"errors"
	"fmt"
	"io/fs"

	"ariga.io/atlas/sql/migrate"
)

// Load copies an Atlas directory (versioned files and their atlas.sum, all at
// the top of fsys) into memory and checks the files against the sums.
func Load(fsys fs.FS) (migrate.Dir, error) {
	dir := &migrate.MemDir{}
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	for _, e := range entries {
		b, err := fs.ReadFile(fsys, e.Name())
		if err != nil {
			return nil, fmt.Errorf("read migrations: %w", err)
		}
		if err := dir.WriteFile(e.Name(), b); err != nil {
			return nil, fmt.Errorf("read migrations: %w", err)
		}
	}
	if err := migrate.Validate(dir); err != nil {
		return nil, fmt.Errorf("check %s: %w", migrate.HashFileName, explain(err))
	}
	return dir, nil
}

// explain names the file that does not match, which Atlas knows and keeps to
// itself.
func explain(err error) error {
	var sum *migrate.ChecksumError
	if errors.As(err, &sum) {
		return fmt.Errorf("%w: file %s was %s (go run ./cmd/schema hash, if that was meant)", err, sum.File, sum.Reason)
	}
	return err
}
