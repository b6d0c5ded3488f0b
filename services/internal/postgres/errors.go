package postgres

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
)

// ErrClosed is returned by a Group that takes no more operations.
var ErrClosed = errors.New("group is closed")

var errNullUUID = errors.New("cannot scan NULL into uuid.UUID")

// IsDataError says that the statement can never succeed with these values:
// SQLSTATE classes 22 (data), 23 (constraints), 21 (cardinality) and 54 (a
// value too large for an index). The transaction was rolled back.
func IsDataError(err error) bool {
	if e := serverError(err); e != nil && !endsSession(e) && !lacksPartition(e) {
		switch class(e.Code) {
		case "21", "22", "23", "54":
			return true
		}
	}
	return false
}

// lacksPartition: a row without a partition is reported like a violated check,
// but no value of the row is to blame.
func lacksPartition(e *pgconn.PgError) bool {
	return e.Code == "23514" && e.ConstraintName == ""
}

// IsUnavailable says that the database, not the statement, is the reason: it
// cannot be reached, shuts down, starts up, is full, turned read-only by a
// fail-over, lacks a partition, or did not answer in time. The same call may
// succeed later.
func IsUnavailable(err error) bool {
	if e := serverError(err); e != nil {
		return endsSession(e) || lacksPartition(e) || unavailableCode(e.Code)
	}
	return isNetworkError(err) && !errors.Is(err, context.Canceled)
}

// IsContention says that the server gave up this transaction in favor of
// another (deadlock, serialization). It was rolled back and may run again.
func IsContention(err error) bool {
	e := serverError(err)
	return e != nil && (e.Code == "40001" || e.Code == "40P01")
}

// IsAmbiguous says that a write may or may not have been committed: the
// connection or the wait for its answer ended after the statement was sent.
// Only reading back settles it. It is true in doubt.
//
// "Connection closed" counts, although pgx calls it safe to retry: it is also
// what a COMMIT gets whose connection breaks before the answer (pgx 5.12).
func IsAmbiguous(err error) bool {
	var connect *pgconn.ConnectError
	if errors.Is(err, pgconn.ErrConnClosed) {
		return true
	}
	if err == nil || pgconn.SafeToRetry(err) || errors.As(err, &connect) {
		return false
	}
	if e := serverError(err); e != nil {
		return endsSession(e)
	}
	return isNetworkError(err) || errors.Is(err, context.Canceled)
}

func serverError(err error) *pgconn.PgError {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e
	}
	return nil
}

// endsSession tells FATAL and PANIC from ERROR. After an ERROR the server has
// rolled back; a session that it ended may have died anywhere, also between
// the commit and its answer.
func endsSession(e *pgconn.PgError) bool {
	s := e.SeverityUnlocalized
	return s == "FATAL" || s == "PANIC" || strings.HasPrefix(e.Code, "57P")
}

func unavailableCode(code string) bool {
	switch code {
	case "57014", "55P03", "25006": // a timeout of ours, of a lock; a standby
		return true
	}
	switch class(code) {
	case "08", "53", "58": // connection, resources (too many connections, disk full), I/O
		return true
	}
	return false
}

func class(code string) string {
	if len(code) < 2 {
		return ""
	}
	return code[:2]
}

func isNetworkError(err error) bool {
	var connect *pgconn.ConnectError
	var op net.Error
	var errno syscall.Errno
	return errors.As(err, &connect) || errors.As(err, &op) || errors.As(err, &errno) || pgconn.Timeout(err) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, pgconn.ErrConnClosed) || errors.Is(err, context.DeadlineExceeded)
}
