package migrations_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"postbus.dev/deploy/testbed"
)

// people are two users with two accounts each; her are the first one's id and
// those of her accounts.
const (
	her    = "00000000-0000-7000-8000-000000000001"
	his    = "00000000-0000-7000-8000-000000000002"
	herOne = "00000000-0000-7000-8000-000000000011"
	herTwo = "00000000-0000-7000-8000-000000000012"
	people = `INSERT INTO users (id, external_id) VALUES ('` + her + `', 'her'), ('` + his + `', 'his');
INSERT INTO oauth_accounts (id, user_id, provider, provider_account_id, access_token) VALUES
  ('` + herOne + `', '` + her + `', 'a', '1', 'x'), ('` + herTwo + `', '` + her + `', 'b', '1', 'x')`
	// One publish in each state, of account $2 of user $1.
	everyState = `INSERT INTO publishes (id, account_id, user_id, provider, request, request_sha256, content_sha256, checkpoint, state, due_at, expires_at, next_at,
    attempt, armed_at, send_by, quiet_at, ended_at, remote_id, result, error)
  SELECT gen_random_uuid(), $2::uuid, $1, 'a', 'secret', sha256('secret'), sha256('secret'), 'secret', s.state, now(), now(),
    CASE WHEN NOT ended AND state <> 'unconfirmed' THEN now() END, 1, now(), now(), now(), CASE WHEN ended THEN now() END,
    CASE WHEN state = 'completed' THEN $2::uuid::text END,
    CASE WHEN state = 'completed' THEN '{"postId": "7", "permalink": "https://a/secret", "timestamp": "2026-01-01T00:00:00Z", "caption": "secret", "metadata": {"k": "secret"}}'::jsonb END,
    CASE WHEN state IN ('failed', 'unconfirmed') THEN '{"code": "CONTENT_REJECTED", "message": "secret", "providerCode": "9/1", "violations": [{"field": "/caption", "message": "secret"}]}'::jsonb END
  FROM (SELECT state, state IN ('completed', 'failed', 'canceled', 'tombstone') AS ended FROM unnest($3::text[]) AS u (state)) s`
)

// states are all but armed, of which an account has one at a time: unknown
// stands for it.
var states = []string{"accepted", "ready", "unknown", "confirming", "unconfirmed", "completed", "failed", "canceled", "tombstone"}

func withPublishes(t *testing.T) (dsn string) {
	t.Helper()
	dsn = testbed.Database(t)
	execute(t, dsn, people)
	for account, user := range map[string]string{herOne: her, herTwo: her, "00000000-0000-7000-8000-000000000021": his} {
		execute(t, dsn, everyState, user, account, states)
	}
	execute(t, dsn, `INSERT INTO publish_attempts (id, publish_id, attempt, step, outcome, provider_code, message) SELECT gen_random_uuid(), id, 1, 'commit', 'reject', '9/1', 'secret' FROM publishes`)
	return dsn
}

// telling counts the rows in which the content is still to be found.
func telling(t *testing.T, dsn string) (n [2]int) {
	t.Helper()
	n[0] = value[int](t, dsn, `SELECT count(*) FROM publishes p WHERE p::text LIKE '%secret%' OR p::text LIKE '%' || encode('secret', 'hex') || '%' OR request_sha256 IS NOT NULL OR content_sha256 IS NOT NULL`)
	n[1] = value[int](t, dsn, `SELECT count(*) FROM publish_attempts a WHERE a::text LIKE '%secret%'`)
	return n
}

func TestBlankingTakesTheContentInEveryStateAndLeavesWhatHappened(t *testing.T) {
	t.Parallel()
	dsn := withPublishes(t)
	each := len(states)
	steps := []struct {
		call          string
		blanked, left int
	}{
		{"publishes_blank(NULL, '" + herOne + "')", each, 2 * each},
		{"publishes_blank('" + his + "', '" + herTwo + "')", 0, 2 * each}, // it is not his
		{"publishes_blank('" + her + "', NULL)", each, each},
		{"publishes_blank('" + her + "', NULL)", 0, each}, // nothing is left to do
	}
	for _, s := range steps {
		if got := value[int](t, dsn, "SELECT "+s.call); got != s.blanked {
			t.Errorf("%s: %d, want %d", s.call, got, s.blanked)
		}
		if got := telling(t, dsn); got != [2]int{s.left, s.left} {
			t.Errorf("after %s the content is in %v rows, want %d", s.call, got, s.left)
		}
	}
	const hers = ` FROM publishes WHERE user_id = '` + her + `' AND `
	for what, sql := range map[string]string{
		"rows that moved":      `SELECT count(*)` + hers + `version = 2 AND blanked_at IS NOT NULL`,
		"rows in their states": `SELECT 9 * count(DISTINCT account_id)` + hers + `state = ANY ('{accepted,ready,unknown,confirming,unconfirmed,completed,failed,canceled,tombstone}')`,
	} {
		if got := value[int](t, dsn, sql); got != 2*each {
			t.Errorf("%s: %d, want %d", what, got, 2*each)
		}
	}
	if got := value[string](t, dsn, `SELECT result::text`+hers+`state = 'completed' LIMIT 1`); got != `{"postId": "7", "caption": "", "permalink": null, "timestamp": "2026-01-01T00:00:00Z"}` {
		t.Errorf("result is %s", got)
	}
	if got := value[string](t, dsn, `SELECT error::text`+hers+`state = 'failed' LIMIT 1`); got != `{"code": "CONTENT_REJECTED", "message": "deleted with the account", "providerCode": "9/1"}` {
		t.Errorf("error is %s", got)
	}
	if got := value[int](t, dsn, `SELECT count(*) FROM publish_attempts WHERE provider_code = '9/1'`); got != 3*each {
		t.Errorf("%d attempts kept their code", got)
	}
}

// A process that stood still since before the deletion writes what it knows.
func TestABlankedPublishTakesNoContent(t *testing.T) {
	t.Parallel()
	dsn := withPublishes(t)
	execute(t, dsn, "SELECT publishes_blank('"+her+"', NULL)")
	for set, ok := range map[string]bool{
		`request = 'secret'`:    false,
		`checkpoint = 'secret'`: false,
		`result = '{"postId": "7", "permalink": null, "timestamp": null, "caption": "secret"}'`:                false,
		`result = '{"postId": "7", "permalink": "https://a/secret", "timestamp": null, "caption": ""}'`:        false,
		`result = '{"postId": "7", "permalink": null, "timestamp": null, "caption": "", "metadata": {"a":1}}'`: false,
		`error = '{"code": "CONTENT_REJECTED", "message": "secret"}'`:                                          false,
		`error = '{"code": "CONTENT_REJECTED", "message": "deleted with the account", "violations": []}'`:      false,
		`result = '{"postId": "8", "permalink": null, "timestamp": "2026-01-01T00:00:00Z", "caption": ""}'`:    true,
		`error = '{"code": "EXPIRED", "message": "deleted with the account", "providerCode": "9/1"}'`:          true,
	} {
		err := try(t, dsn, `UPDATE publishes SET `+set+` WHERE user_id = '`+her+`' AND state = 'completed'`)
		var pg *pgconn.PgError
		if errors.As(err, &pg); ok != (err == nil) || err != nil && (pg == nil || pg.ConstraintName != "publishes_blanked") {
			t.Errorf("%s: got %v, want it taken: %v", set, err, ok)
		}
	}
}

// A publisher's group locks its publishes in the order of their ids and then
// moves them.
func TestBlankingWaitsInTheLockOrderOfThePublisher(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	dsn := withPublishes(t)
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "BEGIN; SELECT FROM publishes WHERE id = (SELECT min(id::text)::uuid FROM publishes WHERE user_id = '"+her+"') FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- try(t, dsn, "SELECT publishes_blank('"+her+"', NULL)") }()
	for value[int](t, dsn, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%publishes_blank%' AND datname = current_database()") == 0 {
	}
	if _, err := conn.Exec(ctx, "SELECT FROM publishes WHERE user_id = '"+her+"' ORDER BY id FOR UPDATE; UPDATE publishes SET checkpoint = 'secret', version = version + 1 WHERE user_id = '"+her+"'; COMMIT"); err != nil {
		t.Errorf("the publisher's group: %v", err)
	}
	if err := <-done; err != nil {
		t.Errorf("blanking: %v", err)
	}
	if got, each := telling(t, dsn), len(states); got != [2]int{each, each} { // his are there still
		t.Errorf("the content is in %v rows: what the publisher wrote last was not seen", got)
	}
}

func TestBlankingManyPublishesTakesSeveralCalls(t *testing.T) {
	t.Parallel()
	dsn := testbed.Database(t)
	execute(t, dsn, people)
	execute(t, dsn, `INSERT INTO publishes (id, account_id, user_id, provider, request, state, due_at, expires_at, ended_at)
		SELECT gen_random_uuid(), $1::uuid, $2::uuid, 'instagram', 'secret', 'canceled', now(), now(), now() FROM generate_series(1, 1234)`, herOne, her)
	for i, want := range []int{1000, 234, 0} {
		if got := value[int](t, dsn, "SELECT publishes_blank('"+her+"', NULL)"); got != want {
			t.Errorf("call %d blanks %d, want %d", i, got, want)
		}
	}
	if got := telling(t, dsn); got != [2]int{} {
		t.Errorf("the content is in %v rows", got)
	}
}

// All of them were accepted in the same moment, so that their ids alone tell them
// apart; some are of another account.
func TestBlankingGoesOnAfterTheLastThatItLookedAt(t *testing.T) {
	t.Parallel()
	dsn := testbed.Database(t)
	execute(t, dsn, people)
	execute(t, dsn, `INSERT INTO publishes (id, account_id, user_id, provider, request, state, due_at, expires_at, ended_at)
		SELECT gen_random_uuid(), CASE WHEN i % 10 = 0 THEN $3::uuid ELSE $1::uuid END, $2::uuid, 'instagram', 'secret', 'canceled', now(), now(), now()
		FROM generate_series(1, 2500) i`, herOne, her, herTwo)
	after := "NULL, NULL"
	for i, want := range []int{1000, 1000, 250, 0} {
		got := value[string](t, dsn, `SELECT coalesce((SELECT concat_ws(' ', blanked, quote_literal(last) || ', ' || quote_literal(last_id)) FROM publishes_blank('`+her+`', '`+herOne+`', `+after+`)), '0')`)
		var n string
		if n, after, _ = strings.Cut(got, " "); n != strconv.Itoa(want) {
			t.Errorf("call %d blanks %s, want %d", i, n, want)
		}
	}
	if got := telling(t, dsn); got[0] != 250 {
		t.Errorf("the content is in %v rows, want that of the other account", got)
	}
}

func TestBlankingNobodyIsRefused(t *testing.T) {
	t.Parallel()
	dsn := testbed.Database(t)
	for _, call := range []string{"publishes_blank(NULL, NULL)", "publishes_blank(NULL, gen_random_uuid())", "publishes_blank(NULL, NULL, NULL, NULL)"} {
		var pg *pgconn.PgError
		if err := try(t, dsn, "SELECT "+call); !errors.As(err, &pg) || pg.Code != "22023" {
			t.Errorf("%s: got %v", call, err)
		}
	}
}

func TestTheStatesOfAnAccountAreTiedToTheirColumns(t *testing.T) {
	t.Parallel()
	dsn := testbed.Database(t)
	execute(t, dsn, people)
	const leaving = "status = 'disconnecting', disconnect_reason = 'requested', disconnecting_at = now(), disconnect_next_at = now()"
	steps := []struct{ set, refusedBy string }{
		{"erase = true", "oauth_accounts_erase"},
		{"drained_at = now()", "oauth_accounts_drained"},
		{"disconnect_next_at = now()", "oauth_accounts_disconnecting"},
		{"status = 'disconnecting', disconnect_reason = 'requested', disconnecting_at = now()", "oauth_accounts_disconnecting"},
		{"status = 'disconnecting', disconnect_next_at = now()", "oauth_accounts_disconnecting_says_why"},
		{leaving + ", erase = true", ""},
		{"drained_at = now()", ""},
		{"status = 'active', disconnect_next_at = NULL, erase = false", "oauth_accounts_drained"},
		{"status = 'disconnected', disconnect_next_at = NULL, access_token = NULL", "oauth_accounts_erase"},
		{"status = 'disconnected', disconnect_next_at = NULL, erase = false", "oauth_accounts_disconnected_has_no_token"},
		{"status = 'disconnected', disconnect_next_at = NULL, erase = false, access_token = NULL", ""},
		{"refresh_token = 'x'", "oauth_accounts_disconnected_has_no_token"},
		{"status = 'active'", "oauth_accounts_active_has_token"},
		{leaving, ""}, // a user who is deleted: what was disconnected goes too
	}
	for _, s := range steps {
		err := try(t, dsn, "UPDATE oauth_accounts SET "+s.set+" WHERE id = '"+herOne+"'")
		var pg *pgconn.PgError
		errors.As(err, &pg)
		if (s.refusedBy == "") != (err == nil) || err != nil && (pg == nil || pg.ConstraintName != s.refusedBy) {
			t.Errorf("%s: got %v, want %q", s.set, err, s.refusedBy)
		}
	}
}
