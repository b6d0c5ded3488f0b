package migrations_test

import (
	"io/fs"
	"testing"
	"testing/fstest"

	"ariga.io/atlas/sql/migrate"

	"postbus.dev/migrations"
)

// until is the embedded directory as it was when its newest file was last.
func until(t *testing.T, last string) fstest.MapFS {
	t.Helper()
	dir, out := &migrate.MemDir{}, fstest.MapFS{}
	names, err := fs.Glob(migrations.Versions(), "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if name > last {
			continue
		}
		b, err := fs.ReadFile(migrations.Versions(), name)
		if err != nil {
			t.Fatal(err)
		}
		if err := dir.WriteFile(name, b); err != nil {
			t.Fatal(err)
		}
		out[name] = &fstest.MapFile{Data: b}
	}
	sum, err := dir.Checksum()
	if err != nil {
		t.Fatal(err)
	}
	b, err := sum.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	out[migrate.HashFileName] = &fstest.MapFile{Data: b}
	return out
}

func TestADatabaseOfTheFirstVersionIsBroughtUpToDateWithItsRows(t *testing.T) {
	t.Parallel()
	dsn := empty(t)
	if n, err := migrations.ApplyFrom(t.Context(), dsn, nil, until(t, "20261122000001_init.sql")); n != 1 || err != nil {
		t.Fatalf("applied %d, %v", n, err)
	}
	execute(t, dsn, people)
	execute(t, dsn, `INSERT INTO oauth_accounts (id, user_id, provider, provider_account_id, access_token, refresh_token, status)
		SELECT gen_random_uuid(), $1, 'c', status, 'x', 'y', status FROM unnest('{active,reauth_required,disconnecting,disconnected}'::text[]) AS u (status)`, her)
	execute(t, dsn, everyState, her, herOne, states)
	execute(t, dsn, appendEvent, "now")
	if _, err := migrations.Apply(t.Context(), dsn, nil); err != nil {
		t.Fatal(err)
	}
	got := value[string](t, dsn, `SELECT string_agg(concat_ws(' ', status, disconnect_reason, access_token IS NULL, refresh_token IS NULL, disconnect_next_at IS NULL), ', ' ORDER BY status)
		FROM oauth_accounts WHERE provider = 'c'`)
	if want := "active f f t, disconnected t t t, disconnecting requested f f f, reauth_required f f t"; got != want {
		t.Errorf("accounts are %s, want %s", got, want)
	}
	if n := value[int](t, dsn, `SELECT count(*) FROM oauth_accounts WHERE connected_at <> created_at`); n != 0 {
		t.Errorf("%d accounts seem to have been connected by the upgrade", n)
	}
	if n := value[int](t, dsn, `SELECT count(*) FROM publishes`); n != len(states) {
		t.Errorf("%d publishes", n)
	}
	if rows, err := as(t, dsn, migrations.RolePublisher, "SELECT FROM outbox"); rows != 1 || err != nil {
		t.Errorf("the publisher sees %d events, %v", rows, err)
	}
}

func TestWhatOlderVersionsLeftOfADeletedUserGoes(t *testing.T) {
	t.Parallel()
	dsn := empty(t)
	if _, err := migrations.ApplyFrom(t.Context(), dsn, nil, until(t, "20261124000003_blank.sql")); err != nil {
		t.Fatal(err)
	}
	execute(t, dsn, people)
	execute(t, dsn, everyState, her, herOne, states)
	execute(t, dsn, `UPDATE publishes SET blanked_at = now(), request = NULL, request_sha256 = NULL, content_sha256 = NULL`)
	execute(t, dsn, `INSERT INTO account_lanes (account_id, draining, draining_at, drained_at) VALUES ($1, 'secret', now(), now()), ($2, 'told later', now(), NULL)`, herOne, herTwo)
	if _, err := migrations.Apply(t.Context(), dsn, nil); err != nil {
		t.Fatal(err)
	}
	if n := telling(t, dsn); n[0] != 0 {
		t.Errorf("%d publishes tell of her still", n[0])
	}
	if got := value[string](t, dsn, `SELECT string_agg(convert_from(draining, 'UTF8'), ',') FROM account_lanes`); got != "told later" {
		t.Errorf("lanes keep %q", got)
	}
}
