package oauthaccount_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"

	"postbus.dev/deploy/testbed"
	"postbus.dev/events"
	"postbus.dev/migrations"
	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/oauthaccount"
	"postbus.dev/services/internal/oauthaccount/oauthaccounttest"
	"postbus.dev/services/internal/postgres/postgrestest"
)

// rig is the token-refresher's store, with its role, for one case of several that
// share a database.
type rig struct {
	bundle
	*oauthaccount.Refreshes
	mine *[]uuid.UUID
}

func refresher(t *testing.T) rig {
	t.Helper()
	dsn := testbed.Database(t)
	r := rig{bundle: on(t, dsn), mine: &[]uuid.UUID{}}
	store, err := oauthaccount.NewStore(oauthaccount.StoreConfig{
		Pool: postgrestest.Open(t, testbed.As(dsn, migrations.RoleRefresher)), Sealer: r.sealer, Service: "token-refresher",
		Wrote: func() { r.pokes.Add(1) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.Refreshes, err = oauthaccount.NewRefreshes(store, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func (r rig) Connect(n oauthaccount.New) uuid.UUID {
	r.Helper()
	n.UserID = r.user
	id := r.connect(n).Account.ID
	*r.mine = append(*r.mine, id)
	return id
}

func (r rig) Disconnect(id uuid.UUID) {
	r.Helper()
	r.disconnect(id, events.DisconnectRequested, false)
}

func (r rig) Delete(id uuid.UUID) {
	r.Helper()
	r.exec(`DELETE FROM oauth_accounts WHERE id = $1`, id)
}

// Pass moves all that is stored into the past: the database's clock is nobody's
// to set.
func (r rig) Pass(d time.Duration) {
	r.Helper()
	r.exec(`UPDATE oauth_accounts SET expires_at = expires_at - $2::interval, refresh_expires_at = refresh_expires_at - $2::interval,
		refresh_after = refresh_after - $2::interval, lease_until = lease_until - $2::interval, send_by = send_by - $2::interval,
		quiet_at = quiet_at - $2::interval, failed_at = failed_at - $2::interval WHERE id = ANY ($1)`, *r.mine, d)
}

func (r rig) Row(id uuid.UUID) (out oauthaccounttest.Row) {
	r.Helper()
	var provider, account string
	var access, refresh []byte
	var times [7]*time.Time
	if err := r.admin.QueryRow(r.Context(), `SELECT provider, provider_account_id, status, token_version, version, access_token, refresh_token, token_type, scope,
		failure_count, coalesce(failure_class, ''), expires_at, refresh_expires_at, refresh_after, lease_until, send_by, quiet_at, failed_at
		FROM oauth_accounts WHERE id = $1`, id).Scan(&provider, &account, &out.Status, &out.TokenVersion, &out.Version, &access, &refresh, &out.TokenType, &out.Scope,
		&out.Failures, &out.Class, &times[0], &times[1], &times[2], &times[3], &times[4], &times[5], &times[6]); err != nil {
		r.Fatal(err)
	}
	for i, to := range []*time.Time{&out.ExpiresAt, &out.GrantEndsAt, &out.RefreshAfter, &out.LeaseUntil, &out.SendBy, &out.QuietAt, &out.FailedAt} {
		if times[i] != nil {
			*to = *times[i]
		}
	}
	out.Access, out.Refresh = r.opened(access, "access_token", provider, account), r.opened(refresh, "refresh_token", provider, account)
	return out
}

func (r rig) opened(sealed []byte, column, provider, account string) connectors.Secret {
	r.Helper()
	if sealed == nil {
		return connectors.Secret{}
	}
	s, err := r.sealer.Open(sealed, oauthaccount.Place(column, provider, account))
	if err != nil {
		r.Fatal(err)
	}
	return s
}

func (r rig) Told(id uuid.UUID) (all []oauthaccounttest.Told) {
	r.Helper()
	for _, e := range r.told(id) {
		if e.Source() != "/postbus/token-refresher" {
			continue
		}
		one := oauthaccounttest.Told{Sequence: sequence(r.T, e)}
		switch e.Type() {
		case events.TypeTokenRefreshed:
			one.Data = data[events.TokenRefreshed](r, e)
		case events.TypeTokenRefreshFailed:
			one.Data = data[events.TokenRefreshFailed](r, e)
		case events.TypeAccountReauthRequired:
			one.Data = data[events.AccountReauthRequired](r, e)
		case events.TypeAccountRecovered:
			one.Data = data[events.AccountRecovered](r, e)
		case events.TypeAccountExpiring:
			one.Data = data[events.AccountExpiring](r, e)
		default:
			r.Errorf("told %s", e.Type())
		}
		all = append(all, one)
	}
	return all
}

func data[D events.Data, P interface {
	*D
	events.Data
}](r rig, e event.Event) events.Data {
	r.Helper()
	var d D
	r.decode(e, P(&d))
	return d
}

func TestTheStoreInPostgreSQLKeepsTheContract(t *testing.T) {
	t.Parallel()
	shared := refresher(t)
	t.Run("cases", func(t *testing.T) { // all of them end before the database does
		oauthaccounttest.Contract(t, func(t *testing.T) oauthaccounttest.Rig {
			r := shared
			r.T, r.mine = t, &[]uuid.UUID{}
			return r
		})
	})
}

func TestTheOtherServicesHearOfARefreshAtOnce(t *testing.T) {
	t.Parallel()
	r := refresher(t)
	r.Connect(due("instagram", 1))
	claimed, err := r.Claim(t.Context(), oauthaccount.RefreshClaim{Providers: []string{"instagram"}, Limit: 1, Lease: time.Minute})
	if err != nil || len(claimed) != 1 {
		t.Fatal(claimed, err)
	}
	before := r.pokes.Load()
	w := &oauthaccount.RefreshWrite{Of: claimed[0], Step: oauthaccount.RefreshRenewed, Grant: connectors.Grant{AccessToken: connectors.NewSecret("new")}}
	for range 2 { // the second tells nothing
		if _, err := r.Write(t.Context(), w); err != nil {
			t.Fatal(err)
		}
	}
	if n := r.pokes.Load() - before; n != 1 {
		t.Errorf("the relay was poked %d times", n)
	}
}

func due(provider string, i int) oauthaccount.New {
	return oauthaccount.New{
		Provider: provider, ProviderAccountID: fmt.Sprint(i), AccessToken: connectors.NewSecret("access"), RefreshToken: connectors.NewSecret("refresh"),
		RefreshAfter: time.Now().Add(-time.Hour),
	}
}

// No token without its event, and no event without its token: they share the
// transaction.
func TestNoTokenIsStoredWithoutItsEvent(t *testing.T) {
	t.Parallel()
	r := refresher(t)
	id := r.Connect(due("instagram", 1))
	claimed, err := r.Claim(t.Context(), oauthaccount.RefreshClaim{Providers: []string{"instagram"}, Limit: 1, Lease: time.Minute})
	if err != nil || len(claimed) != 1 {
		t.Fatal(claimed, err)
	}
	mend := r.failing()
	w := &oauthaccount.RefreshWrite{Of: claimed[0], Step: oauthaccount.RefreshRenewed, Grant: connectors.Grant{AccessToken: connectors.NewSecret("new")}}
	if out, err := r.Write(t.Context(), w); err == nil {
		t.Errorf("outcome %d", out)
	}
	if row := r.Row(id); row.TokenVersion != 1 || row.Access.Reveal() != "access" {
		t.Errorf("stored %+v", row)
	}
	mend()
	if out, err := r.Write(t.Context(), w); err != nil || out != oauthaccount.RefreshStored || len(r.Told(id)) != 1 {
		t.Errorf("afterwards: %d, %v", out, err)
	}
}

func TestManyRefreshesShareOneStatement(t *testing.T) {
	t.Parallel()
	r := refresher(t)
	const n = 60
	for i := range n {
		r.Connect(due("instagram", i))
	}
	claimed, err := r.Claim(t.Context(), oauthaccount.RefreshClaim{Providers: []string{"instagram"}, Limit: n, Lease: time.Minute})
	if err != nil || len(claimed) != n {
		t.Fatal(len(claimed), err)
	}
	outs := crowd(n, func(i int) error {
		_, err := r.Write(t.Context(), &oauthaccount.RefreshWrite{
			Of: claimed[i], Step: oauthaccount.RefreshRenewed, Grant: connectors.Grant{AccessToken: connectors.NewSecret(fmt.Sprint("new of ", claimed[i].ID))},
		})
		return err
	})
	for _, err := range outs {
		if err != nil {
			t.Error(err)
		}
	}
	for _, c := range claimed { // each its own
		if got := r.Row(c.ID).Access.Reveal(); got != fmt.Sprint("new of ", c.ID) {
			t.Errorf("%s holds %q", c.ID, got)
		}
	}
	if commits := query[int](r.bundle, `SELECT count(DISTINCT xid) FROM outbox WHERE service = 'token-refresher'`); commits > n/3 {
		t.Errorf("%d refreshes took %d commits", n, commits)
	}
}

// However many accounts there are, and however many of them are due.
func TestWhatARefreshReadsDoesNotGrowWithTheTable(t *testing.T) {
	t.Parallel()
	r := refresher(t)
	id := r.Connect(due("tiktok", 1))
	r.exec(`INSERT INTO users SELECT gen_random_uuid(), 'bulk-' || i FROM generate_series(1, 100) i`)
	r.exec(`INSERT INTO oauth_accounts (id, user_id, provider, provider_account_id, access_token, refresh_after)
		SELECT gen_random_uuid(), (array(SELECT id FROM users))[1 + i % 100], 'instagram', 'bulk-' || i, '\x00', now() + (i - 3000) * interval '1 second'
		FROM generate_series(1, 10000) i`)
	const limit = 20
	statements := map[string]struct {
		sql  string
		args []any
		most float64
	}{
		"claim":        {oauthaccount.ClaimRefreshesSQL, []any{[]string{"instagram", "reddit", "tiktok"}, limit, uuid.New(), time.Minute}, 4 * 2 * limit},
		"claim of one": {oauthaccount.ClaimRefreshesSQL, []any{[]string{"tiktok"}, limit, uuid.New(), time.Minute}, 8},
		"lock":         {oauthaccount.LockForRefreshSQL, []any{[][16]byte{id}}, 4},
		"make due":     {oauthaccount.MakeRefreshDueSQL, []any{id, 1, time.Minute}, 4},
	}
	for _, mode := range []string{"force_generic_plan", "force_custom_plan"} {
		for name, s := range statements {
			plan := r.explained(mode, s.sql, s.args)
			if got := fromTables(plan); got > s.most {
				text, _ := json.MarshalIndent(plan, "", " ")
				t.Errorf("%s, %s: %.0f rows were read:\n%s", name, mode, got, text)
			}
		}
	}
	if plan := r.explained("force_custom_plan", oauthaccount.DueRefreshesSQL, []any{time.Minute}); fromTables(plan) > 2*3001 {
		t.Errorf("to count what is due %.0f rows were read", fromTables(plan))
	}
}

// explained runs a statement, takes it back, and returns its plan.
func (r rig) explained(mode, sql string, args []any) (plan any) {
	r.Helper()
	tx, err := r.admin.Begin(r.Context())
	if err != nil {
		r.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(r.Context())) }()
	if _, err := tx.Exec(r.Context(), `SET LOCAL plan_cache_mode = `+mode); err != nil {
		r.Fatal(err)
	}
	var text []byte
	if err := tx.QueryRow(r.Context(), `EXPLAIN (ANALYZE, FORMAT JSON) `+sql, args...).Scan(&text); err != nil {
		r.Fatal(err)
	}
	if err := json.Unmarshal(text, &plan); err != nil {
		r.Fatal(err)
	}
	return plan
}

// fromTables counts the rows that a plan took from tables, those that a filter
// removed among them.
func fromTables(plan any) (rows float64) {
	switch v := plan.(type) {
	case []any:
		for _, e := range v {
			rows += fromTables(e)
		}
	case map[string]any:
		if _, ok := v["Relation Name"]; ok {
			of := func(key string) float64 { n, _ := v[key].(float64); return n }
			rows = (of("Actual Rows") + of("Rows Removed by Filter")) * of("Actual Loops")
		}
		rows += fromTables(v["Plans"]) + fromTables(v["Plan"])
	}
	return rows
}
