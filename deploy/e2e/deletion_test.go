package e2e

import (
	"slices"
	"strings"
	"time"

	"postbus.dev/deploy/e2e/world"
	"postbus.dev/events"
	"postbus.dev/services/connectors/sandbox/stage"
)

const leaver = "leaver"

// departure is a user with publishes in every state, who is deleted.
type departure struct {
	house
	accounts []int    // in the world
	names    []string // captions, which are in the URLs of the media too
	ids      []string
}

// deletes deletes a user who has publishes in every state that there is. The
// publishers stand still for the moment of it: a commit call does not take long.
func (h house) deletes() {
	d := &departure{house: h, accounts: h.w.UserWith(leaver, 9)}
	d.prepare()
	for _, p := range h.d.Publishers {
		p.Pause()
	}
	before := d.states()
	for _, state := range []string{"accepted", "ready", "armed", "unknown", "confirming", "unconfirmed", "completed", "failed", "canceled"} {
		if !slices.Contains(before, state) {
			h.Errorf("no publish is %s: %v", state, before)
		}
	}
	h.must(h.w.APIKey, "DELETE", "/api/users/"+leaver, "")
	for _, p := range h.d.Publishers {
		p.Continue()
	}
	h.w.Eventually(90*time.Second, "the user is gone", func() bool {
		return h.w.Count(`SELECT count(*) FROM users WHERE external_id = $1`, leaver) == 0
	})
	d.check()
}

// send asks for a post of the k-th account.
func (d *departure) send(k int, name string, change func(*events.PublishRequested)) string {
	caption := "leaver's " + name
	r := world.Image(d.w.Accounts[d.accounts[k]], caption)
	r.MediaURL = "https://example.com/leaver-" + name + ".jpg"
	if change != nil {
		change(&r)
	}
	id := d.w.Request("leaver-"+name, r).String()
	d.names, d.ids = append(d.names, caption, r.MediaURL), append(d.ids, id)
	return id
}

// blind makes the k-th account's next commit one whose outcome cannot be read.
func (d *departure) blind(k int) {
	first := d.fault(k, stage.Fault{Switch: "lost_after", Call: "media_publish", Count: 1})
	for _, call := range []string{"container_read", "media_list"} {
		d.fault(k, stage.Fault{Switch: "http_before", Status: 503, Call: call, Behind: first.ID})
	}
}

func (d *departure) fault(k int, f stage.Fault) stage.Fault { return d.w.Fault(d.accounts[k], f) }

func (d *departure) prepare() {
	d.blind(0)
	d.await(d.send(0, "unconfirmed", nil), "unconfirmed")
	d.await(d.send(1, "completed", nil), "completed")
	d.fault(2, stage.Fault{Switch: "container_error", Subcode: 2207026, Count: 1})
	d.await(d.send(2, "failed", nil), "failed")
	later := func(r *events.PublishRequested) { r.PublishAt = time.Now().Add(time.Hour).Format(time.RFC3339) }
	canceled := d.send(3, "canceled", later)
	d.await(canceled, "accepted")
	d.w.Cancel("cancel-leaver", events.PublishCancelRequested{PublishID: canceled})
	d.await(canceled, "canceled")
	d.send(4, "scheduled", later)
	d.w.Pause(d.accounts[5])
	d.send(5, "paused", nil)
	d.fault(6, stage.Fault{Switch: "hold_before", Call: "media_read", Count: 1})
	d.await(d.send(6, "confirming", nil), "confirming")
	// A video is prepared well before its time, and then waits.
	d.await(d.send(3, "ready", func(r *events.PublishRequested) {
		r.MediaType, r.PublishAt = events.MediaVideo, time.Now().Add(20*time.Second).Format(time.RFC3339)
	}), "ready")
	d.blind(7)
	d.await(d.send(7, "unknown", nil), "unknown")
	held := d.fault(8, stage.Fault{Switch: "hold_after", Call: "media_publish", Count: 1})
	d.send(8, "armed", nil)
	d.w.Eventually(30*time.Second, "the provider holds a commit", func() bool { return d.w.Hits()[held.ID].Waiting > 0 })
}

func (d *departure) await(id, state string) {
	d.Helper()
	d.w.Eventually(60*time.Second, "a publish is "+state, func() bool { return d.w.State(id) == state })
}

// states are the publishes' states now, in the order of their sending.
func (d *departure) states() (out []string) {
	rows := d.w.Rows()
	for _, id := range d.ids {
		out = append(out, rows[id].State)
	}
	return out
}

// check looks at what is left: every publish has ended or is unconfirmed, and
// said so; no token, and no content but in the outbox.
func (d *departure) check() {
	d.Logf("states: %v", d.states())
	for i, state := range d.states() {
		if !slices.Contains([]string{"completed", "failed", "canceled", "unconfirmed"}, state) {
			d.Errorf("%s is %s", d.names[2*i], state)
		}
		if strings.HasSuffix(d.names[2*i], " confirming") && state != "completed" {
			d.Errorf("%s is %s: its commit's answer named the post", d.names[2*i], state)
		}
	}
	told := d.w.Told()
	for i, id := range d.ids {
		types := told[id].Types()
		ends := len(slices.DeleteFunc(slices.Clone(types), func(t string) bool { return t != "completed" && t != "failed" && t != "canceled" }))
		if ends > 1 || ends == 0 && !slices.Contains(types, "unconfirmed") {
			d.Errorf("%s told %v", d.names[2*i], types)
		}
		if posts := d.w.Sandbox.Posts(stage.PostFilter{Text: d.names[2*i]}); len(posts) > 1 {
			d.Errorf("%s was posted %d times", d.names[2*i], len(posts))
		}
	}
	for _, a := range d.accounts {
		d.w.ExpectAccountEvents(d.w.Accounts[a], events.TypeAccountConnected, events.TypeAccountDisconnecting, events.TypeAccountDrained, events.TypeAccountDisconnected)
		if n := d.w.Count(`SELECT count(*) FROM oauth_accounts WHERE id = $1`, d.w.Accounts[a]); n != 0 {
			d.Errorf("an account is left")
		}
		if n := d.w.Count(`SELECT count(*) FROM account_lanes WHERE account_id = $1 AND draining IS NOT NULL`, d.w.Accounts[a]); n != 0 {
			d.Errorf("a lane keeps the event that names the user")
		}
	}
	for _, name := range d.names {
		if found := d.w.Mentions(name); len(found) > 0 {
			d.Errorf("%q is left in %v", name, found)
		}
	}
	if n := d.w.Count(`SELECT count(*) FROM publishes WHERE id = ANY ($1::text[]::uuid[])`, d.ids); n != len(d.ids) {
		d.Errorf("%d of %d publishes are left: history outlives the user", n, len(d.ids))
	}
}
