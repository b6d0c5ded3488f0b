package e2e

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"postbus.dev/deploy/e2e/world"
	"postbus.dev/events"
	"postbus.dev/services/connectors/sandbox/stage"
)

// repeated is a request that is sent again and again.
type repeated struct {
	id   string
	data []byte
}

func repeatedRequests(t *testing.T, w *world.World, n int) []repeated {
	t.Helper()
	out := make([]repeated, n)
	for i := range out {
		data, err := json.Marshal(world.Image(w.Accounts[i%len(w.Accounts)], fmt.Sprintf("post %d", i)))
		if err != nil {
			t.Fatal(err)
		}
		out[i] = repeated{fmt.Sprint(i), data}
	}
	return out
}

func TestARequestThatComesAgainAtAnyTimeIsPublishedOnce(t *testing.T) {
	t.Parallel()
	const n = 24
	w := world.New(t, world.Config{Accounts: 8, Factor: 0.02})
	all := repeatedRequests(t, w, n)
	again := func(when string) {
		for _, r := range all {
			w.Repeat(r.id, when, r.data)
		}
	}
	for _, r := range all {
		w.RequestRaw(r.id, r.data)
		w.RequestRaw(r.id, r.data) // the server drops this one by itself
	}
	again("before")
	again("before, once more") // one group of the intake holds several of the same

	// The first publish of one account stands at the provider while its request
	// comes again.
	held := w.Fault(0, stage.Fault{Switch: "hold_after", Call: "media_publish", Count: 1})
	first, second := w.Publisher(world.ProcessConfig{}), w.Publisher(world.ProcessConfig{})
	w.Eventually(60*time.Second, "a publish is at the provider", func() bool { return w.Hits()[held.ID].Hits == 1 })
	again("during")
	w.Sandbox.ClearFault(held.ID)
	w.AwaitEnd(60*time.Second, n)

	again("after")
	other, err := json.Marshal(world.Image(w.Accounts[0], "something else"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range all[:5] {
		w.Repeat(r.id, "other data", other)
	}
	w.AwaitConsumer(30 * time.Second)
	count := func(name string) float64 { return first.Metric(name) + second.Metric(name) }
	if got, want := count("postbus_publish_repeated_total"), float64(4*n+5); got < want {
		t.Errorf("%v repeats were counted, want at least %v", got, want)
	}
	if got := count("postbus_publish_repeated_differently_total"); got != 5 {
		t.Errorf("%v repeats with other data were counted, want 5", got)
	}

	first.Stop()
	second.Stop()
	restarted := w.Publisher(world.ProcessConfig{})
	again("after a restart")
	w.AwaitConsumer(30 * time.Second)
	if got := restarted.Metric("postbus_publish_repeated_total"); got < n {
		t.Errorf("%v repeats were counted after the restart, want %d", got, n)
	}
	w.Check(n)
	if s := w.States(); s["completed"] != n {
		t.Errorf("states: %v", s)
	}
	for id, told := range w.Told() {
		if got := told.Types(); len(got) != 1 || got[0] != "completed" {
			t.Errorf("of publish %s was told: %v", id, got)
		}
	}
	if posts := w.Sandbox.Posts(stage.PostFilter{Text: "something else"}); len(posts) != 0 {
		t.Errorf("other data were published: %+v", posts)
	}
}

// The answer to a commit names a post. If another publish owns that, at most
// one of the two can be right.
func TestARemotePostThatAnotherPublishOwnsIsReportedWithBothNames(t *testing.T) {
	t.Parallel()
	w := world.New(t, world.Config{Factor: 0.05})
	w.Fault(0, stage.Fault{Switch: "earlier_id", Skip: 1, Count: 1})
	p := w.Publisher(world.ProcessConfig{})
	owner := w.Request("first", world.Image(w.Accounts[0], "first"))
	w.AwaitEnd(30*time.Second, 1)
	claimant := w.Request("second", world.Image(w.Accounts[0], "second"))
	w.AwaitEnd(30*time.Second, 2)
	third := w.Request("third", world.Image(w.Accounts[0], "third")) // the account goes on
	w.AwaitEnd(30*time.Second, 3)
	w.Check(3)

	rows, told := w.Rows(), w.Told()
	if rows[owner.String()].State != "completed" || rows[third.String()].State != "completed" || rows[claimant.String()].State != "unconfirmed" {
		t.Errorf("states: %+v", rows)
	}
	var d events.PublishUnconfirmed
	if got := told[claimant.String()]; len(got) != 1 || got[0].Type() != d.EventType() {
		t.Fatalf("of the second publish was told: %v", got.Types())
	} else if err := json.Unmarshal(got[0].Data(), &d); err != nil {
		t.Fatal(err)
	}
	if d.PublishID != claimant.String() || d.OtherPublishID != owner.String() {
		t.Errorf("the event names publish %s and the other one %s", d.PublishID, d.OtherPublishID)
	}
	if status, body := p.HTTP("GET", "/api/publishes/"+claimant.String(), ""); status != 200 {
		t.Errorf("HTTP answers %d: %s", status, body)
	}
	if n := p.Metric("postbus_publish_remote_taken_total"); n != 1 {
		t.Errorf("%v claims of a taken post were counted", n)
	}
}
