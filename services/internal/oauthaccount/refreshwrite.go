package oauthaccount

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/metric"

	"postbus.dev/events"
	"postbus.dev/services/internal/outbox"
	"postbus.dev/services/internal/postgres"
	"postbus.dev/services/internal/telemetry"
)

// Refreshes claims accounts to be refreshed and writes what became of it, those
// that wait at the same moment together. Close it.
type Refreshes struct {
	store *Store
	group *postgres.Group[*RefreshWrite, RefreshOutcome]
}

// NewRefreshes returns the refreshes of a store, which must have a service.
func NewRefreshes(s *Store, meter metric.MeterProvider) (*Refreshes, error) {
	if err := s.writes(); err != nil {
		return nil, err
	}
	r := &Refreshes{store: s}
	var err error
	r.group, err = postgres.NewGroup(postgres.GroupConfig[*RefreshWrite, RefreshOutcome]{Name: "refresh", Flush: r.flush, Meter: meter})
	return r, err
}

// Close writes what waits.
func (r *Refreshes) Close() { r.group.Close() }

// Write stores a step. After an error nobody knows whether it is stored; the same
// w may be written again, until it is. w is not changed by others meanwhile.
func (r *Refreshes) Write(ctx context.Context, w *RefreshWrite) (RefreshOutcome, error) {
	if err := r.store.sealRefreshed(ctx, w); err != nil {
		return 0, fmt.Errorf("write refresh: %w", err)
	}
	out, err := r.group.Do(ctx, w)
	if err != nil {
		return 0, fmt.Errorf("write refresh: %w", err)
	}
	return out, nil
}

// sealRefreshed seals the new tokens of a write that has not been tried before.
func (s *Store) sealRefreshed(ctx context.Context, w *RefreshWrite) error {
	if w.parent == "" {
		w.parent, w.state = telemetry.TraceContext(ctx)
	}
	if w.Step != RefreshRenewed || w.access != nil {
		return nil
	}
	if w.Grant.AccessToken.Empty() {
		return errors.New("there is no access token")
	}
	a, _, err := w.Of.Open()
	if err != nil {
		return err
	}
	if !w.Grant.RefreshToken.Empty() {
		if w.refresh, err = s.sealer.Seal(w.Grant.RefreshToken, place("refresh_token", a.Provider, a.ProviderAccountID)); err != nil {
			return err
		}
	}
	w.access, err = s.sealer.Seal(w.Grant.AccessToken, place("access_token", a.Provider, a.ProviderAccountID))
	return err
}

// flush writes a group in one transaction. A lost answer to its commit is left to
// the waiters: those who must know try again.
func (r *Refreshes) flush(ctx context.Context, ws []*RefreshWrite) ([]RefreshOutcome, error) {
	var out []RefreshOutcome
	told := 0
	err := pgx.BeginFunc(ctx, r.store.pool, func(tx pgx.Tx) error {
		now, states, err := lockForRefresh(ctx, tx, ws)
		if err != nil {
			return err
		}
		var rows []refreshRow
		var evs []event.Event
		rows, evs, out, err = r.store.decide(ws, states, now)
		if err != nil || len(rows) == 0 {
			return err
		}
		told = len(evs)
		if _, err := tx.Exec(ctx, writeRefreshSQL, columnsOf(rows)...); err != nil {
			return err
		}
		if told == 0 {
			return nil
		}
		return outbox.Append(ctx, tx, r.store.cfg.Service, evs...)
	})
	if err == nil && told > 0 {
		r.store.cfg.Wrote()
	}
	return out, err
}

// refreshState is a RefreshState and what of the row shows that a write was done.
type refreshState struct {
	RefreshState
	access []byte
}

const lockForRefreshSQL = `
SELECT now(), a.id, a.provider, u.external_id, a.status, a.token_version, a.version, a.lease_owner, a.send_by IS NOT NULL,
  coalesce(a.quiet_at <= now(), false), a.failure_count, coalesce(a.failure_class, ''), a.expiring_told, a.access_token
FROM oauth_accounts a JOIN users u ON u.id = a.user_id WHERE a.id = ANY ($1) ORDER BY a.id FOR UPDATE OF a`

func lockForRefresh(ctx context.Context, tx pgx.Tx, ws []*RefreshWrite) (now time.Time, states map[uuid.UUID]refreshState, err error) {
	ids := make([][16]byte, len(ws))
	for i, w := range ws {
		ids[i] = w.Of.ID
	}
	rows, err := tx.Query(ctx, lockForRefreshSQL, ids)
	if err != nil {
		return now, nil, err
	}
	states = make(map[uuid.UUID]refreshState, len(ws))
	var s refreshState
	var lease *uuid.UUID
	_, err = pgx.ForEachRow(rows, []any{
		&now, &s.ID, &s.Provider, &s.UserExternalID, &s.Status, &s.TokenVersion, &s.Version, &lease, &s.Armed, &s.Quiet,
		&s.Failures, &s.Class, &s.ExpiringTold, &s.access,
	}, func() error {
		s.Lease = orZero(lease)
		states[s.ID] = s
		s.access = nil
		return nil
	})
	return now, states, err
}

// decide applies each write to the state of its account, one after the other. A
// row is written once, as the last of its writes left it: one that is stored after
// another can only be RefreshRenewed, which sets all that any of them does.
func (s *Store) decide(ws []*RefreshWrite, states map[uuid.UUID]refreshState, now time.Time) (rows []refreshRow, evs []event.Event, out []RefreshOutcome, err error) {
	out = make([]RefreshOutcome, len(ws))
	at := map[uuid.UUID]int{}
	for i, w := range ws {
		st, ok := states[w.Of.ID]
		if !ok { // deleted
			out[i] = RefreshStale
			continue
		}
		st.Holds = w.access != nil && bytes.Equal(w.access, st.access)
		done := st.Holds
		next, data, outcome := w.Apply(st.RefreshState, now)
		if out[i] = outcome; outcome != RefreshStored || done {
			continue
		}
		for k, d := range data {
			e, err := s.event(w, next, d, next.Version-int64(len(data)-1-k))
			if err != nil {
				return nil, nil, nil, err
			}
			evs = append(evs, e)
		}
		if w.access != nil {
			st.access = w.access
		}
		states[w.Of.ID] = refreshState{RefreshState: next, access: st.access}
		row := refreshRow{RefreshWrite: w, after: next}
		if k, again := at[w.Of.ID]; again {
			rows[k] = row
			continue
		}
		at[w.Of.ID] = len(rows)
		rows = append(rows, row)
	}
	return rows, evs, out, nil
}

// event makes an event of a write that left the account as a.
func (s *Store) event(w *RefreshWrite, a RefreshState, d events.Data, sequence int64) (event.Event, error) {
	e, err := events.New(events.Meta{
		Source: "/postbus/" + s.cfg.Service, Subject: a.ID.String(), PartitionKey: a.ID.String(),
		Sequence: sequence, TraceParent: w.parent, TraceState: w.state,
	}, d)
	if err != nil {
		return event.Event{}, fmt.Errorf("make %s: %w", d.EventType(), err)
	}
	return e, nil
}

const writeRefreshSQL = `
UPDATE oauth_accounts a SET
  status = u.status, token_version = u.token_version, version = u.version, expiring_told = u.expiring_told,
  lease_owner = CASE WHEN u.release THEN NULL ELSE a.lease_owner END,
  lease_until = CASE WHEN u.release THEN NULL WHEN u.arm THEN now() + u.quiet ELSE a.lease_until END,
  send_by = CASE WHEN u.arm THEN now() + u.send WHEN u.armed THEN a.send_by END,
  quiet_at = CASE WHEN u.arm THEN now() + u.quiet WHEN u.armed THEN a.quiet_at END,
  refresh_after = CASE WHEN u.arm THEN now() + u.quiet WHEN u.lost THEN greatest(a.quiet_at, now() + u.next) ELSE now() + u.next END,
  failure_count = u.failures, failure_class = nullif(u.class, ''),
  failed_at = CASE WHEN u.failures > a.failure_count THEN now() WHEN u.failures > 0 THEN a.failed_at END,
  access_token = coalesce(u.access, a.access_token), refresh_token = coalesce(u.refresh, a.refresh_token),
  token_type = coalesce(nullif(u.token_type, ''), a.token_type), scope = coalesce(nullif(u.scope, ''), a.scope),
  expires_at = CASE WHEN u.access IS NOT NULL THEN now() + u.expires ELSE a.expires_at END,
  refresh_expires_at = CASE WHEN u.refresh IS NOT NULL OR u.refresh_expires IS NOT NULL THEN now() + u.refresh_expires ELSE a.refresh_expires_at END,
  updated_at = now()
FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[], $5::boolean[], $6::boolean[], $7::boolean[], $8::boolean[], $9::boolean[],
  $10::interval[], $11::interval[], $12::interval[], $13::integer[], $14::text[], $15::bytea[], $16::bytea[], $17::text[], $18::text[],
  $19::interval[], $20::interval[])
  AS u (id, status, token_version, version, expiring_told, release, arm, armed, lost,
  send, quiet, next, failures, class, access, refresh, token_type, scope,
  expires, refresh_expires)
WHERE a.id = u.id`

// refreshRow is a write that is stored, and how it leaves its account.
type refreshRow struct {
	*RefreshWrite
	after RefreshState
}

func columnsOf(rows []refreshRow) []any {
	return []any{
		column(rows, func(r refreshRow) [16]byte { return r.after.ID }),
		column(rows, func(r refreshRow) string { return string(r.after.Status) }),
		column(rows, func(r refreshRow) int64 { return r.after.TokenVersion }),
		column(rows, func(r refreshRow) int64 { return r.after.Version }),
		column(rows, func(r refreshRow) bool { return r.after.ExpiringTold }),
		column(rows, func(r refreshRow) bool { return r.after.Lease == uuid.Nil }),
		column(rows, func(r refreshRow) bool { return r.Step == RefreshArmed }),
		column(rows, func(r refreshRow) bool { return r.after.Armed }),
		column(rows, func(r refreshRow) bool { return r.Step == RefreshLost }),
		column(rows, func(r refreshRow) time.Duration { return r.SendIn }),
		column(rows, func(r refreshRow) time.Duration { return r.SendIn + r.Settle }),
		column(rows, func(r refreshRow) *time.Duration { return positive(r.Next) }),
		column(rows, func(r refreshRow) int32 { return int32(min(r.after.Failures, math.MaxInt32)) }), //nolint:gosec // bounded
		column(rows, func(r refreshRow) string { return r.after.Class }),
		column(rows, func(r refreshRow) []byte { return r.access }),
		column(rows, func(r refreshRow) []byte { return r.refresh }),
		column(rows, func(r refreshRow) string { return r.Grant.TokenType }),
		column(rows, func(r refreshRow) string { return r.Grant.Scope }),
		column(rows, func(r refreshRow) *time.Duration { return positive(r.Grant.ExpiresIn) }),
		column(rows, func(r refreshRow) *time.Duration { return positive(r.Grant.RefreshExpiresIn) }),
	}
}

func column[T any](rows []refreshRow, of func(refreshRow) T) []T {
	out := make([]T, len(rows))
	for i, r := range rows {
		out[i] = of(r)
	}
	return out
}

// positive is nil where there is no such time.
func positive(d time.Duration) *time.Duration {
	if d <= 0 {
		return nil
	}
	return &d
}
