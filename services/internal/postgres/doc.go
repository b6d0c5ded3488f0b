// Package postgres opens the services' connections to PostgreSQL, tells what
// an error of theirs means for the caller, and writes many waiting operations
// in one statement and one commit.
//
// It knows no table: the SQL of a table lives in the package that owns it.
package postgres
