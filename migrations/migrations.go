// Package migrations holds the database schema and brings databases to it.
//
// schema.sql is the desired state: what people read and edit. versions/ is an
// Atlas directory, versioned files that lead there and their sums in atlas.sum.
// It is embedded. Apply executes what a database lacks, under the advisory lock
// that the Atlas CLI takes and into the revisions table that the Atlas CLI
// keeps, so that the two can be mixed. Tests hold directory and schema.sql
// against each other.
//
// To change the schema, edit schema.sql and then, in this directory,
//
//	go run ./cmd/schema diff   says what a new versioned file must do
//	go run ./cmd/schema hash   after that file was written: rewrites atlas.sum
//
// A file that was applied is not edited any more: Apply refuses a database
// that knows another text of it. Every change is expand, migrate, contract,
// because older and newer services work on one database at the same time.
//
// The services' roles belong to the whole cluster. The files grant to them and do
// not make them: EnsureRoles does, once, by a role that may create roles.
//
// The connection must be a session of its own: a pooler that hands sessions
// around by transaction loses the lock.
package migrations

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
)

//go:embed versions
var embedded embed.FS

// State is how a database stands to this binary's migrations.
type State struct {
	Current string   // version of the newest applied file, "" if there is none
	Pending []string // names of the files that the database lacks, oldest first
}

// Apply brings the database at dsn (PostgreSQL URL or keywords) to the newest
// version that this binary knows and returns how many files it executed. Any
// number of processes may do so at once: one works, the others wait and find
// nothing to do. A database that is newer than the binary is left as it is.
// Each file is a transaction, unless it says "-- atlas:txmode none". Where a file
// is missing and a role of the services too, it is a *MissingRolesError: see
// EnsureRoles. A nil log is silent.
func Apply(ctx context.Context, dsn string, log *slog.Logger) (applied int, err error) {
	return applyFrom(ctx, dsn, log, Versions())
}

// Inspect compares the database at dsn with this binary's migrations. It only
// reads. Like Apply, it is an error if an applied file was edited since.
func Inspect(ctx context.Context, dsn string) (State, error) {
	return inspectFrom(ctx, dsn, Versions())
}

// Pending returns how many files the database at dsn lacks: 0 means that it
// fits this binary. It opens a connection each time.
func Pending(ctx context.Context, dsn string) (int, error) {
	state, err := Inspect(ctx, dsn)
	return len(state.Pending), err
}

// Fingerprint is a hash of all that Apply and EnsureRoles execute: what they made
// of an empty cluster stays good for as long as it is the same.
func Fingerprint() string {
	h := sha256.New()
	files := Versions()
	names, err := fs.Glob(files, "*") // sorted
	for _, name := range names {
		var b []byte
		if b, err = fs.ReadFile(files, name); err != nil {
			break
		}
		_, _ = fmt.Fprintf(h, "%s %d\n%s", name, len(b), b)
	}
	if err != nil {
		panic(err) // the files are in the binary
	}
	_, _ = io.WriteString(h, rolesSQL)
	return hex.EncodeToString(h.Sum(nil))
}

// Versions is the embedded Atlas directory.
func Versions() fs.FS {
	sub, err := fs.Sub(embedded, "versions")
	if err != nil {
		panic(err) // only a malformed path can do that
	}
	return sub
}
