package account_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"postbus.dev/deploy/testbed"
	"postbus.dev/migrations"
	"postbus.dev/services/account"
	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/oauthaccount"
	"postbus.dev/services/internal/postgres/postgrestest"
	"postbus.dev/services/internal/secret"
	"postbus.dev/services/internal/tenant"
)

// vaultBundle is a database with accounts whose tokens a keyset file seals.
type vaultBundle struct {
	*testing.T
	dsn, path string
	store     *oauthaccount.Store
	user      uuid.UUID
	ids       [][16]byte
}

func (b *vaultBundle) run(command string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	env := map[string]string{"DATABASE_URL": b.dsn, "POSTBUS_KEYSET": b.path}
	code = account.KeysetCommand(b.Context(), strings.Fields(command), func(name string) string { return env[name] }, &out, &errs)
	return code, out.String(), errs.String()
}

func (b *vaultBundle) must(command string) string {
	b.Helper()
	code, stdout, stderr := b.run(command)
	if code != 0 || stderr != "" {
		b.Fatalf("%s: %d %s", command, code, stderr)
	}
	return stdout
}

// connect adds an account; every second one has a refresh token.
func (b *vaultBundle) connect(i int) {
	b.Helper()
	n := oauthaccount.New{UserID: b.user, Provider: "instagram", ProviderAccountID: fmt.Sprint("1784", i), AccessToken: connectors.NewSecret(fmt.Sprint("token-", i))}
	if i%2 == 0 {
		n.RefreshToken = connectors.NewSecret(fmt.Sprint("refresh-", i))
	}
	c, err := b.store.Connect(b.Context(), n)
	if err != nil {
		b.Fatal(err)
	}
	b.ids = append(b.ids, c.Account.ID)
}

func setupVault(t *testing.T, accounts int) *vaultBundle {
	t.Helper()
	b := &vaultBundle{T: t, dsn: testbed.Database(t), path: filepath.Join(t.TempDir(), "keyset.json")}
	b.must("new")
	pool := postgrestest.Open(t, b.dsn)
	sealer, err := secret.LoadSealer(secret.Keyset{Path: b.path})
	if err != nil {
		t.Fatal(err)
	}
	if b.store, err = oauthaccount.NewStore(oauthaccount.StoreConfig{Pool: pool, Sealer: sealer, Service: "account"}); err != nil {
		t.Fatal(err)
	}
	keys, err := tenant.New(tenant.Config{Pool: pool})
	if err != nil {
		t.Fatal(err)
	}
	user, err := keys.CreateUser(t.Context(), "demo")
	if err != nil {
		t.Fatal(err)
	}
	b.user = user.ID
	for i := range accounts {
		b.connect(i)
	}
	return b
}

func TestKeysAreRotatedWhileAServiceRuns(t *testing.T) {
	t.Parallel()
	const n = 7
	b := setupVault(t, n)
	b.must("rotate")
	b.connect(n) // a service that has not looked at the file yet seals with the old key
	if code, _, stderr := b.run("prune"); code != 1 || !strings.Contains(stderr, "reseal first") {
		t.Errorf("pruned what still seals: %d %s", code, stderr)
	}
	if out := b.must("reseal"); !strings.Contains(out, fmt.Sprintf("%d accounts sealed anew", n+1)) || !strings.Contains(out, "nothing is left") {
		t.Error(out)
	}
	if out := b.must("prune"); !strings.Contains(out, "removed 1 keys") {
		t.Error(out)
	}
	accounts, err := b.store.Get(t.Context(), b.ids)
	if err != nil || len(accounts) != n+1 {
		t.Fatalf("%d accounts, %v", len(accounts), err)
	}
	for i, id := range b.ids {
		a, err := accounts[id].Open()
		if err != nil || a.AccessToken.Reveal() != fmt.Sprint("token-", i) || accounts[id].Version != 1 {
			t.Errorf("account %d: %v, version %d", i, err, accounts[id].Version)
		}
	}
}

// It has a copy of the file, which goes: that is how any file looks that cannot be
// read.
func TestAServiceThatReadsTheKeysetNoMoreLosesNoTokenToAPrune(t *testing.T) {
	t.Parallel()
	b := setupVault(t, 1)
	copied := filepath.Join(t.TempDir(), "copy.json")
	body, err := os.ReadFile(b.path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(copied, body, 0o600); err != nil {
		t.Fatal(err)
	}
	sealer, err := secret.LoadSealer(secret.Keyset{Path: copied})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(copied); err != nil {
		t.Fatal(err)
	}
	blind, err := oauthaccount.NewStore(oauthaccount.StoreConfig{Pool: postgrestest.Open(t, testbed.As(b.dsn, migrations.RoleAccount)), Sealer: sealer, Service: "account"})
	if err != nil {
		t.Fatal(err)
	}
	seeing := b.store
	b.must("rotate")
	b.must("reseal")
	b.store = blind
	b.connect(1) // with the old key, after it was seen that nothing of it is left
	if code, _, stderr := b.run("prune"); code != 1 || !strings.Contains(stderr, "1 accounts") {
		t.Errorf("pruned what sealed since: %d %s", code, stderr)
	}
	b.must("reseal")
	b.must("prune")
	for id := range 2 { // a new account, and one that is there
		_, err := blind.Connect(t.Context(), oauthaccount.New{UserID: b.user, Provider: "instagram", ProviderAccountID: fmt.Sprint("1784", 1+id), AccessToken: connectors.NewSecret("new")})
		if err == nil || !strings.Contains(err.Error(), "POSTBUS_KEYSET") {
			t.Errorf("a token was stored that no key opens: %v", err)
		}
	}
	b.store = seeing
	b.connect(2)
	accounts, err := b.store.Get(t.Context(), b.ids)
	if err != nil || len(accounts) != 3 {
		t.Fatalf("%d accounts, %v", len(accounts), err)
	}
	for _, a := range accounts {
		if _, err := a.Open(); err != nil {
			t.Error(err)
		}
	}
}

func TestTokensThatNoKeyOpensAreNamed(t *testing.T) {
	t.Parallel()
	b := setupVault(t, 3)
	other := filepath.Join(t.TempDir(), "other.json")
	b.path = other
	b.must("new")
	code, _, stderr := b.run("reseal")
	if code != 1 || !strings.Contains(stderr, "tokens of 3 accounts") || strings.Contains(stderr, "token-") {
		t.Errorf("%d %s", code, stderr)
	}
}

func TestAKeysetIsMadeOnlyWhereNoneIs(t *testing.T) {
	t.Parallel()
	b := &vaultBundle{T: t, path: filepath.Join(t.TempDir(), "keyset.json")}
	if out := b.must("ensure"); out != "made "+b.path+" with one key\n" {
		t.Error(out)
	}
	first, err := os.ReadFile(b.path)
	if err != nil {
		t.Fatal(err)
	}
	if out := b.must("ensure"); out != b.path+" is there\n" {
		t.Error(out)
	}
	if again, err := os.ReadFile(b.path); err != nil || !bytes.Equal(again, first) {
		t.Errorf("it is another one now: %v", err)
	}
	if err := os.WriteFile(b.path, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := b.run("ensure"); code != 1 || !strings.Contains(stderr, "is not a Tink keyset") {
		t.Errorf("what is no keyset was taken for one: %d %s", code, stderr)
	}
}

func TestAKeysetCommandSaysWhatIsWrongWithIt(t *testing.T) {
	t.Parallel()
	none := func(string) string { return "" }
	for args, wants := range map[string][]string{
		"":           {"one command is needed", "POSTBUS_KEYSET"},
		"shred":      {"one command is needed"},
		"new please": {"one command is needed"},
		"reseal":     {"POSTBUS_KEYSET", "DATABASE_URL"},
	} {
		var out, errs bytes.Buffer
		if code := account.KeysetCommand(t.Context(), strings.Fields(args), none, &out, &errs); code != 2 {
			t.Errorf("%q: exit code %d", args, code)
		}
		for _, want := range wants {
			if !strings.Contains(errs.String(), want) {
				t.Errorf("%q: no %q in %s", args, want, &errs)
			}
		}
	}
	b := setupVault(t, 0)
	if code, _, stderr := b.run("new"); code != 1 || !strings.Contains(stderr, "exists") {
		t.Errorf("a keyset was replaced: %d %s", code, stderr)
	}
	var out, errs bytes.Buffer
	if code := account.KeysetCommand(t.Context(), []string{"--help"}, none, &out, &errs); code != 0 || !strings.Contains(out.String(), "rotate") {
		t.Error("no help")
	}
}
