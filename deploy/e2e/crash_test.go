package e2e

import (
	"fmt"
	"testing"
	"time"

	"postbus.dev/deploy/e2e/world"
)

// crashWindows are the instants between two things that belong together. A
// publisher is killed in each of them, while it and another one have at least
// 200 publishes of 20 accounts in flight.
var crashWindows = []string{
	"publish.before_insert",  // a request was read, nothing is stored
	"publish.inserted",       // stored, not acked
	"publish.claimed",        // lanes taken, nothing begun
	"publish.before_prepare", // a step is about to run
	"publish.prepared",       // the provider made a container, the checkpoint is not stored
	"publish.checkpointed",   // between two checkpoints
	"publish.before_armed",   // connected to the provider, not armed
	"publish.armed",          // armed, nothing sent
	"publish.answered",       // the provider accepted, its answer is not stored
	"publish.before_finish",  // before a finishing commit
	"publish.finished",       // after a finishing commit, its event not relayed
	"relay.before_send",      // rows read, not sent
	"relay.after_ack",        // sent, the cursor not moved
	"relay.after_cursor",
}

// nth is the hit at which a window is used. Lanes are claimed in batches, so that
// there may be no second time.
func nth(window string) int {
	if window == "publish.claimed" {
		return 1
	}
	return 5
}

// send asks for n posts of 20 accounts, due now, or soon where lanes shall be
// claimed: intake takes the lanes of what is due at once.
func send(w *world.World, n int, window string) {
	for i := range n {
		r := world.Image(w.Accounts[i%20], fmt.Sprintf("post %d", i))
		if window == "publish.claimed" {
			r.PublishAt = time.Now().Add(10 * time.Second).Format(time.RFC3339Nano)
		}
		w.Request(fmt.Sprint(i), r)
	}
}

func TestAPublisherKilledInAnyCrashWindowLosesAndDoublesNothing(t *testing.T) {
	for _, name := range crashWindows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := world.New(t, world.Config{Accounts: 20, Factor: 0.02})
			const n = 200
			if name != "publish.claimed" {
				send(w, n, name)
			}
			doomed := w.Publisher(world.ProcessConfig{Die: name, Nth: nth(name)})
			doomed.API() // it comes first to the lanes and the relay's lock
			if name == "publish.claimed" {
				send(w, n, name)
			}
			w.Publisher(world.ProcessConfig{})
			select {
			case <-doomed.Exited():
			case <-time.After(60 * time.Second):
			}
			if !doomed.Hit() {
				t.Fatalf("%s: 0 hits", name)
			}
			w.Publisher(world.ProcessConfig{})
			w.AwaitEnd(120*time.Second, n)
			w.Check(n)
			t.Logf("%s: reached, killed with SIGKILL at hit %d; %v", name, nth(name), w.States())
		})
	}
}
