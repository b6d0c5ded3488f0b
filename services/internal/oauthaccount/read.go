package oauthaccount

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/secret"
)

// columns of an Account; a is oauth_accounts, u is users. The publisher's role may
// not read refresh_token, and therefore nothing with "*" either.
const columns = `a.id, a.user_id, u.external_id, a.provider, a.provider_account_id, a.username, a.token_type, a.scope,
  a.expires_at, a.metadata, a.status, a.token_version, a.version, a.access_token`

// whole are the columns of an Account with its Details, as scanWhole reads them.
const whole = `a.created_at, a.updated_at, a.refresh_expires_at, a.refresh_after, a.failure_count, a.failure_class, a.failed_at,
  a.disconnect_reason, a.disconnecting_at, a.erase, ` + columns

// scanWhole reads whole, after the columns of more.
func (s *Store) scanWhole(row pgx.CollectableRow, more ...any) (Account, error) {
	var d Details
	var refreshExpires, refreshAfter, failed, disconnecting *time.Time
	var class, reason *string
	a, err := s.scan(row, append(more, &d.CreatedAt, &d.UpdatedAt, &refreshExpires, &refreshAfter, &d.FailureCount, &class, &failed,
		&reason, &disconnecting, &d.Erase)...)
	if err != nil {
		return Account{}, err
	}
	d.RefreshExpiresAt, d.RefreshAfter, d.FailedAt, d.DisconnectingAt = orZero(refreshExpires), orZero(refreshAfter), orZero(failed), orZero(disconnecting)
	d.FailureClass, d.DisconnectReason = orZero(class), orZero(reason)
	a.Details = d
	return a, nil
}

func orZero[T any](v *T) (none T) {
	if v == nil {
		return none
	}
	return *v
}

// scan reads columns, after those of more.
func (s *Store) scan(row pgx.CollectableRow, more ...any) (Account, error) {
	var a Account
	var expires *time.Time
	var sealed []byte
	err := row.Scan(append(more, &a.ID, &a.UserID, &a.UserExternalID, &a.Provider, &a.ProviderAccountID, &a.Username, &a.TokenType,
		&a.Scope, &expires, &a.Metadata, &a.Status, &a.TokenVersion, &a.Version, &sealed)...)
	if err != nil {
		return Account{}, err
	}
	a.ExpiresAt = orZero(expires)
	a.open = s.opener(sealed, place("access_token", a.Provider, a.ProviderAccountID))
	return a, nil
}

// opener opens a sealed token later; a null column is an empty one.
func (s *Store) opener(sealed []byte, ad secret.AD) func() (connectors.Secret, error) {
	return func() (connectors.Secret, error) {
		if sealed == nil {
			return connectors.Secret{}, nil
		}
		return s.sealer.Open(sealed, ad)
	}
}

// Get returns the accounts with these ids, in one query. What does not exist is
// not in the map.
func (s *Store) Get(ctx context.Context, ids [][16]byte) (map[uuid.UUID]Account, error) {
	rows, err := s.pool.Query(ctx, `SELECT `+columns+` FROM oauth_accounts a JOIN users u ON u.id = a.user_id WHERE a.id = ANY ($1)`, ids)
	if err != nil {
		return nil, fmt.Errorf("read accounts: %w", err)
	}
	accounts, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Account, error) { return s.scan(row) })
	if err != nil {
		return nil, fmt.Errorf("read accounts: %w", err)
	}
	out := make(map[uuid.UUID]Account, len(accounts))
	for _, a := range accounts {
		out[a.ID] = a
	}
	return out, nil
}

// Target names an account as a request does: by AccountID, or, where that is
// zero, as the only connected account of a user at a provider.
type Target struct {
	AccountID      uuid.UUID
	Provider       string
	UserExternalID string // the upstream's own id of the user
}

// Outcome is what a Target came to.
type Outcome int

// The outcomes of Resolve.
const (
	// NotFound: there is no such account, or the user has none connected there.
	NotFound Outcome = iota
	// Found: Resolution.Account is it. One named by its id has any Status, one
	// found for a user is connected.
	Found
	// Several: the user has more than one there; Resolution.Several lists them.
	Several
)

// Resolution is the answer to a Target.
type Resolution struct {
	Outcome Outcome
	Account Account     // with Found
	Several []uuid.UUID // with Several: the oldest first, at most MaxSeveral
}

// MaxSeveral is how many accounts a Resolution lists.
const MaxSeveral = 20

// Accounts of a user that are being disconnected are not looked at: a person
// who reconnected elsewhere has one account, not two.
const resolveSQL = `
SELECT t.i, ` + columns + `
FROM unnest($1::uuid[], $2::bigint[]) AS t (id, i)
JOIN oauth_accounts a ON a.id = t.id
JOIN users u ON u.id = a.user_id
UNION ALL
SELECT t.i, ` + columns + `
FROM unnest($3::text[], $4::text[], $5::bigint[]) AS t (provider, external_id, i)
JOIN users u ON u.external_id = t.external_id
CROSS JOIN LATERAL (
  SELECT o.id, o.user_id, o.provider, o.provider_account_id, o.username, o.token_type, o.scope, o.expires_at, o.metadata, o.status, o.token_version, o.version, o.access_token
  FROM oauth_accounts o
  WHERE o.user_id = u.id AND o.provider = t.provider AND o.status IN ('active', 'reauth_required')
  ORDER BY o.created_at, o.id LIMIT $6) a`

// Resolve finds the account of each target, in their order and in one query.
func (s *Store) Resolve(ctx context.Context, targets []Target) ([]Resolution, error) {
	out := make([]Resolution, len(targets))
	rows, err := s.pool.Query(ctx, resolveSQL, resolveArgs(targets)...)
	if err != nil {
		return nil, fmt.Errorf("find accounts: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var i int64
		a, err := s.scan(rows, &i)
		if err != nil {
			return nil, fmt.Errorf("find accounts: %w", err)
		}
		out[i].add(a)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("find accounts: %w", err)
	}
	return out, nil
}

func (r *Resolution) add(a Account) {
	switch r.Outcome {
	case NotFound:
		r.Outcome, r.Account = Found, a
	case Found:
		r.Outcome, r.Several, r.Account = Several, []uuid.UUID{r.Account.ID, a.ID}, Account{}
	case Several:
		r.Several = append(r.Several, a.ID)
	}
}

func resolveArgs(targets []Target) []any {
	var ids [][16]byte
	var idAt, userAt []int64
	var providers, users []string
	for i, t := range targets {
		switch {
		case t.AccountID != uuid.Nil:
			ids, idAt = append(ids, t.AccountID), append(idAt, int64(i))
		case storable(t.Provider) && storable(t.UserExternalID):
			providers, users, userAt = append(providers, t.Provider), append(users, t.UserExternalID), append(userAt, int64(i))
		}
	}
	return []any{ids, idAt, providers, users, userAt, MaxSeveral}
}

// storable leaves out what no row can hold: PostgreSQL would refuse the query,
// and with it every other target.
func storable(s string) bool {
	return s != "" && utf8.ValidString(s) && !strings.ContainsRune(s, 0)
}

// allStorable is never nil: of an empty list a condition selects nothing.
func allStorable(texts []string) []string {
	return slices.DeleteFunc(append([]string{}, texts...), func(s string) bool { return !storable(s) })
}
