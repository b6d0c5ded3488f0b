package e2e

import (
	"fmt"
	"testing"
	"time"

	"postbus.dev/deploy/e2e/world"
)

func TestTwoPublishersShareTwentyAccounts(t *testing.T) {
	t.Parallel()
	w := world.New(t, world.Config{Accounts: 20})
	w.Publisher(world.ProcessConfig{})
	w.Publisher(world.ProcessConfig{})
	const n = 200
	for i := range n {
		w.Request(fmt.Sprint(i), world.Image(w.Accounts[i%20], fmt.Sprintf("post %d", i)))
	}
	w.AwaitEnd(120*time.Second, n)
	t.Log(w.States())
	w.Check(n)
}
