package migrations

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// The roles that the services log in as. What each may do is in schema.sql.
const (
	RoleAccount   = "postbus_account"
	RolePublisher = "postbus_publisher"
	RoleRefresher = "postbus_refresher"
)

// Roles are all of them.
func Roles() []string { return []string{RoleAccount, RolePublisher, RoleRefresher} }

//go:embed roles.sql
var rolesSQL string

// MissingRolesError says which of the services' roles a cluster lacks, and how
// they are made.
type MissingRolesError struct{ Roles []string }

func (e *MissingRolesError) Error() string {
	verb := "is"
	if len(e.Roles) > 1 {
		verb = "are"
	}
	return fmt.Sprintf("%s %s missing: run migrate roles as a role that may create roles, or there the SQL CREATE ROLE %s LOGIN;",
		strings.Join(e.Roles, ", "), verb, strings.Join(e.Roles, " LOGIN; CREATE ROLE "))
}

// EnsureRoles makes those of the services' roles that the cluster at dsn lacks.
// Any number of processes may do so at once, in any of its databases. Where
// none is missing it only reads; where the connection may not make them the
// error is a *MissingRolesError.
func EnsureRoles(ctx context.Context, dsn string) error {
	db, err := connect(ctx, dsn)
	if err != nil {
		return fmt.Errorf("connect to database for its roles: %w", err)
	}
	defer func() { _ = db.Close() }()
	if err := rolesExist(ctx, db); !errors.As(err, new(*MissingRolesError)) {
		return err
	}
	_, err = db.ExecContext(ctx, rolesSQL)
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "42501" { // insufficient_privilege
		return rolesExist(ctx, db)
	}
	if err != nil {
		return fmt.Errorf("make roles: %w", err)
	}
	return nil
}

// rolesExist returns a *MissingRolesError unless every role is there.
func rolesExist(ctx context.Context, db *sql.DB) error {
	var missing []string
	for _, role := range Roles() {
		var exists bool
		if err := db.QueryRowContext(ctx, `SELECT to_regrole($1) IS NOT NULL`, role).Scan(&exists); err != nil {
			return fmt.Errorf("look for roles: %w", err)
		}
		if !exists {
			missing = append(missing, role)
		}
	}
	if len(missing) > 0 {
		return &MissingRolesError{missing}
	}
	return nil
}
