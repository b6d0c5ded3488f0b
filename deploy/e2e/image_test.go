package e2e

import (
	"testing"
	"time"

	"postbus.dev/deploy/e2e/world"
	"postbus.dev/services/connectors/sandbox/stage"
)

func TestAnImageIsPublishedOnceAndReported(t *testing.T) {
	t.Parallel()
	w := world.New(t, world.Config{})
	w.Publisher(world.ProcessConfig{})
	id := w.Request("one", world.Image(w.Accounts[0], "hello"))
	w.AwaitEnd(30*time.Second, 1)
	if s := w.States(); s["completed"] != 1 {
		t.Fatalf("states: %v", s)
	}
	if posts := w.Sandbox.Posts(stage.PostFilter{Account: w.Provider[0].ID}); len(posts) != 1 || posts[0].Text != "hello" {
		t.Errorf("posted: %+v", posts)
	}
	final := w.Finals(10*time.Second, 1)[id.String()]
	if len(final) != 1 || final[0].Type() != "publish.completed" {
		t.Errorf("final events: %v", final)
	}
}
