package migrations_test

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"postbus.dev/deploy/testbed"
	"postbus.dev/migrations"
	"postbus.dev/migrations/internal/drift"
)

func desired(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("schema.sql")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// drift.Find makes databases of the same names in this test and the next one,
// which therefore has a cluster of its own.
func TestTheVersionedFilesLeadToTheDesiredSchema(t *testing.T) {
	t.Parallel()
	dir, err := migrations.Load(migrations.Versions())
	if err != nil {
		t.Fatal(err)
	}
	report, err := drift.Find(t.Context(), testbed.Database(t), dir, desired(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range append(report.Differences, report.Statements...) {
		t.Errorf("%s", line)
	}
	if t.Failed() {
		t.Log("edit schema.sql, never the versioned files; then run go run ./cmd/schema diff, write what it says as a new file, and run go run ./cmd/schema hash")
	}
}

func TestTheComparisonSeesEveryKindOfChange(t *testing.T) {
	t.Parallel()
	dir, err := migrations.Load(migrations.Versions())
	if err != nil {
		t.Fatal(err)
	}
	changes := map[string]string{
		"column":             "ALTER TABLE users ADD COLUMN x int",
		"type":               "ALTER TABLE gates ALTER COLUMN reason TYPE varchar(9)",
		"default":            "ALTER TABLE users ALTER COLUMN created_at SET DEFAULT clock_timestamp()",
		"not null":           "ALTER TABLE publishes ALTER COLUMN due_at DROP NOT NULL",
		"storage of column":  "ALTER TABLE outbox ALTER COLUMN event SET STORAGE EXTERNAL",
		"storage option":     "ALTER TABLE publishes SET (fillfactor = 71)",
		"unlogged":           "ALTER TABLE budgets SET UNLOGGED",
		"partition key":      "CREATE TABLE x (a int, b int) PARTITION BY RANGE (a)",
		"index":              "DROP INDEX api_keys_user",
		"index predicate":    "DROP INDEX account_lanes_next; CREATE INDEX account_lanes_next ON account_lanes (next_at) WHERE next_at IS NOT NULL AND owner IS NULL",
		"check":              "ALTER TABLE budgets DROP CONSTRAINT budgets_used_check, ADD CONSTRAINT budgets_used_check CHECK (used > 0)",
		"foreign key":        "ALTER TABLE api_keys DROP CONSTRAINT api_keys_user_id_fkey, ADD CONSTRAINT api_keys_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id)",
		"function":           "CREATE FUNCTION g() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
		"function's setting": "ALTER FUNCTION outbox_make_partitions(integer) RESET search_path",
		"function's rights":  "GRANT EXECUTE ON FUNCTION outbox_drop_partitions(integer) TO PUBLIC",
		"rights":             "GRANT SELECT ON users TO PUBLIC",
		"rights on column":   "GRANT SELECT (id) ON users TO PUBLIC",
		"rights of a role":   "REVOKE DELETE ON account_lanes, gates FROM postbus_publisher",
		"role's column":      "GRANT UPDATE (username) ON oauth_accounts TO postbus_refresher",
		"role's function":    "REVOKE EXECUTE ON FUNCTION publishes_blank(uuid, uuid) FROM postbus_account",
		"default rights":     "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO postbus_publisher",
		"row security":       "ALTER TABLE api_keys ENABLE ROW LEVEL SECURITY",
		"row security off":   "ALTER TABLE outbox DISABLE ROW LEVEL SECURITY",
		"policy's condition": "ALTER POLICY publisher ON outbox USING (true)",
		"policy's role":      "ALTER POLICY account ON outbox_cursors TO postbus_account, postbus_publisher",
		"policy":             "CREATE POLICY p ON outbox USING (true)",
		"trigger":            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER t BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION f()",
		"view":               "CREATE VIEW v AS SELECT id FROM users",
		"enum":               "CREATE TYPE e AS ENUM ('a')",
		"comment":            "COMMENT ON TABLE users IS 'x'",
	}
	// All in one go: each must show by a line that the others do not make.
	report, err := drift.Find(t.Context(), testbed.Cluster(t).Database(t), dir, desired(t)+";\n"+strings.Join(slices.Collect(maps.Values(changes)), ";\n"))
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(report.Differences, "\n")
	for kind, want := range map[string]string{
		"column": "column public.users.x is missing", "type": "column public.gates.reason is", "default": "column public.users.created_at is",
		"not null": "column public.publishes.due_at is", "storage of column": "column public.outbox.event is", "table and partition key": "relation public.x is missing",
		"storage option": "relation public.publishes is", "unlogged": "relation public.budgets is", "index": "index public.api_keys_user is too many",
		"index predicate": "index public.account_lanes_next is", "check": "constraint budgets_used_check on public.budgets is", "foreign key": "constraint api_keys_user_id_fkey on public.api_keys is",
		"function": "function g() is missing", "function's setting": "function outbox_make_partitions(integer) is", "function's rights": "function outbox_drop_partitions(integer) is", "rights": "relation public.users is", "rights on column": "column public.users.id is",
		"rights of a role": "relation public.gates is", "role's column": "column public.oauth_accounts.username is", "role's function": "function publishes_blank(uuid,uuid) is",
		"default rights": "default rights in - of r is missing", "row security": "relation public.api_keys is", "row security off": "relation public.outbox is",
		"policy's condition": "policy publisher on public.outbox is", "policy's role": "policy account on public.outbox_cursors is", "policy": "policy p on public.outbox is missing", "trigger": "trigger t on public.users is missing",
		"view": "relation public.v is missing", "enum": "type e is missing", "comment": "comment on table users is missing",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("%s: no %q in the report", kind, want)
		}
	}
	if !strings.Contains(strings.Join(report.Statements, "\n"), `ADD COLUMN "x" integer NULL`) {
		t.Errorf("Atlas's plan is %q", report.Statements)
	}
}
