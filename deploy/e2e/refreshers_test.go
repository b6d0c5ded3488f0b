package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"postbus.dev/deploy/e2e/world"
	"postbus.dev/events"
	"postbus.dev/services/connectors/sandbox"
	"postbus.dev/services/connectors/sandbox/stage"
)

// killsVariable says how many refreshers are killed, one a second; 60 is a minute.
const killsVariable = "POSTBUS_E2E_KILLS"

// fleet is refreshers over the accounts of a provider that rotates: one that ends
// a grant when a refresh token is spent twice, so that a race shows.
type fleet struct {
	*world.World
	c     world.ProcessConfig
	all   []*world.Process
	asked int
}

func TestKilledRefreshersLoseNoAccountThatTheProviderDidNotDoom(t *testing.T) {
	t.Parallel()
	f := fleet{World: world.New(t, world.Config{Provider: "tiktok", Accounts: 40, Factor: 0.1}), c: world.ProcessConfig{Lease: time.Second}}
	if err := f.Sandbox.AddClient(sandbox.LocalClient("tiktok", f.PublicURL)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		f.all = append(f.all, f.Refresher(f.c))
	}
	for _, p := range f.all {
		p.API()
	}
	kills := 4
	if n, err := strconv.Atoi(os.Getenv(killsVariable)); err == nil {
		kills = n
	}
	for n := range kills {
		f.second()
		f.all[n%len(f.all)].Kill()
		f.all[n%len(f.all)] = f.Refresher(f.c)
	}
	f.rest()
	f.judge()
}

// second asks for all accounts to be refreshed, again and again.
func (f *fleet) second() {
	f.T.Helper()
	for until := time.Now().Add(time.Second); time.Now().Before(until); time.Sleep(200 * time.Millisecond) {
		f.ask()
	}
}

func (f *fleet) ask() {
	f.T.Helper()
	f.asked++
	for i := range f.Accounts {
		f.Ask(i, fmt.Sprintf("%d/%d", i, f.asked))
	}
}

// holds is an account as it stands.
type holds struct {
	status  string
	version int64
}

func (f *fleet) accounts() map[string]holds {
	f.T.Helper()
	rows, err := f.Pool.Query(context.Background(), `SELECT id::text, status, token_version FROM oauth_accounts`)
	if err != nil {
		f.T.Fatal(err)
	}
	defer rows.Close()
	out := map[string]holds{}
	for rows.Next() {
		var id string
		var h holds
		if err := rows.Scan(&id, &h.status, &h.version); err != nil {
			f.T.Fatal(err)
		}
		out[id] = h
	}
	return out
}

// rest waits until each account has shown, after the last kill, what became of it:
// it is refreshed once more, or it must be reconnected.
func (f *fleet) rest() {
	f.T.Helper()
	before := f.accounts()
	var open []string
	for deadline := time.Now().Add(90 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		f.ask()
		open = nil
		for id, now := range f.accounts() {
			if now.status == "active" && now.version == before[id].version {
				open = append(open, fmt.Sprintf("%s %+v", id, now))
			}
		}
		if len(open) == 0 {
			return
		}
		if time.Now().After(deadline) {
			f.T.Fatalf("%d accounts are neither refreshed nor to be reconnected:\n%s", len(open), strings.Join(open, "\n"))
		}
	}
}

// judge holds what we say of each account against what the provider did.
func (f *fleet) judge() {
	f.T.Helper()
	lost, doomed, refreshed := f.lost(), f.spentTwice(), int64(0)
	now := f.accounts()
	for i, id := range f.Accounts {
		at := f.Provider[i].ID
		refreshed += now[id].version - 1
		switch dead := now[id].status == "reauth_required"; {
		case dead != doomed[at]:
			f.T.Errorf("account %s is %s, and doomed by the provider: %v", id, now[id].status, doomed[at])
		case dead != (lost[id] == 1) || lost[id] > 1:
			f.T.Errorf("account %s is %s, and was told to be lost %d times", id, now[id].status, lost[id])
		}
		f.repeats(at, doomed[at])
	}
	f.T.Logf("%d refreshes, %d accounts lost with an answer", refreshed, len(lost))
	if refreshed < int64(2*len(f.Accounts)) {
		f.T.Errorf("only %d refreshes of %d accounts", refreshed, len(f.Accounts))
	}
}

// lost counts how often each account was told to be lost with an answer.
func (f *fleet) lost() map[string]int {
	f.T.Helper()
	out := map[string]int{}
	for _, e := range f.History(events.StreamAccount) {
		var d events.AccountReauthRequired
		if e.Type() != d.EventType() {
			continue
		}
		if err := json.Unmarshal(e.Data(), &d); err != nil || !strings.Contains(d.Detail, "answer to a refresh was lost") {
			f.T.Errorf("account %s was told to be lost for another reason: %+v (%v)", e.Subject(), d, err)
		}
		out[e.Subject()]++
	}
	return out
}

// spentTwice are the provider's accounts of which a refresh token came twice.
func (f *fleet) spentTwice() map[string]bool {
	f.T.Helper()
	out := map[string]bool{}
	for _, t := range f.Sandbox.Tokens(stage.TokenFilter{Provider: "tiktok", Kind: "refresh"}) {
		if t.Spent > 2 {
			f.T.Errorf("a token of %s was spent %d times", t.Account, t.Spent)
		}
		out[t.Account] = out[t.Account] || t.Spent > 1
	}
	return out
}

// repeats looks at when an account's tokens were spent: of one that is doomed the
// call that the provider refused came when the one before it was quiet; of any
// other one none was refused.
func (f *fleet) repeats(at string, doomed bool) {
	f.T.Helper()
	calls := f.Sandbox.Calls(stage.CallFilter{Provider: "tiktok", Name: "token_refresh", Account: at})
	refused := slices.IndexFunc(calls, func(c stage.Call) bool { return c.Code != "" })
	if doomed != (refused > 0) {
		f.T.Errorf("doomed: %v, and call %d of %d for %s was refused", doomed, refused, len(calls), at)
		return
	}
	settle := time.Duration(float64(90*time.Second) * f.Config.Factor) // of TikTok's connector
	if !doomed {
		return
	}
	if apart := calls[refused].Time.Sub(calls[refused-1].Time); apart < settle {
		f.T.Errorf("a token of %s was spent again after %v, want %v at least", at, apart, settle)
	}
}
