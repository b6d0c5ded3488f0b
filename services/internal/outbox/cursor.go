package outbox

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// position is a place in the order of the outbox.
type position struct {
	xid uint64
	id  uuid.UUID
}

func (p position) before(q position) bool {
	return p.xid < q.xid || p.xid == q.xid && follows(q.id, p.id)
}

// cursor is a stream's row of outbox_cursors.
type cursor struct {
	position        // everything up to here is on the stream
	seq      uint64 // the stream's sequence of the last acknowledgment
}

const (
	makeCursorSQL = `INSERT INTO outbox_cursors (service, stream, xid, id, system_identifier)
SELECT $1, $2, '0', '00000000-0000-0000-0000-000000000000', system_identifier FROM pg_control_system()
ON CONFLICT DO NOTHING`

	loadCursorSQL = `SELECT c.xid, c.id, c.stream_seq, c.system_identifier = s.system_identifier
FROM outbox_cursors c, pg_control_system() s WHERE c.service = $1 AND c.stream = $2`

	// Only from where this relay left it: a cursor that an operator has set is
	// not overwritten.
	moveCursorSQL = `UPDATE outbox_cursors SET xid = $3, id = $4, stream_seq = $5, updated_at = now()
WHERE service = $1 AND stream = $2 AND xid = $6 AND id = $7`
)

// errForeignCursor: xids of another cluster say nothing here, and could lie
// ahead of every row to come.
var errForeignCursor = errors.New("the cursor belongs to another database cluster")

func loadCursor(ctx context.Context, conn *pgx.Conn, service, stream string) (cursor, error) {
	var c cursor
	var seq int64
	var ours bool
	if _, err := conn.Exec(ctx, makeCursorSQL, service, stream); err != nil {
		return c, fmt.Errorf("make cursor: %w", err)
	}
	if err := conn.QueryRow(ctx, loadCursorSQL, service, stream).Scan(&c.xid, &c.id, &seq, &ours); err != nil {
		return c, fmt.Errorf("load cursor: %w", err)
	}
	if !ours {
		return c, errForeignCursor
	}
	c.seq = uint64(seq)
	return c, nil
}

func moveCursor(ctx context.Context, conn *pgx.Conn, service, stream string, from position, to cursor) error {
	if to.seq > math.MaxInt64 {
		return fmt.Errorf("move cursor: sequence %d", to.seq)
	}
	tag, err := conn.Exec(ctx, moveCursorSQL, service, stream, to.xid, to.id, int64(to.seq), from.xid, from.id)
	if err != nil {
		return fmt.Errorf("move cursor: %w", err)
	}
	if tag.RowsAffected() != 1 {
		return errors.New("move cursor: somebody else has moved it")
	}
	return nil
}
