package limit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"postbus.dev/services/connectors"
)

// Gate stops what it covers until its time has come.
type Gate struct {
	Scope  connectors.Scope
	Key    string // "" for ScopeAll; the provider's name; ClientKey; the account's id
	Reason string // one of connectors' Reason constants
	// Until is when it opens by itself, by the database's clock; zero means
	// when somebody opens it.
	Until time.Time
	// For, when positive, sets Until to the database's now + For when the gate
	// is closed: a wait that a provider told needs no agreement of clocks. Active
	// sets it to what is left, for the same reason; 0 where Until is zero.
	For time.Duration
	// ClosedAt is when it was closed first since it was open; set by Active.
	ClosedAt time.Time
}

// ClientKey is the key of a gate with ScopeClient, and the name of what is
// allowed to our client id at a provider.
func ClientKey(provider, clientID string) string { return provider + "/" + clientID }

// Target is whom a gate may stop. An empty field is stopped by nothing.
type Target struct {
	Provider string
	Client   string // ClientKey
	Account  string // id, as text
}

// Stops says whether g, while it is closed, stops t.
func (g Gate) Stops(t Target) bool {
	switch g.Scope {
	case connectors.ScopeAll:
		return true
	case connectors.ScopeProvider:
		return g.Key == t.Provider
	case connectors.ScopeClient:
		return g.Key == t.Client
	case connectors.ScopeAccount:
		return g.Key == t.Account
	default:
		return false
	}
}

func (g Gate) valid() error {
	switch g.Scope {
	case connectors.ScopeAll, connectors.ScopeProvider, connectors.ScopeClient, connectors.ScopeAccount:
	default:
		return fmt.Errorf("gate has scope %q", g.Scope)
	}
	if (g.Scope == connectors.ScopeAll) != (g.Key == "") {
		return fmt.Errorf("gate of scope %q has key %q", g.Scope, g.Key)
	}
	if g.Reason == "" {
		return errors.New("gate has no reason")
	}
	return nil
}

// Gates reads and writes the table gates.
type Gates struct{ pool *pgxpool.Pool }

// NewGates returns the gates of a database.
func NewGates(pool *pgxpool.Pool) *Gates { return &Gates{pool: pool} }

// A gate that is closed already keeps the later of the two times: a process
// that heard of a short wait does not cut off the long one of another.
const closeSQL = `
INSERT INTO gates AS g (scope, key, reason, until)
SELECT u.scope, u.key, u.reason, max(coalesce(now() + u.micros * interval '1 microsecond', u.until))
FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::bigint[]) AS u (scope, key, reason, until, micros)
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
ON CONFLICT (scope, key, reason) DO UPDATE SET
  until = greatest(g.until, excluded.until),
  created_at = CASE WHEN g.until > now() THEN g.created_at ELSE now() END`

// Close closes gates, all in one statement. It never makes a closed gate open
// earlier; Open does that.
func (gs *Gates) Close(ctx context.Context, gates ...Gate) error {
	args, err := closeArgs(gates)
	if err != nil {
		return fmt.Errorf("close gates: %w", err)
	}
	if _, err := gs.pool.Exec(ctx, closeSQL, args...); err != nil {
		return fmt.Errorf("close gates: %w", err)
	}
	return nil
}

// QueueClose adds what Close does to a batch, so that it commits with the rest.
func QueueClose(b *pgx.Batch, gates ...Gate) error {
	args, err := closeArgs(gates)
	if err != nil {
		return fmt.Errorf("close gates: %w", err)
	}
	b.Queue(closeSQL, args...)
	return nil
}

func closeArgs(gates []Gate) ([]any, error) {
	n := len(gates)
	scopes, keys, reasons := make([]string, n), make([]string, n), make([]string, n)
	untils, micros := make([]pgtype.Timestamptz, n), make([]*int64, n)
	for i, g := range gates {
		if err := g.valid(); err != nil {
			return nil, err
		}
		scopes[i], keys[i], reasons[i] = string(g.Scope), g.Key, g.Reason
		untils[i] = pgtype.Timestamptz{Time: g.Until, Valid: true}
		if g.Until.IsZero() {
			untils[i] = pgtype.Timestamptz{InfinityModifier: pgtype.Infinity, Valid: true}
		}
		if g.For > 0 {
			us := g.For.Microseconds()
			micros[i] = &us
		}
	}
	return []any{scopes, keys, reasons, untils, micros}, nil
}

// Open opens the gates of g's scope and key: the one with g's reason, or every
// one where g has none. It returns how many were there.
func (gs *Gates) Open(ctx context.Context, g Gate) (int, error) {
	tag, err := gs.pool.Exec(ctx, `DELETE FROM gates WHERE scope = $1 AND key = $2 AND ($3 = '' OR reason = $3)`,
		string(g.Scope), g.Key, g.Reason)
	if err != nil {
		return 0, fmt.Errorf("open gate: %w", err)
	}
	return int(tag.RowsAffected()), nil
}

// Active returns the gates that are closed now, the widest first, for a caller
// that keeps the list for a moment. What starts work still asks Ungated.
func (gs *Gates) Active(ctx context.Context) ([]Gate, error) {
	rows, err := gs.pool.Query(ctx, `SELECT scope, key, reason, until, created_at,
  CASE WHEN isfinite(until) THEN ceil(extract(epoch FROM until - now()) * 1000000)::bigint ELSE 0 END FROM gates WHERE until > now()
ORDER BY array_position('{all,provider,client,account}'::text[], scope), key, reason`)
	if err != nil {
		return nil, fmt.Errorf("list closed gates: %w", err)
	}
	gates, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Gate, error) {
		var g Gate
		var until pgtype.Timestamptz
		var left int64
		err := row.Scan(&g.Scope, &g.Key, &g.Reason, &until, &g.ClosedAt, &left)
		g.For = time.Duration(left) * time.Microsecond
		if until.InfinityModifier == pgtype.Finite {
			g.Until = until.Time
		}
		return g, err
	})
	if err != nil {
		return nil, fmt.Errorf("list closed gates: %w", err)
	}
	return gates, nil
}

// Sweep deletes gates that have opened by themselves; it returns how many. They
// stop nothing, so that it only matters to the size of the table.
func (gs *Gates) Sweep(ctx context.Context) (int, error) {
	tag, err := gs.pool.Exec(ctx, `DELETE FROM gates WHERE until <= now()`)
	if err != nil {
		return 0, fmt.Errorf("delete past gates: %w", err)
	}
	return int(tag.RowsAffected()), nil
}

// Ungated returns the SQL condition that no closed gate stops a row. The
// arguments are SQL expressions of type text, evaluated per row: the provider's
// name, the ClientKey, the account's id ("p.account_id::text"). Where one is
// null or ” no gate of that scope applies. They come from code, never from
// data. The condition looks gates up by their key, four index probes a row.
//
// It sees the gates that were committed when the statement began.
func Ungated(provider, client, account string) string {
	return `NOT EXISTS (
  SELECT FROM (VALUES ('all', ''), ('provider', ` + provider + `), ('client', ` + client + `), ('account', ` + account + `)) AS gate_of (scope, key)
  JOIN gates ON gates.scope = gate_of.scope AND gates.key = gate_of.key
  WHERE gates.until > now())`
}
