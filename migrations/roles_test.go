package migrations_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"postbus.dev/deploy/testbed"
	"postbus.dev/deploy/testbed/postgres"
	"postbus.dev/migrations"
)

// bare starts a cluster that knows nothing of the services' roles.
func bare(t *testing.T) *postgres.Server {
	t.Helper()
	s, err := postgres.Start(t.Context(), postgres.Config{Dir: testbed.Dir(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestRolesAreMadeOnceByManyAtATime(t *testing.T) {
	t.Parallel()
	s := bare(t)
	const databases = 3
	for i := range databases {
		execute(t, s.DSN("postgres"), fmt.Sprintf("CREATE DATABASE d%d", i))
	}
	ctx := t.Context()
	other, err := pgx.Connect(ctx, s.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close(ctx)
	if _, err := other.Exec(ctx, "BEGIN; CREATE ROLE postbus_publisher LOGIN"); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 4 * databases {
		wg.Go(func() {
			dsn := s.DSN(fmt.Sprintf("d%d", i%databases))
			if err := migrations.EnsureRoles(t.Context(), dsn); err != nil {
				t.Error(err)
			}
			if _, err := migrations.Apply(t.Context(), dsn, nil); err != nil { // grants to them, in one database while another still makes them
				t.Error(err)
			}
		})
	}
	// All of them have seen that the role is missing, and wait to make it or the one before.
	for value[int](t, s.DSN("postgres"), "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%CREATE ROLE%'") < 4*databases {
		if t.Failed() {
			break
		}
	}
	if _, err := other.Exec(ctx, "COMMIT"); err != nil {
		t.Error(err)
	}
	wg.Wait()
	got := value[string](t, s.DSN("d0"), `SELECT string_agg(format('%s %s %s', rolname, rolcanlogin, rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls OR rolreplication), ', ' ORDER BY rolname)
		FROM pg_roles WHERE rolname LIKE 'postbus\_%'`)
	if want := "postbus_account t f, postbus_publisher t f, postbus_refresher t f"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// Without the right to make roles everything is told before anything is done.
func TestMissingRolesAreNamedBeforeAnythingIsApplied(t *testing.T) {
	t.Parallel()
	s := bare(t)
	execute(t, s.DSN("postgres"), "CREATE ROLE owner LOGIN; CREATE ROLE postbus_account LOGIN")
	execute(t, s.DSN("postgres"), "CREATE DATABASE owned OWNER owner")
	dsn := testbed.As(s.DSN("owned"), "owner")
	const want = "postbus_publisher, postbus_refresher are missing: run migrate roles as a role that may create roles, " +
		"or there the SQL CREATE ROLE postbus_publisher LOGIN; CREATE ROLE postbus_refresher LOGIN;"
	_, applied := migrations.Apply(t.Context(), dsn, nil)
	for what, err := range map[string]error{"apply": applied, "ensure": migrations.EnsureRoles(t.Context(), dsn)} {
		var missing *migrations.MissingRolesError
		if !errors.As(err, &missing) || err.Error() != want {
			t.Errorf("%s: got %v, want %s", what, err, want)
		}
	}
	if value[bool](t, dsn, "SELECT to_regnamespace('atlas_schema_revisions') IS NOT NULL") {
		t.Error("something was done all the same")
	}
	// What the message says is what helps.
	execute(t, s.DSN("postgres"), want[strings.Index(want, "CREATE ROLE"):])
	if n, err := migrations.Apply(t.Context(), dsn, nil); err != nil || n == 0 {
		t.Fatalf("applied %d, %v", n, err)
	}
	if err := migrations.EnsureRoles(t.Context(), dsn); err != nil {
		t.Error(err)
	}
	for _, role := range migrations.Roles() { // an owner without privileges of its own is enough
		if n, err := migrations.Pending(t.Context(), testbed.As(dsn, role)); n != 0 || err != nil {
			t.Errorf("%s: %d pending, %v", role, n, err)
		}
	}
	execute(t, testbed.As(dsn, migrations.RolePublisher), "SELECT outbox_make_partitions(9), outbox_drop_partitions(7)")
}

// rights is what each role may do with each table, and with columns of it alone.
// What is not here, it may not.
var rights = map[string]map[string]string{
	"users":              {migrations.RoleAccount: "SELECT INSERT UPDATE DELETE", migrations.RolePublisher: "SELECT", migrations.RoleRefresher: "SELECT"},
	"api_keys":           {migrations.RoleAccount: "SELECT INSERT UPDATE DELETE", migrations.RolePublisher: "SELECT UPDATE(last_used_at)"},
	"connect_links":      {migrations.RoleAccount: "SELECT INSERT UPDATE DELETE"},
	"connect_states":     {migrations.RoleAccount: "SELECT INSERT UPDATE DELETE"},
	"provider_callbacks": {migrations.RoleAccount: "SELECT INSERT UPDATE DELETE"},
	"former_accounts":    {migrations.RoleAccount: "SELECT INSERT UPDATE DELETE"},
	"retired_keys":       {migrations.RoleAccount: "SELECT INSERT", migrations.RoleRefresher: "SELECT"},
	"publishes":          {migrations.RolePublisher: "SELECT INSERT UPDATE DELETE"},
	"publish_attempts":   {migrations.RolePublisher: "SELECT INSERT DELETE"},
	"account_lanes":      {migrations.RolePublisher: "SELECT INSERT UPDATE"},
	"gates":              {migrations.RoleAccount: "SELECT", migrations.RolePublisher: "SELECT INSERT UPDATE DELETE", migrations.RoleRefresher: "SELECT"},
	"budgets":            {migrations.RoleAccount: "SELECT INSERT UPDATE DELETE", migrations.RolePublisher: "SELECT INSERT UPDATE DELETE", migrations.RoleRefresher: "SELECT INSERT UPDATE DELETE"},
	"outbox":             {migrations.RoleAccount: "SELECT INSERT", migrations.RolePublisher: "SELECT INSERT", migrations.RoleRefresher: "SELECT INSERT"},
	"outbox_cursors":     {migrations.RoleAccount: "SELECT INSERT UPDATE", migrations.RolePublisher: "SELECT INSERT UPDATE", migrations.RoleRefresher: "SELECT INSERT UPDATE"},
	"oauth_accounts": {
		migrations.RoleAccount: "SELECT INSERT UPDATE DELETE",
		// All but refresh_token.
		migrations.RolePublisher: "SELECT(access_token,connected_at,created_at,disconnect_next_at,disconnect_reason,disconnect_version,disconnecting_at,drained_at,erase,expires_at,expiring_told,failed_at,failure_class,failure_count,id,lease_owner,lease_until,metadata,provider,provider_account_id,quiet_at,refresh_after,refresh_expires_at,scope,send_by,status,token_type,token_version,updated_at,user_id,username,version)",
		migrations.RoleRefresher: "SELECT UPDATE(access_token,expires_at,expiring_told,failed_at,failure_class,failure_count,lease_owner,lease_until,quiet_at,refresh_after,refresh_expires_at,refresh_token,scope,send_by,status,token_type,token_version,updated_at,version)",
	},
}

// What PostgreSQL itself answers, so that rights of PUBLIC count.
const rightsQuery = `
SELECT coalesce(string_agg(CASE WHEN whole THEN kind ELSE kind || '(' || columns || ')' END, ' ' ORDER BY i), '') FROM (
  SELECT kind, i, has_table_privilege($1, $2::regclass, kind) AS whole, CASE WHEN kind IN ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES') THEN (
    SELECT string_agg(attname, ',' ORDER BY attname COLLATE "C") FROM pg_attribute
    WHERE attrelid = $2::regclass AND attnum > 0 AND NOT attisdropped AND has_column_privilege($1, $2::regclass, attnum, kind)) END AS columns
  FROM unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) WITH ORDINALITY AS u (kind, i)) k
WHERE whole OR columns IS NOT NULL`

func TestEachRoleHasTheseRightsAndNoOthers(t *testing.T) {
	t.Parallel()
	dsn := testbed.Database(t)
	tables := strings.Fields(value[string](t, dsn, `SELECT string_agg(relname, ' ') FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f')`))
	for name := range rights {
		if !slices.Contains(tables, name) {
			t.Errorf("there is no table %s", name)
		}
	}
	for _, table := range tables { // the days of the outbox too
		for _, role := range migrations.Roles() {
			if got, want := value[string](t, dsn, rightsQuery, role, table), rights[table][role]; got != want {
				t.Errorf("%s has on %s %q, want %q", role, table, got, want)
			}
		}
	}
	const functions = `SELECT coalesce(string_agg(proname, ' ' ORDER BY proname), '') FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND has_function_privilege($1, oid, 'EXECUTE')`
	for _, role := range migrations.Roles() {
		want := "outbox_drop_partitions outbox_make_partitions"
		if role == migrations.RoleAccount {
			want += " publishes_blank publishes_blank" // also as services of before call it
		}
		if got := value[string](t, dsn, functions, role); got != want {
			t.Errorf("%s may call %q, want %q", role, got, want)
		}
		if value[bool](t, dsn, `SELECT has_schema_privilege($1, 'public', 'CREATE')`, role) {
			t.Errorf("%s may create in schema public", role)
		}
	}
}

// onOutbox appends an event of a service.
func onOutbox(service string) string {
	return "INSERT INTO outbox (id, service, stream, subject, event) VALUES (gen_random_uuid(), '" + service + "', 'ACCOUNT', 'account.connected', '{}')"
}

func cursorOf(service, stream string) string {
	return "INSERT INTO outbox_cursors (service, stream, xid, id, system_identifier) SELECT '" + service + "', '" + stream + "', '0', gen_random_uuid(), system_identifier FROM pg_control_system() ON CONFLICT DO NOTHING"
}

// services are the roles and the name under which each one's events stand.
var services = map[string]string{migrations.RoleAccount: "account", migrations.RolePublisher: "publisher", migrations.RoleRefresher: "token-refresher"}

// withOutbox has an event and a cursor of each service, and of one without a role.
func withOutbox(t *testing.T) (dsn string) {
	t.Helper()
	dsn = withPublishes(t)
	for _, service := range append(slices.Collect(maps.Values(services)), "other") {
		execute(t, dsn, onOutbox(service))
		execute(t, dsn, cursorOf(service, "ACCOUNT"))
	}
	return dsn
}

// as runs a statement as a role and takes it back.
func as(t *testing.T, dsn, role, sql string) (rows int64, err error) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, testbed.As(dsn, role))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "BEGIN"); err != nil {
		t.Fatal(err)
	}
	tag, err := conn.Exec(ctx, sql)
	return tag.RowsAffected(), err
}

func TestEachRoleSeesAndMovesItsOwnEventsAlone(t *testing.T) {
	t.Parallel()
	dsn := withOutbox(t)
	day := value[string](t, dsn, "SELECT min(inhrelid::regclass::text) FROM pg_inherits WHERE inhparent = 'outbox'::regclass")
	for role, service := range services {
		others := "account"
		if role == migrations.RoleAccount {
			others = "publisher"
		}
		for sql, rows := range map[string]int64{
			onOutbox(service):                            1,
			"SELECT FROM outbox":                         1, // of the four that are there
			"SELECT FROM outbox_cursors":                 1,
			cursorOf(service, "PUBLISH"):                 1,
			cursorOf(service, "ACCOUNT"):                 0, // it is there
			"UPDATE outbox_cursors SET stream_seq = 7":   1,
			"SELECT outbox_make_partitions(20)":          1,
			"SELECT outbox_drop_partitions(7)":           1,
			"SELECT pg_try_advisory_lock(1)":             1,
			"SELECT FROM outbox WHERE service = 'other'": 0,
		} {
			if got, err := as(t, dsn, role, sql); err != nil || got != rows {
				t.Errorf("%s: %s: %d rows, %v, want %d", role, sql, got, err, rows)
			}
		}
		for _, sql := range []string{
			onOutbox(others), onOutbox("other"), onOutbox(service) + "; " + onOutbox(others), cursorOf(others, "PUBLISH"),
			"UPDATE outbox_cursors SET service = '" + others + "'", "DELETE FROM outbox_cursors", "UPDATE outbox SET event = ''", "DELETE FROM outbox", "TRUNCATE outbox",
			"SELECT FROM " + day, "INSERT INTO " + day + " (id) VALUES (NULL)", "DELETE FROM " + day, "DROP TABLE " + day, "ALTER TABLE outbox DISABLE ROW LEVEL SECURITY",
			"CREATE POLICY all_of_it ON outbox USING (true)", "SET ROLE postgres", // A day that was made later is nobody's either.
			"SELECT outbox_make_partitions(20); SELECT FROM " + time.Now().UTC().AddDate(0, 0, 20).Format("outbox_20060102"),
		} {
			refused(t, dsn, role, sql)
		}
	}
}

// refused holds a statement to be refused for want of a right.
func refused(t *testing.T, dsn, role, sql string) {
	t.Helper()
	_, err := as(t, dsn, role, sql)
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Code != "42501" { // insufficient_privilege; row-level security has it too
		t.Errorf("%s: %s: got %v, want it refused", role, sql, err)
	}
}

func TestEachRoleCanDoItsWorkAndIsRefusedTheWorkOfOthers(t *testing.T) {
	t.Parallel()
	dsn := withOutbox(t)
	const key = "INSERT INTO api_keys (id, user_id, key_sha256, scopes) VALUES (gen_random_uuid(), '" + her + "', sha256('k'), '{publish}')"
	const link = "INSERT INTO connect_links (token_sha256, user_id, provider, expires_at) VALUES (sha256('l'), '" + her + "', 'a', now() + interval '1 hour')"
	execute(t, dsn, key)
	cases := map[string]struct{ may, mayNot []string }{
		migrations.RoleAccount: {
			may: []string{
				"INSERT INTO users (id, external_id) VALUES (gen_random_uuid(), 'new')", "UPDATE users SET deleting_at = now()", "DELETE FROM users", // and with them all that is theirs
				"UPDATE oauth_accounts SET status = 'reauth_required', refresh_token = 'y'", "UPDATE api_keys SET revoked_at = now()", link,
				"SELECT publishes_blank('" + her + "', NULL)", "SELECT publishes_blank(NULL, '" + herOne + "')", "SELECT FROM gates",
			},
			mayNot: []string{
				"SELECT FROM publishes", "UPDATE publishes SET request = NULL", "DELETE FROM publishes", "SELECT FROM publish_attempts", "SELECT FROM account_lanes",
				"DELETE FROM gates", "TRUNCATE users CASCADE", "TRUNCATE oauth_accounts", "ALTER TABLE oauth_accounts DROP CONSTRAINT oauth_accounts_erase",
			},
		},
		migrations.RolePublisher: {
			may: []string{
				"UPDATE publishes SET version = version + 1", "DELETE FROM publishes", "SELECT access_token FROM oauth_accounts", "UPDATE api_keys SET last_used_at = now()",
				"INSERT INTO account_lanes (account_id) VALUES (gen_random_uuid())", "DELETE FROM gates",
			},
			mayNot: []string{
				"UPDATE oauth_accounts SET status = 'disconnected'", "UPDATE oauth_accounts SET access_token = 'z'", "DELETE FROM oauth_accounts", "SELECT refresh_token FROM oauth_accounts",
				"SELECT * FROM oauth_accounts", "SELECT FROM oauth_accounts FOR UPDATE", "UPDATE api_keys SET revoked_at = NULL", "UPDATE api_keys SET user_id = '" + his + "'", key,
				"UPDATE users SET external_id = 'x'", "DELETE FROM users", "SELECT FROM users FOR KEY SHARE", "SELECT publishes_blank('" + her + "', NULL)", "SELECT FROM connect_states", "SELECT FROM connect_links",
				"SELECT FROM provider_callbacks", "UPDATE publish_attempts SET message = ''", "DELETE FROM account_lanes", "TRUNCATE publishes",
			},
		},
		migrations.RoleRefresher: {
			may: []string{
				"UPDATE oauth_accounts SET access_token = 'n', refresh_token = 'm', token_version = token_version + 1, version = version + 1, refresh_after = now(), updated_at = now()",
				"UPDATE oauth_accounts SET lease_owner = gen_random_uuid(), lease_until = now()", "UPDATE oauth_accounts SET status = 'reauth_required', failure_class = 'x', failed_at = now()",
				"SELECT refresh_token FROM oauth_accounts FOR UPDATE SKIP LOCKED", "SELECT external_id FROM users",
			},
			mayNot: []string{
				"UPDATE oauth_accounts SET user_id = '" + his + "'", "UPDATE oauth_accounts SET username = 'x'", "UPDATE oauth_accounts SET provider_account_id = 'x'",
				"UPDATE oauth_accounts SET erase = true", "UPDATE oauth_accounts SET disconnect_next_at = now()", "DELETE FROM oauth_accounts",
				"INSERT INTO oauth_accounts (id, user_id, provider, provider_account_id, access_token) VALUES (gen_random_uuid(), '" + her + "', 'c', '1', 'x')",
				"SELECT FROM api_keys", "UPDATE users SET external_id = 'x'", "SELECT FROM publishes", "SELECT publishes_blank('" + her + "', NULL)",
			},
		},
	}
	for role, c := range cases {
		for _, sql := range c.may {
			if _, err := as(t, dsn, role, sql); err != nil {
				t.Errorf("%s: %s: %v", role, sql, err)
			}
		}
		for _, sql := range c.mayNot {
			refused(t, dsn, role, sql)
		}
	}
}
