package job

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Filter picks publishes of one user. Zero values pick all.
type Filter struct {
	UserID    uuid.UUID // required
	State     State
	Provider  string
	AccountID uuid.UUID
	From, To  time.Time // of acceptance; To is not in it
	// After is the place in the list from which to go on: acceptance and id of
	// the last one seen.
	After   time.Time
	AfterID uuid.UUID
	Limit   int
}

// listColumns leave out what a list does not show and a row may hold much of.
var listColumns = strings.NewReplacer("p.request,", "NULL::bytea,", "p.checkpoint,", "NULL::bytea,").Replace(publishColumns)

// List reads publishes, the newest first, without their requests and
// checkpoints. Tombstones are left out. The index publishes_user gives the order.
func (s *Store) List(ctx context.Context, f Filter) ([]Publish, error) {
	if f.UserID == uuid.Nil || f.Limit < 1 {
		return nil, errors.New("list publishes: no user or no limit")
	}
	sql, args := f.query()
	rows, err := s.pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("list publishes: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Publish, error) { return scanPublish(row) })
	if err != nil {
		return nil, fmt.Errorf("list publishes: %w", err)
	}
	return list, nil
}

// query names only the conditions that there are, so that each set of filters
// has a plan of its own.
func (f Filter) query() (string, []any) {
	where, args := "p.user_id = $1 AND p.state <> 'tombstone'", []any{[16]byte(f.UserID)}
	add := func(used bool, condition string, values ...any) {
		if !used {
			return
		}
		for _, v := range values {
			args = append(args, v)
			condition = strings.Replace(condition, "$?", fmt.Sprintf("$%d", len(args)), 1)
		}
		where += " AND " + condition
	}
	add(f.State != "", "p.state = $?", string(f.State))
	add(f.Provider != "", "p.provider = $?", f.Provider)
	add(f.AccountID != uuid.Nil, "p.account_id = $?", [16]byte(f.AccountID))
	add(!f.From.IsZero(), "p.accepted_at >= $?", f.From)
	add(!f.To.IsZero(), "p.accepted_at < $?", f.To)
	add(!f.After.IsZero(), "(p.accepted_at, p.id) < ($?, $?)", f.After, [16]byte(f.AfterID))
	args = append(args, f.Limit)
	return fmt.Sprintf("SELECT %s FROM publishes p WHERE %s ORDER BY p.accepted_at DESC, p.id DESC LIMIT $%d", listColumns, where, len(args)), args
}
