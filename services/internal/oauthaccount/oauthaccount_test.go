package oauthaccount_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/oauthaccount"
	"postbus.dev/services/internal/secret"
	"postbus.dev/services/internal/secret/secrettest"
)

const token = "IGQVJ-a-token"

func full(user uuid.UUID) oauthaccount.New {
	return oauthaccount.New{
		UserID: user, Provider: "instagram", ProviderAccountID: "1784", Username: "flo",
		AccessToken: connectors.NewSecret(token), RefreshToken: connectors.NewSecret("refresh"), TokenType: "Bearer",
		Scope: "basic publish", ExpiresAt: time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC),
		RefreshExpiresAt: time.Date(2028, 1, 2, 3, 4, 5, 0, time.UTC), RefreshAfter: time.Date(2026, 12, 2, 3, 4, 5, 0, time.UTC),
		Metadata: json.RawMessage(`{"app": 1}`),
	}
}

func TestAnAccountIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := full(b.user)
	id := b.connect(n).Account.ID
	a := b.get(id)
	if a.ID != id || a.UserID != b.user || a.UserExternalID != "user-1" || a.Provider != n.Provider || a.ProviderAccountID != n.ProviderAccountID ||
		a.Username != n.Username || a.TokenType != n.TokenType || a.Scope != n.Scope || !a.ExpiresAt.Equal(n.ExpiresAt) ||
		string(a.Metadata) != string(n.Metadata) || a.Status != oauthaccount.Active || a.TokenVersion != 1 || a.Version != 1 {
		t.Errorf("read %+v", a)
	}
	c, err := a.Open()
	if err != nil {
		t.Fatal(err)
	}
	if c.AccessToken.Reveal() != token || c.ID != id.String() || c.UserID != b.user.String() || c.Provider != n.Provider ||
		c.ProviderAccountID != n.ProviderAccountID || c.Username != n.Username || c.TokenType != n.TokenType || c.Scope != n.Scope ||
		!c.ExpiresAt.Equal(n.ExpiresAt) || c.TokenVersion != 1 || string(c.Metadata) != string(n.Metadata) {
		t.Errorf("opened %+v", c)
	}
	var refreshExpires, refreshAfter time.Time
	if err := b.pool.QueryRow(t.Context(), `SELECT refresh_expires_at, refresh_after FROM oauth_accounts`).Scan(&refreshExpires, &refreshAfter); err != nil {
		t.Fatal(err)
	}
	if !refreshExpires.Equal(n.RefreshExpiresAt) || !refreshAfter.Equal(n.RefreshAfter) {
		t.Errorf("refresh token expires %v, is due %v", refreshExpires, refreshAfter)
	}
}

func TestWhatAProviderDoesNotTellIsNull(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.account(b.user, "reddit", "t2_x")
	if !query[bool](b, `SELECT refresh_token IS NULL AND expires_at IS NULL AND refresh_expires_at IS NULL AND refresh_after IS NULL
		AND token_type = 'bearer' AND metadata = '{}' FROM oauth_accounts`) {
		t.Error("something else was written")
	}
	if a := b.get(id); !a.ExpiresAt.IsZero() {
		t.Errorf("expires %v", a.ExpiresAt)
	}
}

func TestTokensAreSealedInTheDatabaseForTheirColumn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.connect(full(b.user))
	row := query[string](b, `SELECT a::text FROM oauth_accounts a`)
	for _, plain := range []string{token, fmt.Sprintf("%x", token), "refresh,", fmt.Sprintf("%x", "refresh")} {
		if strings.Contains(row, plain) {
			t.Errorf("the row shows %q", plain)
		}
	}
	sealed := query[[]byte](b, `SELECT refresh_token FROM oauth_accounts`)
	got, err := b.sealer.Open(sealed, secret.AD{Table: "oauth_accounts", Column: "refresh_token", Provider: "instagram", ProviderAccountID: "1784"})
	if err != nil || got.Reveal() != "refresh" {
		t.Errorf("the refresh token: %v", err)
	}
}

func TestATokenThatWasMovedDoesNotOpen(t *testing.T) {
	t.Parallel()
	b := setup(t)
	mine, other := b.account(b.user, "instagram", "1"), b.account(b.newUser("user-2"), "instagram", "2")
	b.exec(`UPDATE oauth_accounts SET access_token = (SELECT access_token FROM oauth_accounts WHERE id = $1) WHERE id = $2`, other, mine)
	c, err := b.get(mine).Open()
	if !errors.Is(err, secret.ErrNotOpened) || !c.AccessToken.Empty() {
		t.Errorf("opened the token of another account: %v", err)
	}
	if _, err := b.get(other).Open(); err != nil {
		t.Errorf("the other one: %v", err)
	}
}

func TestOneAccountThatDoesNotOpenDoesNotHideTheOthers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	good, bad := b.account(b.user, "instagram", "1"), b.account(b.user, "instagram", "2")
	b.exec(`UPDATE oauth_accounts SET access_token = 'rubbish' WHERE id = $1`, bad)
	m, err := b.store.Get(t.Context(), [][16]byte{good, bad})
	if err != nil || len(m) != 2 {
		t.Fatalf("%d accounts, %v", len(m), err)
	}
	if c, err := m[good].Open(); err != nil || c.AccessToken.Reveal() != "token-of-1" {
		t.Errorf("the good one: %v", err)
	}
	if _, err := m[bad].Open(); !errors.Is(err, secret.ErrNotOpened) {
		t.Errorf("the bad one: %v", err)
	}
}

func TestAShreddedAccountOpensWithoutToken(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.account(b.user, "instagram", "1")
	b.exec(`UPDATE oauth_accounts SET status = 'disconnected', access_token = NULL, refresh_token = NULL`)
	a := b.get(id)
	if a.Status != oauthaccount.Disconnected || a.Status.Connected() {
		t.Errorf("status %s", a.Status)
	}
	if c, err := a.Open(); err != nil || !c.AccessToken.Empty() || c.ID != id.String() {
		t.Errorf("opened %+v, %v", c, err)
	}
}

func TestAnAccountPrintsNeitherTokenNorCiphertext(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.get(b.connect(full(b.user)).Account.ID)
	sealed := query[[]byte](b, `SELECT access_token FROM oauth_accounts`)
	opened, err := a.Open()
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []any{a, &a, []oauthaccount.Account{a}, opened, full(b.user)} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%x", "%s"} {
			out := fmt.Sprintf(verb, v)
			for _, leak := range []string{token, fmt.Sprintf("%x", token), fmt.Sprintf("%x", sealed[5:]), strings.Trim(fmt.Sprintf("%d", sealed[5:]), "[]")} {
				if strings.Contains(out, leak) {
					t.Errorf("%s of %T: %s", verb, v, out)
				}
			}
		}
		if out, err := json.Marshal(v); err != nil || bytes.Contains(out, []byte(token)) {
			t.Errorf("JSON of %T: %s %v", v, out, err)
		}
	}
}

func TestOnlyAccountsThatExistAreRead(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.account(b.user, "instagram", "1")
	m, err := b.store.Get(t.Context(), [][16]byte{uuid.New(), id, uuid.New(), id})
	if err != nil || len(m) != 1 || m[id].ID != id {
		t.Errorf("read %v, %v", m, err)
	}
	if m, err := b.store.Get(t.Context(), nil); err != nil || len(m) != 0 {
		t.Errorf("of none: %v, %v", m, err)
	}
}

func TestAStoreNeedsItsParts(t *testing.T) {
	t.Parallel()
	if _, err := oauthaccount.NewStore(oauthaccount.StoreConfig{Sealer: secrettest.NewSealer(t)}); err == nil {
		t.Error("made without a database")
	}
	b := setup(t)
	if _, err := oauthaccount.NewStore(oauthaccount.StoreConfig{Pool: b.pool}); err == nil {
		t.Error("made without a sealer")
	}
}

func TestADatabaseThatIsAwayIsAnError(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.store.Get(ctx, [][16]byte{uuid.New()}); !errors.Is(err, context.Canceled) {
		t.Errorf("Get: %v", err)
	}
	if _, err := b.store.Resolve(ctx, []oauthaccount.Target{{AccountID: uuid.New()}}); !errors.Is(err, context.Canceled) {
		t.Errorf("Resolve: %v", err)
	}
}

// sealedBy is how everything begins that the store's key seals.
func (b bundle) sealedBy() []byte { return b.sealer.Prefix() }

func TestNoTokenIsStoredThatARetiredKeySealed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	other := []byte{1, 2, 3, 4, 5}
	left, err := b.store.Retire(t.Context(), b.sealedBy(), [][]byte{other})
	if left != 0 || err != nil {
		t.Fatalf("%d left, %v", left, err)
	}
	id := b.account(b.user, "instagram", "1")
	if left, err := b.store.Retire(t.Context(), other, [][]byte{b.sealedBy()}); left != 1 || err != nil {
		t.Errorf("%d left, %v", left, err)
	}
	b.account(b.user, "instagram", "2") // nothing was retired with one left
	for column := range map[string]bool{"access_token": true, "refresh_token": true} {
		_, err := b.pool.Exec(t.Context(), `UPDATE oauth_accounts SET `+column+` = $2::bytea || 'sealed' WHERE id = $1`, id, other)
		if err == nil || !strings.Contains(err.Error(), "taken out of the keyset") {
			t.Errorf("%s: %v", column, err)
		}
	}
	b.disconnected(id)
}

// What it seals was not there yet when a prune counted.
func TestKeysAreRetiredAfterWhoeverIsWriting(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := t.Context()
	tx, err := b.pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	if _, err := tx.Exec(ctx, `INSERT INTO oauth_accounts (id, user_id, provider, provider_account_id, access_token) VALUES (gen_random_uuid(), $1, 'instagram', '1', $2)`,
		b.user, append(b.sealedBy(), "sealed"...)); err != nil {
		t.Fatal(err)
	}
	left := make(chan int, 1)
	go func() {
		n, err := b.store.Retire(ctx, []byte{1, 2, 3, 4, 5}, [][]byte{b.sealedBy()})
		if err != nil {
			t.Error(err)
		}
		left <- n
	}()
	for !query[bool](b, `SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'oauth_accounts'::regclass AND mode = 'ShareLock' AND NOT granted)`) {
		time.Sleep(5 * time.Millisecond)
		if len(left) > 0 || ctx.Err() != nil {
			t.Fatal("it did not wait")
		}
	}
	if err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	if n := <-left; n != 1 {
		t.Errorf("%d left", n)
	}
}
