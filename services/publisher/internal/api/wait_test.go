package api

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"postbus.dev/events"
)

func TestTheCallerGetsThePostWhenItsFinalEventPasses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		time.AfterFunc(3*time.Second, func() { b.wire.say(events.TypePublishCompleted, b.store.end(complete)) })
		a := b.post(image)
		if a.status != http.StatusOK || a.took != 3*time.Second || a.data["postId"] != "17895695668004550" {
			t.Errorf("after %v: %d %s", a.took, a.status, a.raw)
		}
	})
}

func TestAFinalEventThatPassesBeforeAcceptReturnsIsNotMissed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.store.onStored = func(p Publish) Publish { // another process was quick
			complete(&p)
			b.wire.say(events.TypePublishCompleted, p.ID)
			return p
		}
		if a := b.post(image); a.status != http.StatusOK || a.took != 0 {
			t.Errorf("after %v: %d %s", a.took, a.status, a.raw)
		}
	})
}

func TestEveryFinalEventEndsTheWait(t *testing.T) {
	t.Parallel()
	for subject, want := range map[string]struct {
		state  string
		status int
	}{
		events.TypePublishCompleted:   {stateCompleted, 200},
		events.TypePublishFailed:      {stateFailed, 422},
		events.TypePublishCanceled:    {stateCanceled, 409},
		events.TypePublishUnconfirmed: {stateUnconfirmed, 202},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := setup(t)
			time.AfterFunc(time.Second, func() {
				b.wire.say(subject, b.store.end(func(p *Publish) {
					p.State, p.Problem = want.state, &Problem{Code: "MEDIA_REJECTED"}
				}))
			})
			if a := b.post(image); a.status != want.status || a.took != time.Second {
				t.Errorf("%s: after %v: %d %s", subject, a.took, a.status, a.raw)
			}
		})
	}
}

func TestTheEventOfAnotherPublishChangesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		time.AfterFunc(time.Second, func() { b.wire.say(events.TypePublishCompleted, uuid.New()) })
		if a := b.post(image); a.status != http.StatusAccepted || a.took != DefaultWait {
			t.Errorf("after %v: %d", a.took, a.status)
		}
	})
}

func TestTheCallerSaysHowLongItWaits(t *testing.T) {
	t.Parallel()
	for prefer, want := range map[string]struct {
		took    time.Duration
		applied string
	}{
		"":              {25 * time.Second, ""},
		"wait=5":        {5 * time.Second, "wait=5"},
		"wait=600":      {60 * time.Second, "wait=60"},
		"respond-async": {0, "respond-async"},
		"wait=0":        {0, "respond-async"},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := setup(t)
			a := b.post(image, "Prefer", prefer)
			if a.status != http.StatusAccepted || a.took != want.took || a.header.Get("Preference-Applied") != want.applied {
				t.Errorf("%q: %d after %v, applied %q", prefer, a.status, a.took, a.header.Get("Preference-Applied"))
			}
			id, _ := a.data["publishId"].(string)
			if a.data["state"] != "accepted" || id == "" || a.header.Get("Location") != "/api/publishes/"+id {
				t.Errorf("answered %s, Location %s", a.raw, a.header.Get("Location"))
			}
		})
	}
}

func TestAMissedEventIsMadeUpForAtTheEndOfTheWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		time.AfterFunc(time.Second, func() { b.store.end(complete) })
		if a := b.post(image); a.status != http.StatusOK || a.took != DefaultWait {
			t.Errorf("after %v: %d", a.took, a.status)
		}
	})
}

func TestAMissedEventIsMadeUpForWhenTheBusIsBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		time.AfterFunc(time.Second, func() { b.store.end(complete) })
		time.AfterFunc(2*time.Second, b.wire.reconnected)
		if a := b.post(image); a.status != http.StatusOK || a.took != 2*time.Second {
			t.Errorf("after %v: %d", a.took, a.status)
		}
	})
}

func TestAPublishThatIsDueLaterIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		due := time.Now().Add(time.Hour)
		b.store.onAccept = func(_ context.Context, p *Publish) { p.DueAt = due }
		a := b.post(image)
		if a.status != http.StatusAccepted || a.took != 0 || a.data["dueAt"] != due.UTC().Format(time.RFC3339Nano) {
			t.Errorf("after %v: %d %s", a.took, a.status, a.raw)
		}
	})
}

func TestAPublishThatIsDueWithinTheWaitIsWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.store.onAccept = func(_ context.Context, p *Publish) { p.DueAt = time.Now().Add(5 * time.Second) }
		time.AfterFunc(6*time.Second, func() { b.wire.say(events.TypePublishCompleted, b.store.end(complete)) })
		if a := b.post(image); a.status != http.StatusOK || a.took != 6*time.Second {
			t.Errorf("after %v: %d", a.took, a.status)
		}
	})
}

func TestACallerWhoGoesAwayDoesNotStopThePublish(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		ctx, leave := context.WithCancel(t.Context())
		b.store.onAccept = func(own context.Context, _ *Publish) {
			leave() // while the request is being written down
			if own.Err() != nil {
				t.Error("storing was canceled")
			}
		}
		a := b.send(ctx, http.MethodPost, "/api/instagram/publish", image)
		if a.took != 0 || len(b.store.rows) != 1 || len(b.store.canceled) != 0 {
			t.Errorf("after %v: %d stored, %d canceled", a.took, len(b.store.rows), len(b.store.canceled))
		}
	})
}

func TestAProcessThatStopsAnswersWhoeverWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		time.AfterFunc(time.Second, b.api.Drain)
		if a := b.post(image); a.status != http.StatusAccepted || a.took != time.Second {
			t.Errorf("after %v: %d", a.took, a.status)
		}
		if a := b.post(image); a.status != http.StatusAccepted || a.took != 0 {
			t.Errorf("a later one after %v: %d", a.took, a.status)
		}
		b.api.Drain() // twice does no harm
	})
}

func TestARowThatCannotBeReadIsNoFailureOfThePublish(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.store.getErr = errors.New("database is away")
		time.AfterFunc(time.Second, func() { b.wire.say(events.TypePublishCompleted, b.store.end(complete)) })
		if a := b.post(image); a.status != http.StatusAccepted || a.data["state"] != "accepted" {
			t.Errorf("%d %s", a.status, a.raw)
		}
	})
}

func TestManyCallersOfOnePublishAreAllAnswered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		const callers = 5
		answers := make(chan answer, callers)
		for range callers {
			go func() { answers <- b.post(image, "Idempotency-Key", "order-7") }()
		}
		synctest.Wait()
		b.wire.say(events.TypePublishCompleted, b.store.end(complete))
		for range callers {
			if a := <-answers; a.status != http.StatusOK || a.took != 0 {
				t.Errorf("after %v: %d", a.took, a.status)
			}
		}
		if len(b.store.rows) != 1 {
			t.Errorf("%d publishes", len(b.store.rows))
		}
	})
}
