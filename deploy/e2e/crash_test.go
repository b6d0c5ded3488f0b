package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"postbus.dev/deploy/e2e/world"
)

// crashWindows are the instants between two things that belong together. In each
// of them a publisher is killed, or stands still, while it and another one have
// about 200 publishes of 20 accounts in flight. Two windows share a system: the
// first publisher goes in the first, the second, which took over its lanes, in
// the second.
var crashWindows = [][2]string{
	{"publish.before_insert", "relay.before_send"}, // a request was read, nothing is stored; outbox rows were read, not sent
	{"publish.inserted", "relay.after_ack"},        // stored, not acked; sent, the cursor not moved
	{"publish.claimed", "relay.after_cursor"},      // lanes taken, nothing begun
	{"publish.before_prepare", "publish.answered"}, // a step is about to run; the provider accepted, its answer is not stored
	{"publish.prepared", "publish.before_finish"},  // the provider made a container, the checkpoint is not stored
	{"publish.checkpointed", "publish.finished"},   // between two checkpoints; after a finishing commit, its event not relayed
	{"publish.before_armed", "publish.armed"},      // connected to the provider, not armed; armed, nothing sent
}

// nth is the hit at which a window is used. Lanes are claimed and rows relayed in
// batches, so that there may be no second time.
func nth(window string) int {
	if window == "publish.claimed" || strings.HasPrefix(window, "relay.") {
		return 1
	}
	return 5
}

// poll is how often a publisher looks for lanes to claim. The one that is to meet
// its window at a claim looks oftener than the other, which else might take all.
func poll(window string) time.Duration {
	if window == "publish.claimed" {
		return 20 * time.Millisecond
	}
	return 0 // as they all do
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

// endure starts two publishers that each meet their window, and a world with n
// requests for them.
func endure(t *testing.T, windows [2]string, n int, c func(window string) world.ProcessConfig) (*world.World, [2]*world.Process) {
	t.Helper()
	w := world.New(t, world.Config{Accounts: 20, Factor: 0.02})
	if windows[0] != "publish.claimed" {
		send(w, n, windows[0])
	}
	first := w.Publisher(c(windows[0]))
	first.API() // it comes first to the lanes
	if windows[0] == "publish.claimed" {
		send(w, n, windows[0])
	}
	both := [2]*world.Process{first, w.Publisher(c(windows[1]))}
	for i, p := range both {
		w.Eventually(120*time.Second, windows[i]+" is reached", p.Hit)
	}
	return w, both
}

func TestAPublisherKilledInAnyCrashWindowLosesAndDoublesNothing(t *testing.T) {
	t.Parallel() // with the rest, which would otherwise begin when the last of these is over
	for _, windows := range crashWindows {
		t.Run(windows[0]+"+"+windows[1], func(t *testing.T) {
			t.Parallel()
			const n = 200
			w, both := endure(t, windows, n, func(window string) world.ProcessConfig {
				return world.ProcessConfig{Die: window, Nth: nth(window), Lease: lease, Poll: poll(window)}
			})
			for _, p := range both {
				<-p.Exited()
			}
			w.Publisher(world.ProcessConfig{})
			w.AwaitEnd(120*time.Second, n)
			w.Check(n)
			for _, window := range windows {
				t.Logf("%s: reached, killed with SIGKILL at hit %d", window, nth(window))
			}
			t.Logf("states: %v", w.States())
		})
	}
}
