package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"postbus.dev/deploy/e2e/world"
	"postbus.dev/deploy/visitor"
	"postbus.dev/events"
	"postbus.dev/services/connectors/sandbox/stage"
)

// ends is a world whose tokens end, with one process of each service. Nothing
// looks again by itself: what goes on was told to.
type ends struct {
	*world.World
	d     *world.Door
	spans *collector
}

func TestTokensThatEndAreReplacedAndGrantsThatEndWaitForAPerson(t *testing.T) {
	t.Parallel()
	e := ends{World: world.New(t, world.Config{Accounts: 2, Factor: 0.04}), spans: collect(t)}
	c := world.ProcessConfig{Recheck: time.Hour, Env: e.spans.env()}
	e.d = e.Open(1, 1, c)
	e.Refresher(c)
	e.expired(0)
	e.revoked(1)
	e.Check(8)
}

// expired ends an account's token after the container of its first post was
// made, while others wait behind it.
func (e ends) expired(account int) {
	e.T.Helper()
	hold := e.Fault(account, stage.Fault{Switch: "hold_after", Call: "container_create", Count: 1})
	ids := []fmt.Stringer{e.Request("held", world.Video(e.Accounts[account], "held"))}
	e.Eventually(30*time.Second, "a container is made", func() bool { return e.Hits()[hold.ID].Waiting > 0 })
	if n := e.Sandbox.ExpireTokens(stage.TokenFilter{Provider: "instagram", Account: e.Provider[account].ID}, true); n != 1 {
		e.T.Errorf("%d tokens expired", n)
	}
	for i := range 4 {
		name := fmt.Sprintf("behind-%d", i)
		ids = append(ids, e.Request(name, world.Image(e.Accounts[account], name)))
	}
	e.Sandbox.ClearFault(hold.ID)
	for _, id := range ids {
		e.Await(60*time.Second, id, "completed", completed)
	}
	if got := e.Told()[ids[0].String()].Delays(); !slices.Equal(got, []string{"token"}) {
		e.T.Errorf("the first one was delayed by %v", got)
	}
	e.ExpectAccountEvents(e.Accounts[account], events.TypeAccountConnected, events.TypeTokenRefreshRequested, events.TypeTokenRefreshed)
	if n := e.answered(account, "token_refresh"); n != 1 {
		e.T.Errorf("refreshed %d times", n)
	}
	if n := e.answered(account, "container_create"); n != len(ids) {
		e.T.Errorf("%d containers for %d posts", n, len(ids))
	}
	e.shows(e.traceOf(e.asker(account)), "publisher prepare instagram: error", "token-refresher process token.refresh_requested",
		"token-refresher refresh instagram", "publisher process token.refreshed", "publisher send publish.completed")
}

// asker is the publish that asked for the refresh of an account's token.
func (e ends) asker(account int) (publish string) {
	e.T.Helper()
	for _, ev := range e.History(events.StreamAccount) {
		if ev.Type() == events.TypeTokenRefreshRequested && ev.Subject() == e.Accounts[account] {
			publish, _ = ev.Extensions()[events.ExtCorrelationID].(string)
		}
	}
	return publish
}

func completed(r world.Row) bool { return r.State == "completed" }

// answered counts the calls of an account that did what they should.
func (e ends) answered(account int, name string) (n int) {
	for _, c := range e.Sandbox.Calls(stage.CallFilter{Provider: "instagram", Name: name, Account: e.Provider[account].ID}) {
		if c.Executed && c.Status < http.StatusBadRequest {
			n++
		}
	}
	return n
}

// revoked takes our app away from an account, of which the provider does not tell
// us, until its owner connects it again.
func (e ends) revoked(account int) {
	e.T.Helper()
	e.Sandbox.RevokeTokens(stage.TokenFilter{Provider: "instagram", Account: e.Provider[account].ID}, stage.Dead{Code: 190, Subcode: 458})
	var ids []fmt.Stringer
	for i := range 3 {
		name := fmt.Sprintf("revoked-%d", i)
		ids = append(ids, e.Request(name, world.Image(e.Accounts[account], name)))
	}
	for _, id := range ids {
		e.Await(60*time.Second, id, "waiting for a person", func(r world.Row) bool { return r.Delay == "reauth" })
	}
	want := []string{events.TypeAccountConnected, events.TypeTokenRefreshRequested, events.TypeAccountReauthRequired}
	e.ExpectAccountEvents(e.Accounts[account], want...)
	e.saysWhy(account)
	if got := e.d.Must(e.APIKey, http.MethodGet, "/api/accounts/"+e.Accounts[account], "").Text("status"); got != "reauth_required" {
		e.T.Errorf("the account is %s", got)
	}
	page, err := visitor.New(nil).Connect(e.T.Context(), e.d.Link(e.APIKey, "instagram"), e.Provider[account].ID)
	if err != nil || page.Err() != nil {
		e.T.Fatal(err, page.Err())
	}
	for _, id := range ids {
		e.Await(60*time.Second, id, "completed", completed)
	}
	e.ExpectAccountEvents(e.Accounts[account], append(want, events.TypeAccountConnected, events.TypeAccountRecovered)...)
}

// saysWhy looks at what account.reauth_required says.
func (e ends) saysWhy(account int) {
	e.T.Helper()
	for _, ev := range e.History(events.StreamAccount) {
		var d events.AccountReauthRequired
		if ev.Type() != d.EventType() || ev.Subject() != e.Accounts[account] {
			continue
		}
		if err := json.Unmarshal(ev.Data(), &d); err != nil || d.Reason != "revoked" || d.Detail == "" {
			e.T.Errorf("a person is told %+v (%v)", d, err)
		}
	}
}
