package e2e

import (
	"testing"
	"time"

	"postbus.dev/deploy/e2e/world"
	"postbus.dev/services/connectors/sandbox/stage"
)

func TestACallThatTheProviderCarriesOutLateIsWaitedFor(t *testing.T) {
	t.Parallel()
	w := world.New(t, world.Config{Factor: 0.03})
	// Carried out 100 s after it came, when the caller has long gone; it counts as
	// dead after 180 s.
	late := stage.Fault{Switch: "hang_before", Call: "media_publish", Delay: stage.Duration(100 * time.Second), Count: 1}
	if _, err := w.Sandbox.SetFault(late); err != nil {
		t.Fatal(err)
	}
	w.Request("one", world.Image(w.Accounts[0], "late"))
	w.Publisher(world.ProcessConfig{})
	w.AwaitEnd(90*time.Second, 1)
	w.Eventually(30*time.Second, "the provider has carried the call out", func() bool {
		f := w.Sandbox.Faults()
		return len(f) == 1 && f[0].Hits == 1 && f[0].Waiting == 0
	})
	time.Sleep(time.Second) // what the provider does with a call that it took takes 2 s, scaled
	w.Check(1)
	if s := w.States(); s["completed"] != 1 {
		t.Errorf("states: %v", s)
	}
}
