package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"postbus.dev/deploy/e2e/world"
	"postbus.dev/events"
	"postbus.dev/services/connectors/sandbox/stage"
)

// leaving is an account with one publish, which is disconnected at a bad moment.
type leaving struct {
	name  string
	begin func(s *leaving)
	when  func(s *leaving, r world.Row) bool // the moment
	after func(s *leaving)                   // once it is being disconnected

	state, code string
	told        []string
	unconfirmed int // that account.drained counts

	w       *world.World
	account int
	fault   stage.Fault
}

func (s *leaving) request(change func(*events.PublishRequested)) {
	r := request(events.MediaImage, s.w.Accounts[s.account], s.name)
	if change != nil {
		change(&r)
	}
	s.w.Request(s.name, r)
}

// held lets a call of the account's first publish hang until release.
func held(call string) func(*leaving) {
	return func(s *leaving) {
		s.fault = s.w.Fault(s.account, stage.Fault{Switch: "hold_after", Call: call, Count: 1})
		s.request(nil)
	}
}

func hangs(s *leaving, _ world.Row) bool { return s.w.Hits()[s.fault.ID].Waiting > 0 }

func (s *leaving) release() { s.w.Sandbox.ClearFault(s.fault.ID) }

func leavingCases() []*leaving {
	failed := []string{"failed"}
	waits := func(reason string) func(*leaving, world.Row) bool {
		return func(_ *leaving, r world.Row) bool { return r.Delay == reason }
	}
	stored := func(_ *leaving, r world.Row) bool { return r.State == "accepted" }
	return []*leaving{
		{name: "far ahead", begin: func(s *leaving) { s.request(at(20 * 24 * time.Hour)) }, when: stored,
			state: "failed", code: "ACCOUNT_NOT_CONNECTED", told: []string{"scheduled", "failed"}},
		{name: "paused", begin: func(s *leaving) { s.w.Pause(s.account); s.request(nil) }, when: waits("paused"),
			state: "failed", code: "ACCOUNT_NOT_CONNECTED", told: []string{"delayed", "failed"}},
		{name: "to be reconnected", begin: func(s *leaving) { s.w.SetStatus(s.account, "reauth_required"); s.request(nil) }, when: waits("reauth"),
			state: "failed", code: "ACCOUNT_NOT_CONNECTED", told: []string{"delayed", "failed"}},
		{name: "in preparation", begin: held("container_create"), when: hangs, state: "failed", code: "ACCOUNT_NOT_CONNECTED", told: failed},
		{name: "at the provider, answered in time", begin: held("media_publish"), when: hangs, after: (*leaving).release, state: "completed", told: []string{"completed"}},
		{name: "at the provider, which cannot be read", begin: func(s *leaving) {
			held("media_publish")(s)
			for _, call := range []string{"container_read", "media_list"} {
				s.w.Fault(s.account, stage.Fault{Switch: "http_before", Call: call, Status: 503, Behind: s.fault.ID})
			}
		}, when: hangs, state: "unconfirmed", code: "OUTCOME_UNKNOWN", told: []string{"unconfirmed"}, unconfirmed: 1},
		{name: "never published", begin: func(*leaving) {}, when: func(*leaving, world.Row) bool { return true }},
	}
}

// drains reads what the stream tells of drained accounts, by account.
func drains(t *testing.T, w *world.World) map[string][]events.AccountDrained {
	t.Helper()
	out := map[string][]events.AccountDrained{}
	for _, e := range w.History(events.StreamAccount) {
		var d events.AccountDrained
		if e.Type() != d.EventType() {
			continue
		}
		if err := json.Unmarshal(e.Data(), &d); err != nil || e.Subject() != d.AccountID {
			t.Errorf("%s of %s: %s (%v)", e.Type(), e.Subject(), e.Data(), err)
		}
		out[d.AccountID] = append(out[d.AccountID], d)
	}
	return out
}

func awaitDrains(t *testing.T, w *world.World, n int) (got map[string][]events.AccountDrained) {
	t.Helper()
	w.Eventually(60*time.Second, fmt.Sprintf("%d accounts are drained", n), func() bool {
		got = drains(t, w)
		return len(got) >= n
	})
	return got
}

func TestADisconnectedAccountIsDrainedWhateverItsPublishIsAt(t *testing.T) {
	t.Parallel()
	cases := leavingCases()
	w := world.New(t, world.Config{Accounts: len(cases), Factor: 0.02})
	doomed := w.Publisher(world.ProcessConfig{Lease: lease, Die: "publish.before_drained"})
	w.Publisher(world.ProcessConfig{Lease: lease})
	for i, s := range cases {
		s.w, s.account = w, i
		s.begin(s)
	}
	for _, s := range cases {
		w.Await(90*time.Second, world.ID(s.name), "at its moment", func(r world.Row) bool { return s.when(s, r) })
		w.Disconnect(s.account)
		if s.after != nil {
			s.after(s)
		}
	}
	for range 2 { // the same once more changes nothing
		for i, d := range awaitDrains(t, w, len(cases)) {
			if len(d) != 1 {
				t.Errorf("account %s is told to be drained %d times", i, len(d))
			}
		}
		for i := range cases {
			w.TellOf(i, "again", events.AccountDisconnecting{AccountOwner: events.AccountOwner{
				AccountRef: events.AccountRef{AccountID: w.Accounts[i], Provider: "instagram"}, UserID: "demo"}, Reason: events.DisconnectRequested})
		}
	}
	if !doomed.Hit() {
		t.Error("no publisher was killed while it concluded")
	}
	checkLeft(t, w, cases)
	for _, s := range cases {
		s.release() // an answer that nobody waits for any more
	}
	w.Check(len(cases) - 1)
	connectAgain(t, w)
}

// checkLeft: each publish ended as it should, before its account was drained, and
// nothing was armed after the disconnect.
func checkLeft(t *testing.T, w *world.World, cases []*leaving) {
	t.Helper()
	rows, told, drained := w.Rows(), w.Told(), drains(t, w)
	for _, s := range cases {
		id := world.ID(s.name).String()
		if r := rows[id]; r.State != s.state || r.Code != s.code {
			t.Errorf("%s: %s %s (%s), want %s %s", s.name, r.State, r.Code, r.Message, s.state, s.code)
		}
		if got := told[id].Types(); !slices.Equal(got, s.told) {
			t.Errorf("%s: told %v, want %v", s.name, got, s.told)
		}
		if d := drained[w.Accounts[s.account]]; len(d) != 1 || d[0].Unconfirmed != s.unconfirmed {
			t.Errorf("%s: drained %+v, want once with %d unconfirmed", s.name, d, s.unconfirmed)
		}
	}
	var late int
	if err := w.Pool.QueryRow(t.Context(), `SELECT count(*) FROM publishes p JOIN account_lanes l USING (account_id)
		WHERE p.step_at > l.drained_at OR p.armed_at > l.draining_at OR p.next_at IS NOT NULL`).Scan(&late); err != nil || late > 0 {
		t.Errorf("%d publishes went on (%v)", late, err)
	}
}

// connectAgain: an account that was disconnected publishes again once it is
// connected, and is drained again.
func connectAgain(t *testing.T, w *world.World) {
	t.Helper()
	w.Reconnect(0)
	again := w.Request("again", world.Image(w.Accounts[0], "again"))
	w.Await(30*time.Second, again, "completed", func(r world.Row) bool { return r.State == "completed" })
	w.Disconnect(0)
	w.Eventually(30*time.Second, "the account is drained a second time", func() bool { return len(drains(t, w)[w.Accounts[0]]) == 2 })
}
