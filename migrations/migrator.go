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
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

const (
	lockName = "atlas_migrate_execute" // the CLI's
	lockWait = 2 * time.Minute         // the one who has it may be rewriting a table
)

// migrator works with one Atlas directory on one database.
type migrator struct {
	db  *sql.DB
	drv migrate.Driver
	dir migrate.Dir
	log *slog.Logger
}

func applyFrom(ctx context.Context, dsn string, log *slog.Logger, fsys fs.FS) (int, error) {
	m, err := open(ctx, dsn, log, fsys)
	if err != nil {
		return 0, err
	}
	defer func() { _ = m.db.Close() }()
	return m.apply(ctx)
}

func inspectFrom(ctx context.Context, dsn string, fsys fs.FS) (State, error) {
	m, err := open(ctx, dsn, nil, fsys)
	if err != nil {
		return State{}, err
	}
	defer func() { _ = m.db.Close() }()
	state, _, err := m.inspect(ctx)
	return state, err
}

func open(ctx context.Context, dsn string, log *slog.Logger, fsys fs.FS) (*migrator, error) {
	dir, err := Load(fsys)
	if err != nil {
		return nil, err
	}
	db, err := connect(ctx, dsn)
	if err != nil {
		return nil, fmt.Errorf("connect to database for migration: %w", err)
	}
	drv, err := postgres.Open(db)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("prepare database for migration: %w", err), db.Close())
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &migrator{db: db, drv: drv, dir: dir, log: log}, nil
}

// connect makes a pool of its own: while one connection holds the lock, the
// files run on another, without the time limits of the services' sessions.
func connect(ctx context.Context, dsn string) (*sql.DB, error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	config.RuntimeParams["application_name"] = "postbus-migrate"
	config.RuntimeParams["statement_timeout"] = "0"
	config.RuntimeParams["idle_in_transaction_session_timeout"] = "0"
	config.RuntimeParams["lock_timeout"] = "30s" // others queue up behind a statement that waits for a table
	db := stdlib.OpenDB(*config)
	db.SetMaxOpenConns(4)
	if err := db.PingContext(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func (m *migrator) apply(ctx context.Context) (applied int, err error) {
	if state, _, err := m.inspect(ctx); err != nil || len(state.Pending) == 0 {
		return 0, err // the usual start needs neither lock nor rights to create
	}
	if err := rolesExist(ctx, m.db); err != nil {
		return 0, err // before anything is changed: the files grant to them
	}
	unlock, err := m.drv.(schema.Locker).Lock(ctx, lockName, lockWait)
	if errors.Is(err, schema.ErrLocked) {
		return 0, fmt.Errorf("lock database for migration: another process has been migrating it for more than %s", lockWait)
	}
	if err != nil {
		return 0, fmt.Errorf("lock database for migration: %w", err)
	}
	defer func() {
		if unlockErr := unlock(); err == nil && unlockErr != nil {
			err = fmt.Errorf("unlock database after migration: %w", unlockErr)
		}
	}()
	return m.applyLocked(ctx)
}

func (m *migrator) applyLocked(ctx context.Context) (applied int, err error) {
	if _, err := m.db.ExecContext(ctx, revisionsDDL); err != nil {
		return 0, fmt.Errorf("make table of applied migrations: %w", err)
	}
	_, files, err := m.inspect(ctx) // again: somebody else may have been at work until now
	if err != nil {
		return 0, err
	}
	for _, f := range files {
		start := time.Now()
		if err := m.execute(ctx, f); err != nil {
			return applied, fmt.Errorf("apply migration %s: %w", f.Name(), plain(err))
		}
		applied++
		m.log.InfoContext(ctx, "migration applied", "file", f.Name(), "duration", time.Since(start))
	}
	return applied, nil
}

// inspect finds what is applied and what is pending, and refuses a history
// that is not ours.
func (m *migrator) inspect(ctx context.Context) (State, []migrate.File, error) {
	done, err := revisions{m.db}.ReadRevisions(ctx)
	if err != nil {
		return State{}, nil, fmt.Errorf("read applied migrations: %w", err)
	}
	if err := unedited(m.dir, done); err != nil {
		return State{}, nil, err
	}
	ex, err := m.executor(m.drv, m.db)
	if err != nil {
		return State{}, nil, err
	}
	files, err := ex.Pending(ctx)
	if err != nil && !errors.Is(err, migrate.ErrNoPendingFiles) {
		return State{}, nil, fmt.Errorf("compare database with migrations: %w", err)
	}
	var state State
	for _, f := range files {
		state.Pending = append(state.Pending, f.Name())
	}
	if len(done) > 0 {
		state.Current = done[len(done)-1].Version
	}
	return state, files, nil
}

func (m *migrator) executor(drv migrate.Driver, q schema.ExecQuerier) (*migrate.Executor, error) {
	// A database may hold what is not ours: extensions, other systems.
	ex, err := migrate.NewExecutor(drv, m.dir, revisions{q}, migrate.WithOperatorVersion("postbus"), migrate.WithAllowDirty(true))
	if err != nil {
		return nil, fmt.Errorf("prepare migration: %w", err)
	}
	return ex, nil
}

// execute runs one file: as a transaction, or as it asks, statement by
// statement, in which case Atlas goes on after the last one that succeeded.
func (m *migrator) execute(ctx context.Context, f migrate.File) error {
	if withoutTransaction(f) {
		ex, err := m.executor(m.drv, m.db)
		if err != nil {
			return err
		}
		return ex.Execute(ctx, f)
	}
	tx, err := m.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := m.executeIn(ctx, tx, f); err != nil {
		_ = tx.Rollback() // the session ends with the pool in any case
		return err
	}
	return tx.Commit()
}

func (m *migrator) executeIn(ctx context.Context, tx *sql.Tx, f migrate.File) error {
	drv, err := postgres.Open(tx)
	if err != nil {
		return err
	}
	ex, err := m.executor(drv, tx)
	if err != nil {
		return err
	}
	return ex.Execute(ctx, f)
}
