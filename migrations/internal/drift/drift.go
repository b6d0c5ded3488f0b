// Package drift compares the schema that the versioned migration files lead to
// with the one that schema.sql asks for, by building both.
//
// Atlas says which statements would lead from the one to the other, but its
// library sees no functions, triggers, views, policies and rights. A comparison
// of PostgreSQL's own catalogs sees everything, and says no statement.
package drift

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"ariga.io/atlas/sql/migrate"
	"ariga.io/atlas/sql/postgres"
	"ariga.io/atlas/sql/schema"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// Report is what separates one schema from another. Both parts are empty where
// nothing does.
type Report struct {
	Statements  []string // Atlas's plan; for what it knows
	Differences []string // objects that differ, in words
}

// Empty tells whether the schemas are the same.
func (r Report) Empty() bool { return len(r.Statements) == 0 && len(r.Differences) == 0 }

// Find builds both schemas in two databases of the server at dsn, which it
// makes and drops, and reports what separates the versioned files in dir from
// the desired schema.
func Find(ctx context.Context, dsn string, dir migrate.Dir, desired string) (report Report, err error) {
	from, dropFrom, err := scratch(ctx, dsn, "postbus_drift_versions")
	if err != nil {
		return Report{}, err
	}
	defer func() { err = errors.Join(err, dropFrom()) }()
	to, dropTo, err := scratch(ctx, dsn, "postbus_drift_desired")
	if err != nil {
		return Report{}, err
	}
	defer func() { err = errors.Join(err, dropTo()) }()
	if err := replay(ctx, from, dir); err != nil {
		return Report{}, err
	}
	if _, err := to.ExecContext(ctx, desired); err != nil {
		return Report{}, fmt.Errorf("execute desired schema: %w", err)
	}
	return between(ctx, from, to)
}

// scratch makes an empty database, instead of one that an interrupted run left.
func scratch(ctx context.Context, dsn, name string) (db *sql.DB, drop func() error, err error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, nil, fmt.Errorf("make database %s: %w", name, err)
	}
	server := stdlib.OpenDB(*config)
	remove := func() error {
		_, err := server.ExecContext(context.WithoutCancel(ctx), "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
		return err
	}
	err = remove()
	if err == nil {
		_, err = server.ExecContext(ctx, "CREATE DATABASE "+name+" TEMPLATE template0")
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("make database %s: %w", name, err), server.Close())
	}
	own := config.Copy()
	own.Database = name
	db = stdlib.OpenDB(*own)
	return db, func() error { return errors.Join(db.Close(), remove(), server.Close()) }, nil
}

// replay executes all files of a directory.
func replay(ctx context.Context, db *sql.DB, dir migrate.Dir) error {
	files, err := dir.Files()
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	for _, f := range files {
		statements, err := f.StmtDecls()
		if err != nil {
			return fmt.Errorf("read migration %s: %w", f.Name(), err)
		}
		for _, s := range statements {
			if _, err := db.ExecContext(ctx, s.Text); err != nil {
				return fmt.Errorf("execute migration %s at byte %d: %w", f.Name(), s.Pos, err)
			}
		}
	}
	return nil
}

func between(ctx context.Context, from, to *sql.DB) (r Report, err error) {
	if r.Statements, err = plan(ctx, from, to); err != nil {
		return Report{}, err
	}
	before, err := catalog(ctx, from)
	if err != nil {
		return Report{}, err
	}
	after, err := catalog(ctx, to)
	if err != nil {
		return Report{}, err
	}
	r.Differences = compare(before, after)
	return r, nil
}

// plan asks Atlas for the statements that lead from one schema to the other.
// Both were read from a server, and are normalized by that.
func plan(ctx context.Context, from, to *sql.DB) ([]string, error) {
	drv, before, err := realm(ctx, from)
	if err != nil {
		return nil, err
	}
	_, after, err := realm(ctx, to)
	if err != nil {
		return nil, err
	}
	changes, err := drv.RealmDiff(before, after, schema.DiffNormalized())
	if err != nil {
		return nil, fmt.Errorf("compare schemas: %w", err)
	}
	p, err := drv.PlanChanges(ctx, "drift", changes)
	if err != nil {
		return nil, fmt.Errorf("plan change of schema: %w", err)
	}
	var statements []string
	for _, c := range p.Changes {
		statements = append(statements, c.Cmd)
	}
	return statements, nil
}

func realm(ctx context.Context, db *sql.DB) (migrate.Driver, *schema.Realm, error) {
	drv, err := postgres.Open(db)
	if err != nil {
		return nil, nil, fmt.Errorf("read schema: %w", err)
	}
	r, err := drv.InspectRealm(ctx, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("read schema: %w", err)
	}
	return drv, r, nil
}
