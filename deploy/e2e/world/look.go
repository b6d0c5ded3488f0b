package world

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"postbus.dev/events"
	"postbus.dev/services/account"
	"postbus.dev/services/connectors"
	"postbus.dev/services/connectors/sandbox/stage"
)

// UserWith adds a user with n accounts, and returns their places in Accounts and
// Provider.
func (w *World) UserWith(externalID string, n int) (places []int) {
	w.T.Helper()
	made, err := w.Sandbox.AddAccounts(stage.Account{Provider: "instagram", Username: externalID, QuotaTotal: -1}, n)
	if err != nil {
		w.T.Fatal(err)
	}
	for _, p := range made {
		id := w.seedAs(externalID, "api-key-"+externalID, account.SeedAccount{
			Provider: p.Provider, ProviderAccountID: p.ID, Username: p.Username, AccessToken: connectors.NewSecret(p.Token),
		})
		places = append(places, len(w.Accounts))
		w.Accounts, w.Provider = append(w.Accounts, id), append(w.Provider, p)
	}
	return places
}

// Count is the one number that a query returns.
func (w *World) Count(sql string, args ...any) (n int) {
	w.T.Helper()
	if err := w.Pool.QueryRow(context.Background(), sql, args...).Scan(&n); err != nil {
		w.T.Fatalf("%s: %v", sql, err)
	}
	return n
}

// State is the state of a publish; "" where it is not stored.
func (w *World) State(id string) string { return w.Rows()[id].State }

// Outcomes counts the completed and the failed of the publishes whose requests'
// ids begin with prefix.
func (w *World) Outcomes(prefix string) (completed, failed int) {
	w.T.Helper()
	const sql = `SELECT count(*) FROM publishes WHERE event_id LIKE $1 || '%' AND state = ANY ($2)`
	return w.Count(sql, prefix, []string{"completed"}), w.Count(sql, prefix, []string{"failed", "canceled", "unconfirmed"})
}

// SealedBy lists how the sealed tokens begin, which tells the keys apart.
func (w *World) SealedBy() []string {
	w.T.Helper()
	return w.texts(`SELECT DISTINCT encode(substring(t for 5), 'hex') FROM oauth_accounts, unnest(ARRAY[access_token, refresh_token]) AS u (t)
		WHERE t IS NOT NULL ORDER BY 1`)
}

func (w *World) texts(sql string, args ...any) []string {
	w.T.Helper()
	rows, err := w.Pool.Query(context.Background(), sql, args...)
	if err != nil {
		w.T.Fatalf("%s: %v", sql, err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		w.T.Fatalf("%s: %v", sql, err)
	}
	return out
}

// tables are all tables with rows of their own.
func (w *World) tables() []string {
	return w.texts(`SELECT quote_ident(relname) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 1`)
}

// Dump is every row of every table, as text; bytea is in hex.
func (w *World) Dump() string {
	w.T.Helper()
	var b strings.Builder
	for _, table := range w.tables() {
		for _, row := range w.texts(`SELECT t::text FROM ` + table + ` t`) {
			fmt.Fprintf(&b, "%s %s\n", table, row)
		}
	}
	return b.String()
}

// Mentions lists the tables but the outbox that hold a text.
func (w *World) Mentions(text string) (found []string) {
	w.T.Helper()
	quoted, _ := json.Marshal(text)
	for _, table := range w.tables() {
		if strings.HasPrefix(table, "outbox") {
			continue
		}
		n := w.Count(`SELECT count(*) FROM `+table+` t WHERE position($1 in t::text) > 0 OR position($2 in t::text) > 0 OR position($3 in t::text) > 0`,
			text, hex.EncodeToString([]byte(text)), strings.Trim(string(quoted), `"`))
		if n > 0 {
			found = append(found, table)
		}
	}
	return found
}

// ExpectAccountEvents waits until the stream tells exactly these types of an
// account, in their order.
func (w *World) ExpectAccountEvents(id string, want ...string) {
	w.T.Helper()
	var got []string
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		got = nil
		for _, e := range w.History(events.StreamAccount) {
			if e.Subject() == id {
				got = append(got, e.Type())
			}
		}
		if slices.Equal(got, want) {
			return
		}
	}
	w.T.Errorf("of account %s the stream tells %v, want %v", id, got, want)
}

// Spoken is every message of every stream as it was sent, dead letters too.
func (w *World) Spoken() string {
	w.T.Helper()
	var b strings.Builder
	for _, stream := range []string{events.StreamPublish, events.StreamAccount, events.StreamDeadLetter} {
		for _, m := range w.messages(stream) {
			fmt.Fprintf(&b, "%s %v %s\n", m.Subject, m.Header, m.Data)
		}
	}
	return b.String()
}
