package migrations

import (
	"context"
	"encoding/json"
	"fmt"

	"ariga.io/atlas/sql/migrate"
	"ariga.io/atlas/sql/schema"
)

// The table is the one that the Atlas CLI keeps, column for column, so that
// `atlas migrate status` and this package can be used on the same database.
const (
	revisionsName  = "atlas_schema_revisions"
	revisionsTable = `"atlas_schema_revisions"."atlas_schema_revisions"`

	revisionsDDL = `CREATE SCHEMA IF NOT EXISTS "atlas_schema_revisions";
CREATE TABLE IF NOT EXISTS ` + revisionsTable + ` (
	"version" character varying NOT NULL,
	"description" character varying NOT NULL,
	"type" bigint NOT NULL DEFAULT 2,
	"applied" bigint NOT NULL DEFAULT 0,
	"total" bigint NOT NULL DEFAULT 0,
	"executed_at" timestamptz NOT NULL,
	"execution_time" bigint NOT NULL,
	"error" text NULL,
	"error_stmt" text NULL,
	"hash" character varying NOT NULL,
	"partial_hashes" jsonb NULL,
	"operator_version" character varying NOT NULL,
	PRIMARY KEY ("version"))`

	selectRevisions = `SELECT version, description, type, applied, total, executed_at, execution_time,
	coalesce(error, ''), coalesce(error_stmt, ''), hash, coalesce(partial_hashes, 'null'::jsonb), operator_version
FROM ` + revisionsTable + ` WHERE version NOT LIKE '.%' ORDER BY version`  // the CLI keeps notes of its own under names with a dot

	revisionsExist = `SELECT to_regclass('` + revisionsTable + `') IS NOT NULL`

	upsertRevision = `INSERT INTO ` + revisionsTable + `
	(version, description, type, applied, total, executed_at, execution_time, error, error_stmt, hash, partial_hashes, operator_version)
VALUES ($1, $2, $3, $4, $5, $6, $7, nullif($8, ''), nullif($9, ''), $10, $11, $12)
ON CONFLICT (version) DO UPDATE SET applied = excluded.applied, total = excluded.total, executed_at = excluded.executed_at,
	execution_time = excluded.execution_time, error = excluded.error, error_stmt = excluded.error_stmt, hash = excluded.hash,
	partial_hashes = excluded.partial_hashes, operator_version = excluded.operator_version`
)

// revisions is migrate.RevisionReadWriter over a database or a transaction.
type revisions struct{ q schema.ExecQuerier }

var _ migrate.RevisionReadWriter = revisions{}

func (revisions) Ident() *migrate.TableIdent {
	return &migrate.TableIdent{Name: revisionsName, Schema: revisionsName}
}

// ReadRevisions returns none where the table does not exist yet.
func (r revisions) ReadRevisions(ctx context.Context) (all []*migrate.Revision, err error) {
	if exist, err := r.exist(ctx); err != nil || !exist {
		return nil, err
	}
	rows, err := r.q.QueryContext(ctx, selectRevisions)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var v migrate.Revision
		var hashes []byte
		if err := rows.Scan(&v.Version, &v.Description, &v.Type, &v.Applied, &v.Total, &v.ExecutedAt, &v.ExecutionTime,
			&v.Error, &v.ErrorStmt, &v.Hash, &hashes, &v.OperatorVersion); err != nil {
			return nil, err
		}
		if err := json.Unmarshal(hashes, &v.PartialHashes); err != nil {
			return nil, fmt.Errorf("read hashes of revision %s: %w", v.Version, err)
		}
		all = append(all, &v)
	}
	return all, rows.Err()
}

func (r revisions) exist(ctx context.Context) (exist bool, err error) {
	rows, err := r.q.QueryContext(ctx, revisionsExist)
	if err != nil {
		return false, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := rows.Scan(&exist); err != nil {
			return false, err
		}
	}
	return exist, rows.Err()
}

func (r revisions) ReadRevision(ctx context.Context, version string) (*migrate.Revision, error) {
	all, err := r.ReadRevisions(ctx)
	if err != nil {
		return nil, err
	}
	for _, v := range all {
		if v.Version == version {
			return v, nil
		}
	}
	return nil, migrate.ErrRevisionNotExist
}

func (r revisions) WriteRevision(ctx context.Context, v *migrate.Revision) error {
	hashes, err := json.Marshal(v.PartialHashes)
	if err != nil {
		return err
	}
	_, err = r.q.ExecContext(ctx, upsertRevision, v.Version, v.Description, int64(v.Type), v.Applied, v.Total, v.ExecutedAt,
		int64(v.ExecutionTime), v.Error, v.ErrorStmt, v.Hash, string(hashes), v.OperatorVersion)
	return err
}

func (r revisions) DeleteRevision(ctx context.Context, version string) error {
	_, err := r.q.ExecContext(ctx, `DELETE FROM `+revisionsTable+` WHERE version = $1`, version)
	return err
}
