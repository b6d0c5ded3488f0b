package outbox

import (
	"context"
	"fmt"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/jackc/pgx/v5"

	"postbus.dev/events"
)

const (
	maxRows  = 1000    // the server's limit for an atomic batch
	maxBytes = 8 << 20 // of events held in memory at a time
)

// The statement before it looks first: what it finds held back may be readable
// a moment later, but a horizon taken first is never ahead of what is read.
const (
	horizonSQL = `SELECT pg_snapshot_xmin(s), EXISTS (
  SELECT FROM outbox WHERE service = $1 AND stream = $2 AND xid >= pg_snapshot_xmin(s))
FROM pg_current_snapshot() s`

	readSQL = `SELECT xid, id, event FROM outbox
WHERE service = $1 AND stream = $2 AND (xid, id) > ($3, $4)
  AND xid < pg_snapshot_xmin(pg_current_snapshot())
ORDER BY xid, id LIMIT $5`

	pendingSQL = `SELECT pg_snapshot_xmin(s), EXISTS (
  SELECT FROM outbox WHERE service = $1 AND stream = $2 AND (xid, id) > ($3, $4) AND xid < pg_snapshot_xmin(s))
FROM pg_current_snapshot() s`
)

// entry is an outbox row that may be sent.
type entry struct {
	position
	event event.Event
	key   string // its Nats-Msg-Id
}

// page is what one look at the outbox found.
type page struct {
	entries []entry
	more    bool   // there are more behind them
	held    bool   // rows wait for an older transaction
	horizon uint64 // every transaction before it has ended
}

func read(ctx context.Context, conn *pgx.Conn, service, stream string, after position) (page, error) {
	var p page
	var b pgx.Batch
	b.Queue(horizonSQL, service, stream).QueryRow(func(row pgx.Row) error {
		return row.Scan(&p.horizon, &p.held)
	})
	b.Queue(readSQL, service, stream, after.xid, after.id, maxRows).Query(p.collect)
	if err := conn.SendBatch(ctx, &b).Close(); err != nil {
		return page{}, fmt.Errorf("read outbox: %w", err)
	}
	return p, nil
}

// collect keeps rows up to maxBytes, or up to one that cannot be read, and
// leaves the rest for the next look. Only a first row that cannot be read is an
// error: it stops the stream, and those before it should not wait for that.
func (p *page) collect(rows pgx.Rows) error {
	bytes, n := 0, 0
	for rows.Next() {
		if n++; bytes > maxBytes || len(p.entries) < n-1 {
			continue
		}
		var e entry
		var body []byte
		if err := rows.Scan(&e.xid, &e.id, &body); err != nil {
			return err
		}
		var err error
		if e.event, err = events.UnmarshalJSON(body); err != nil {
			if n == 1 {
				return fmt.Errorf("row %s: %w", e.id, err)
			}
			continue
		}
		bytes += len(body)
		e.key = events.MsgID(e.event.Source(), e.event.ID())
		p.entries = append(p.entries, e)
	}
	p.more = n == maxRows || len(p.entries) < n
	return rows.Err()
}

// readPending tells whether any row lies between a cursor and the horizon.
func readPending(ctx context.Context, conn *pgx.Conn, service, stream string, after position) (horizon uint64, pending bool, err error) {
	err = conn.QueryRow(ctx, pendingSQL, service, stream, after.xid, after.id).Scan(&horizon, &pending)
	if err != nil {
		return 0, false, fmt.Errorf("read pending rows: %w", err)
	}
	return horizon, pending, nil
}
