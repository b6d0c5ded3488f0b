package e2e

import (
	"context"
	"testing"
	"time"

	"postbus.dev/deploy/e2e/world"
	"postbus.dev/services/connectors/sandbox/proxy"
)

// lease is short here, so that a process need not stand still for long.
const lease = 2 * time.Second

func TestAPublisherThatStandsStillInAnyCrashWindowLosesAndDoublesNothing(t *testing.T) {
	t.Parallel() // with the rest, which would otherwise begin when the last of these is over
	for _, windows := range crashWindows {
		t.Run(windows[0]+"+"+windows[1], func(t *testing.T) {
			t.Parallel()
			const n = 200
			w, both := endure(t, windows, n, func(window string) world.ProcessConfig {
				return world.ProcessConfig{Stop: window, Nth: nth(window), Lease: lease, Poll: poll(window)}
			})
			w.Publisher(world.ProcessConfig{Lease: lease})
			time.Sleep(2 * lease) // the pause under test, not a wait for something
			for i, p := range both {
				p.Continue()
				t.Logf("%s: reached, stood still with SIGSTOP at hit %d", windows[i], nth(windows[i]))
			}
			w.AwaitEnd(120*time.Second, n)
			w.Check(n)
			t.Logf("states: %v", w.States())
		})
	}
}

// armedConnection returns the connection of a publisher that stands still
// between Arm and send: made, with its handshake done, and silent.
func armedConnection(t *testing.T, w *world.World) int64 {
	t.Helper()
	id := int64(0)
	w.Eventually(10*time.Second, "a connection stands ready", func() bool {
		for _, c := range w.Sandbox.Connections() {
			if c.AppBytes == 0 && c.Closed.IsZero() && !c.Handshaken.IsZero() {
				id = c.ID
			}
		}
		return id != 0
	})
	return id
}

// requestBytes is how many bytes of a request came over a connection.
func requestBytes(w *world.World, id int64) int64 {
	for _, c := range w.Sandbox.Connections() {
		if c.ID == id {
			return c.AppBytes
		}
	}
	return -1
}

func TestOverTLSAPublisherStoppedBetweenArmAndSendSendsNothingAfterwards(t *testing.T) {
	t.Parallel()
	w := world.New(t, world.Config{TLS: true, Factor: 0.02})
	w.Request("one", world.Image(w.Accounts[0], "once"))
	stopped := w.Publisher(world.ProcessConfig{Stop: "publish.armed", Lease: lease})
	w.Eventually(60*time.Second, "the first publisher is armed", stopped.Hit)
	conn := armedConnection(t, w)
	w.Publisher(world.ProcessConfig{Lease: lease})
	w.AwaitEnd(60*time.Second, 1) // the second one saw no post, and committed again
	stopped.Continue()
	stopped.Stop() // it ends what it was doing first
	if n := requestBytes(w, conn); n != 0 {
		t.Errorf("the first publisher sent %d bytes of its request", n)
	}
	w.Check(1)
	if s := w.States(); s["completed"] != 1 {
		t.Errorf("states: %v", s)
	}
}

func TestOverTLSPacketsHeldUntilAfterQuietNeverReachTheProvider(t *testing.T) {
	t.Parallel()
	w := world.New(t, world.Config{TLS: true, Factor: 0.05})
	net, err := proxy.Start(proxy.Config{Target: w.Server.Addr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = net.Close() })
	id := w.Request("one", world.Image(w.Accounts[0], "once"))
	p := w.Publisher(world.ProcessConfig{Stop: "publish.armed", Env: []string{"INSTAGRAM_BASE_URL=https://" + net.Addr() + "/instagram"}})
	w.Eventually(60*time.Second, "the publisher is armed", p.Hit)
	conn := armedConnection(t, w)
	net.Hold(proxy.Hold{})
	p.Continue() // in time: it sends, and the network keeps the packets
	w.Eventually(60*time.Second, "quiet_at has passed", func() bool {
		var quiet bool
		err := w.Pool.QueryRow(context.Background(), `SELECT quiet_at < clock_timestamp() FROM publishes WHERE id = $1`, id.String()).Scan(&quiet)
		return err == nil && quiet
	})
	net.Release()
	w.AwaitEnd(60*time.Second, 1)
	if n := requestBytes(w, conn); n != 0 {
		t.Errorf("%d bytes of the first request arrived after the network had healed", n)
	}
	w.Check(1)
	if s := w.States(); s["completed"] != 1 {
		t.Errorf("states: %v", s)
	}
}

func TestAConnectionCutAtAnyPointOfTheCommitCallEndsInOnePost(t *testing.T) {
	t.Parallel() // with the rest, which would otherwise begin when the last of these is over
	for name, trigger := range map[string]proxy.Trigger{
		"before the send": {Direction: proxy.Up, Bytes: 0},
		"during the send": {Direction: proxy.Up, Bytes: 100},
		"after the send":  {Direction: proxy.Down, Bytes: 0},
		"in the answer":   {Direction: proxy.Down, Bytes: 20},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := world.New(t, world.Config{Factor: 0.05})
			net, err := proxy.Start(proxy.Config{Target: w.Server.Addr})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = net.Close() })
			w.Request("one", world.Image(w.Accounts[0], "once"))
			p := w.Publisher(world.ProcessConfig{Stop: "publish.armed", Env: []string{"INSTAGRAM_BASE_URL=http://" + net.Addr() + "/instagram"}})
			w.Eventually(60*time.Second, "the publisher is armed", p.Hit)
			fired := net.Set(trigger)
			p.Continue()
			w.AwaitEnd(60*time.Second, 1)
			if fired() != 1 {
				t.Error("the connection was not cut")
			}
			w.Check(1)
			if s := w.States(); s["completed"] != 1 {
				t.Errorf("states: %v", s)
			}
		})
	}
}
