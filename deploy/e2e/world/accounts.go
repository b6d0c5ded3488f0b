package world

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"postbus.dev/events"
	"postbus.dev/services/account"
	"postbus.dev/services/connectors"
	"postbus.dev/services/connectors/sandbox/stage"
)

// Exec changes the database, as an operator would.
func (w *World) Exec(sql string, args ...any) {
	w.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if _, err := w.Pool.Exec(ctx, sql, args...); err != nil {
		w.T.Fatalf("%s: %v", sql, err)
	}
}

// SetStatus gives account i another status.
func (w *World) SetStatus(i int, status string) {
	w.T.Helper()
	more := map[string]string{
		"disconnecting": `, disconnect_reason = 'requested', disconnecting_at = now(), disconnect_next_at = now() + interval '1 hour'`,
		"disconnected":  `, access_token = NULL, refresh_token = NULL, disconnect_next_at = NULL`,
	}
	w.Exec(`UPDATE oauth_accounts SET status = $2, version = version + 1`+more[status]+` WHERE id = $1`, w.Accounts[i], status)
}

// Disconnect begins to disconnect account i, as the account service does.
func (w *World) Disconnect(i int) {
	w.T.Helper()
	w.SetStatus(i, "disconnecting")
	w.TellOf(i, "1", events.AccountDisconnecting{
		AccountOwner: events.AccountOwner{AccountRef: w.ref(i), UserID: "demo"}, Reason: events.DisconnectRequested,
	})
}

// Reconnect connects account i again once it is disconnected, as the account
// service does.
func (w *World) Reconnect(i int) {
	w.T.Helper()
	w.SetStatus(i, "disconnected")
	w.NewToken(i, true)
	w.TellOf(i, "1", events.AccountConnected{
		AccountOwner: events.AccountOwner{AccountRef: w.ref(i), UserID: "demo"}, ProviderAccountID: w.Provider[i].ID, Reconnected: true,
	})
}

func (w *World) ref(i int) events.AccountRef {
	return events.AccountRef{AccountID: w.Accounts[i], Provider: w.Provider[i].Provider}
}

// TellOf sends an event of account i in the version in which it stands. Another
// nonce makes it another event that says the same.
func (w *World) TellOf(i int, nonce string, d events.Data) {
	w.T.Helper()
	var version int64
	if err := w.Pool.QueryRow(context.Background(), `SELECT version FROM oauth_accounts WHERE id = $1`, w.Accounts[i]).Scan(&version); err != nil {
		w.T.Fatal(err)
	}
	w.tell(events.Meta{
		ID: fmt.Sprintf("%s/%s/%d/%s", d.EventType(), w.Accounts[i], version, nonce), Source: "/postbus/account",
		Subject: w.Accounts[i], PartitionKey: w.Accounts[i], Sequence: version,
	}, d)
}

// NewToken gives account i another token, as a refresh or a reconnect does. One
// that does not work is refused like the one before.
func (w *World) NewToken(i int, works bool) {
	w.T.Helper()
	p := w.Provider[i]
	token, err := w.Sandbox.IssueToken(stage.TokenFilter{Provider: p.Provider, Account: p.ID}, 60*24*time.Hour)
	if err != nil {
		w.T.Fatal(err)
	}
	if !works {
		w.Sandbox.RevokeTokens(stage.TokenFilter{Provider: p.Provider, Token: token}, stage.Dead{Code: 190, Subcode: 467})
	}
	w.seedAs("demo", "api-key", account.SeedAccount{
		Provider: p.Provider, ProviderAccountID: p.ID, Username: p.Username, AccessToken: connectors.NewSecret(token),
	})
}

// User adds a user with an account of its own, and returns that account's id.
func (w *World) User(externalID string) string {
	w.T.Helper()
	made, err := w.Sandbox.AddAccounts(stage.Account{Provider: "instagram", Username: externalID, QuotaTotal: -1}, 0)
	if err != nil {
		w.T.Fatal(err)
	}
	return w.seedAs(externalID, "api-key-"+externalID, account.SeedAccount{
		Provider: made[0].Provider, ProviderAccountID: made[0].ID, Username: externalID, AccessToken: connectors.NewSecret(made[0].Token),
	})
}

func (w *World) seedAs(user, keyFile string, a account.SeedAccount) string {
	w.T.Helper()
	seeded, err := account.Ensure(context.Background(), account.Seed{
		DatabaseURL: w.DSN, KeysetPath: w.Keyset(), KeyPath: filepath.Join(w.Dir, keyFile), ExternalID: user, Accounts: []account.SeedAccount{a},
	})
	if err != nil {
		w.T.Fatalf("seed account: %v", err)
	}
	return seeded.AccountIDs[0]
}

// Pause closes a gate for account i until Resume, as the README says.
func (w *World) Pause(i int) {
	w.T.Helper()
	w.Exec(`INSERT INTO gates (scope, key, reason, until) VALUES ('account', $1, 'paused', 'infinity')`, w.Accounts[i])
}

// Resume opens it.
func (w *World) Resume(i int) {
	w.T.Helper()
	w.Exec(`DELETE FROM gates WHERE scope = 'account' AND key = $1 AND reason = 'paused'`, w.Accounts[i])
}

// Fault switches a fault on for account i alone.
func (w *World) Fault(i int, f stage.Fault) stage.Fault {
	w.T.Helper()
	f.Provider, f.Account = w.Provider[i].Provider, w.Provider[i].ID
	set, err := w.Sandbox.SetFault(f)
	if err != nil {
		w.T.Fatalf("set fault %s: %v", f.Switch, err)
	}
	return set
}

// Hits tells how often each fault has hit and how many calls it holds now.
func (w *World) Hits() map[int64]stage.Fault {
	out := map[int64]stage.Fault{}
	for _, f := range w.Sandbox.Faults() {
		out[f.ID] = f
	}
	return out
}

// Ask asks for new tokens of account i, whichever it has, as an operator does. Each
// nonce is another event.
func (w *World) Ask(i int, nonce string) {
	w.T.Helper()
	w.tell(events.Meta{ID: "ask/" + nonce, Source: Source, Subject: w.Accounts[i]}, events.TokenRefreshRequested{
		AccountID: w.Accounts[i], Provider: w.Provider[i].Provider, Reason: "asked for by a test",
	})
}
