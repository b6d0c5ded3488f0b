// Package migrations holds the database schema and brings a database to it.
//
// schema.sql is the desired state and what people edit and read. versions/ is
// an Atlas directory of versioned files that lead there, with their sums in
// atlas.sum; it is embedded, and Apply executes what a database lacks, under
// the advisory lock that the Atlas CLI takes, into the revisions table that
// the Atlas CLI keeps. Tests hold the two against each other.
//
// To change the schema, edit schema.sql and then
//
//	go run ./cmd/schema init   while nothing is released: rewrites the one file from schema.sql
//	go run ./cmd/schema diff   once something is: prints what a new versioned file must do
//	go run ./cmd/schema hash   after a new versioned file was written: renews atlas.sum
//
// A file that was applied anywhere is never edited again: Apply refuses such
// a database by name. Every change is expand, migrate, contract, because older
// and newer services run side by side on one database.
package migrations

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"ariga.io/atlas/sql/migrate"
	"ariga.io/atlas/sql/postgres"
	"ariga.io/atlas/sql/schema"
	_ "github.com/jackc/pgx/v5/stdlib" // database/sql driver "pgx", which Atlas works over
)

const (
	lockName = "atlas_migrate_execute" // the CLI's
	lockWait = 60 * time.Second
)

// Apply brings the database at dsn (a PostgreSQL URL or keyword string) to the
// newest version that this binary holds and reports how many files it
// executed. Any number of processes may call it at once: one works, the others
// wait for it and find nothing to do. A database that is newer than the binary
// is left as it is. Each file runs in a transaction of its own. A nil log is silent.
func Apply(ctx context.Context, dsn string, log *slog.Logger) (applied int, err error) {
	return applyFrom(ctx, dsn, log, versions())
}

// Pending reports how many versioned files the database at dsn lacks. It only
// reads. A database without the revisions table lacks all of them.
func Pending(ctx context.Context, dsn string) (int, error) {
	db, err := open(dsn)
	if err != nil {
		return 0, err
	}
	defer db.Close()
	m, err := newMigrator(db, nil, versions())
	if err != nil {
		return 0, err
	}
	files, err := m.pending(ctx)
	return len(files), err
}

// versions is the embedded Atlas directory.
func versions() fs.FS {
	sub, err := fs.Sub(embedded, "versions")
	if err != nil {
		panic(err) // only an invalid path can do that
	}
	return sub
}

// open makes a small pool of its own: the lock holds one connection while the
// files run on another.
func open(dsn string) (*sql.DB, error) {
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		return nil, fmt.Errorf("open migration database: %w", err)
	}
	db.SetMaxOpenConns(4)
	return db, nil
}

func applyFrom(ctx context.Context, dsn string, log *slog.Logger, fsys fs.FS) (applied int, err error) {
	db, err := open(dsn)
	if err != nil {
		return 0, err
	}
	defer db.Close()
	m, err := newMigrator(db, log, fsys)
	if err != nil {
		return 0, err
	}
	return m.apply(ctx)
}

type migrator struct {
	db  *sql.DB
	drv migrate.Driver
	dir migrate.Dir
	log *slog.Logger
}

func newMigrator(db *sql.DB, log *slog.Logger, fsys fs.FS) (*migrator, error) {
	dir, err := Load(fsys)
	if err != nil {
		return nil, err
	}
	drv, err := postgres.Open(db)
	if err != nil {
		return nil, fmt.Errorf("connect to migration database: %w", err)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &migrator{db: db, drv: drv, dir: dir, log: log}, nil
}

func (m *migrator) apply(ctx context.Context) (applied int, err error) {
	unlock, err := m.drv.(schema.Locker).Lock(ctx, lockName, lockWait)
	if err != nil {
		return 0, fmt.Errorf("lock database for migration: %w", err)
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if _, err := m.db.ExecContext(ctx, revisionsDDL); err != nil {
		return 0, fmt.Errorf("create revisions table: %w", err)
	}
	files, err := m.pending(ctx)
	if err != nil {
		return 0, err
	}
	for _, f := range files {
		start := time.Now()
		if err := m.execute(ctx, f); err != nil {
			return applied, fmt.Errorf("apply migration %s: %w", f.Name(), err)
		}
		applied++
		m.log.InfoContext(ctx, "migration applied", "file", f.Name(), "duration", time.Since(start))
	}
	return applied, nil
}

func (m *migrator) pending(ctx context.Context) ([]migrate.File, error) {
	ex, err := m.executor(m.drv, m.db)
	if err != nil {
		return nil, err
	}
	files, err := ex.Pending(ctx)
	if errors.Is(err, migrate.ErrNoPendingFiles) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("compare database with migrations: %w", err)
	}
	return files, nil
}

func (m *migrator) executor(drv migrate.Driver, q schema.ExecQuerier) (*migrate.Executor, error) {
	ex, err := migrate.NewExecutor(drv, m.dir, revisions{q}, migrate.WithOperatorVersion("postbus"), migrate.WithAllowDirty(true))
	if err != nil {
		return nil, fmt.Errorf("prepare migration: %w", err)
	}
	return ex, nil
}

func (m *migrator) execute(ctx context.Context, f migrate.File) error {
	tx, err := m.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	drv, err := postgres.Open(tx)
	if err != nil {
		return errors.Join(err, tx.Rollback())
	}
	ex, err := m.executor(drv, tx)
	if err != nil {
		return errors.Join(err, tx.Rollback())
	}
	if err := ex.Execute(ctx, f); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}
