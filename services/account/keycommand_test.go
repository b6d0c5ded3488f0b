package account_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"postbus.dev/deploy/testbed"
	"postbus.dev/migrations"
	"postbus.dev/services/account"
	"postbus.dev/services/internal/postgres/postgrestest"
	"postbus.dev/services/internal/tenant"
)

// keyCommand runs "account key" with a database.
func keyCommand(ctx context.Context, dsn string, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	getenv := func(name string) string { return map[string]string{"DATABASE_URL": dsn}[name] }
	code = account.KeyCommand(ctx, args, getenv, &out, &errs)
	return code, out.String(), errs.String()
}

func TestTheFirstKeyIsMadeOnTheCommandLine(t *testing.T) {
	t.Parallel()
	dsn := testbed.As(testbed.Database(t), migrations.RoleAccount)
	code, stdout, stderr := keyCommand(t.Context(), dsn, "create", "--user", "demo", "--name", "first", "--scopes", "publish, accounts", "--expires", "720h")
	value := strings.TrimSpace(stdout)
	if code != 0 || !strings.HasPrefix(value, "pb_") || strings.Contains(stderr, value) || !strings.Contains(stderr, `user "demo"`) {
		t.Fatalf("%d, %q, %q", code, stdout, stderr)
	}
	keys, err := tenant.New(tenant.Config{Pool: postgrestest.Open(t, dsn)})
	if err != nil {
		t.Fatal(err)
	}
	c, err := keys.Authenticate(t.Context(), value)
	if err != nil || c.ExternalID != "demo" || len(c.Scopes) != 2 || !c.May(tenant.ScopePublish) || !c.May(tenant.ScopeAccounts) {
		t.Errorf("%+v, %v", c, err)
	}
	if in := time.Until(c.ExpiresAt); in < 719*time.Hour || in > 720*time.Hour {
		t.Errorf("expires in %v", in)
	}
	if code, _, stderr := keyCommand(t.Context(), dsn, "create", "--user", "demo", "--name", "second", "--scopes", "admin"); code != 0 || !strings.Contains(stderr, "for ever") {
		t.Errorf("a second one: %d, %q", code, stderr)
	}
	if _, err := keys.BeginDeletion(t.Context(), c.UserID); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr = keyCommand(t.Context(), dsn, "create", "--user", "demo", "--name", "late", "--scopes", "admin")
	if code != 1 || stdout != "" || !strings.Contains(stderr, "being deleted") {
		t.Errorf("for a user who is being deleted: %d, %q, %q", code, stdout, stderr)
	}
}

func TestAKeyCommandSaysEverythingThatIsWrongWithIt(t *testing.T) {
	t.Parallel()
	good := []string{"create", "--user", "demo", "--name", "n", "--scopes", "publish"}
	for args, wants := range map[string][]string{
		"":       {`"create"`},
		"revoke": {`"create"`},
		"create": {"--user must", "--name is missing", "--scopes is missing: [publish on_behalf accounts admin]", "DATABASE_URL"},
		strings.Join(append(good, "--expires", "0s"), " "):                     {"--expires", "DATABASE_URL"},
		strings.Join(append(good, "--expires", "soon"), " "):                   {"expires"},
		strings.Join(append(good, "--scope", "x"), " "):                        {"-scope"},
		strings.Join(append(good, "more"), " "):                                {`"more"`},
		strings.Replace(strings.Join(good, " "), "publish", "publish,root", 1): {`"root"`},
	} {
		code, stdout, stderr := keyCommand(t.Context(), "", strings.Fields(args)...)
		if code != 2 || stdout != "" {
			t.Errorf("%s: %d, %q", args, code, stdout)
		}
		for _, want := range wants {
			if !strings.Contains(stderr, want) {
				t.Errorf("%s: no %q in %q", args, want, stderr)
			}
		}
	}
	for _, help := range []string{"--help", "-h", "help", "create --help"} {
		if code, stdout, stderr := keyCommand(t.Context(), "", strings.Fields(help)...); code != 0 || !strings.Contains(stdout, "--scopes") || stderr != "" {
			t.Errorf("%s: %d, %q, %q", help, code, stdout, stderr)
		}
	}
}

func TestAKeyCommandWithoutADatabaseFails(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := keyCommand(t.Context(), "postgres://u:hunter2@127.0.0.1:1/x", "create", "--user", "demo", "--name", "n", "--scopes", "publish")
	if code != 1 || stdout != "" || stderr == "" || strings.Contains(stderr, "hunter2") {
		t.Errorf("%d, %q, %q", code, stdout, stderr)
	}
}

func TestTheDocumentHasEveryOperationAndNeedsNoDatabase(t *testing.T) {
	t.Parallel()
	doc, err := account.OpenAPI()
	again, err2 := account.OpenAPI()
	if err != nil || err2 != nil || !bytes.Equal(doc, again) {
		t.Fatalf("%v, %v, %d bytes and %d", err, err2, len(doc), len(again))
	}
	for _, path := range []string{
		"/api/connect/{provider}", "/api/connect/{provider}/callback", "/api/connect/{provider}/links",
		"/api/accounts", "/api/accounts/{id}", "/api/accounts/import", "/api/accounts/{id}/refresh", "/api/accounts/{id}/disconnect",
		"/api/users", "/api/users/{id}", "/api/keys", "/api/keys/{id}",
		"/api/callbacks/{provider}/{kind}", "/api/callbacks/{provider}/webhook", "/api/callbacks/{provider}/deletions/{code}",
	} {
		if !bytes.Contains(doc, []byte(`"`+path+`": {`)) {
			t.Errorf("no %s", path)
		}
	}
}
