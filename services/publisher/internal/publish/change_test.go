package publish

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"postbus.dev/events"
	"postbus.dev/services/connectors"
	"postbus.dev/services/publisher/internal/job"
)

// scheduled is a publish that is due in an hour and prepared a minute ahead.
func (b *bench) scheduled(change func(*job.Publish)) job.Publish {
	b.t.Helper()
	b.toy.timing.Lead = time.Minute
	n := publish("toy", uuid.Must(uuid.NewV7()))
	n.Publish.DueAt, n.Publish.NextAt, n.Publish.Scheduled = time.Now().Add(time.Hour), time.Now().Add(time.Hour-time.Minute), true
	if change != nil {
		change(&n.Publish)
	}
	taken, err := b.store.Store(b.t.Context(), n)
	if err != nil {
		b.t.Fatal(err)
	}
	return taken.Publish
}

// ready is p prepared, and fresh for so long.
func (b *bench) ready(p job.Publish, fresh time.Duration) job.Publish {
	b.t.Helper()
	tr := &job.Transition{Publish: p, FreshIn: fresh}
	tr.Publish.State, tr.Publish.NextAt, tr.Publish.Checkpoint, tr.Publish.DelayReason = job.Ready, p.DueAt, []byte("made"), "paused"
	w, err := b.store.Write(b.t.Context(), tr)
	if err != nil || !w.Moved {
		b.t.Fatal(w, err)
	}
	return w.Publish
}

// events returns the events of a publish, oldest first.
func (b *bench) events(id uuid.UUID) (types []string, last map[string]any) {
	b.t.Helper()
	rows, err := b.pool.Query(b.t.Context(), `SELECT event FROM outbox ORDER BY xid, id`)
	if err != nil {
		b.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var raw []byte
		var e struct {
			Type, Subject, Sequence string
			Data                    map[string]any
		}
		if err := errors.Join(rows.Scan(&raw), json.Unmarshal(raw, &e)); err != nil {
			b.t.Fatal(err)
		}
		if e.Subject == id.String() {
			types, last = append(types, e.Type), e.Data
			last["sequence"] = e.Sequence
		}
	}
	return types, last
}

func near(got, want time.Time) bool { return got.Sub(want).Abs() < time.Millisecond }

func TestARescheduledPublishHasTheTimesThatAcceptGives(t *testing.T) {
	b := setup(t)
	p := b.scheduled(nil)
	due := time.Now().Add(3 * time.Hour)
	got, err := b.run.Reschedule(t.Context(), p.ID, due)
	if err != nil {
		t.Fatal(err)
	}
	row := b.now(p.ID)
	if !near(row.DueAt, due) || !near(row.NextAt, due.Add(-time.Minute)) || !near(row.ExpiresAt, due.Add(24*time.Hour)) || row.State != job.Accepted {
		t.Errorf("the row is %+v", row)
	}
	if got.Version != row.Version || row.Version != 2 {
		t.Errorf("version %d returned, %d stored", got.Version, row.Version)
	}
	types, last := b.events(p.ID)
	if !slices.Equal(types, []string{events.TypePublishScheduled}) || last["dueAt"] != due.Format(time.RFC3339Nano) || last["sequence"] != events.FormatSequence(2) {
		t.Errorf("told %v, the last %v", types, last)
	}
}

func TestWhatIsPreparedIsPreparedAgainUnlessItIsFreshThen(t *testing.T) {
	b := setup(t)
	for _, c := range []struct {
		fresh time.Duration
		state job.State
		lead  time.Duration
	}{
		{2 * time.Hour, job.Accepted, time.Minute}, {4 * time.Hour, job.Ready, 0},
	} {
		p := b.ready(b.scheduled(nil), c.fresh)
		due := time.Now().Add(3 * time.Hour)
		if _, err := b.run.Reschedule(t.Context(), p.ID, due); err != nil {
			t.Fatal(err)
		}
		row := b.now(p.ID)
		if row.State != c.state || !near(row.NextAt, due.Add(-c.lead)) || row.FreshUntil.IsZero() != (c.state == job.Accepted) {
			t.Errorf("fresh for %v: %+v", c.fresh, row)
		}
		if string(row.Checkpoint) != "made" || row.DelayReason != "" {
			t.Errorf("fresh for %v: checkpoint %q, waits for %q", c.fresh, row.Checkpoint, row.DelayReason)
		}
	}
}

func TestATimeThatAPublishCannotHaveIsRefused(t *testing.T) {
	b := setup(t)
	expires := time.Now().Add(40 * 24 * time.Hour)
	limited := b.scheduled(func(p *job.Publish) {
		p.DueAt = expires.Add(-24 * time.Hour)
		p.Request = []byte(`{"mediaType":"TEXT","expiresAt":"` + expires.Format(time.RFC3339Nano) + `"}`)
		p.ExpiresAt = expires
	})
	for _, c := range []struct {
		p    job.Publish
		due  time.Time
		rule string
	}{
		{b.scheduled(nil), time.Now().Add(-time.Second), "future"},
		{limited, expires, "before"},
		{limited, expires.Add(-31 * 24 * time.Hour), "minimum"},
	} {
		_, err := b.run.Reschedule(t.Context(), c.p.ID, c.due)
		if refused, ok := errors.AsType[*TimeError](err); !ok || refused.Rule != c.rule {
			t.Errorf("%v: %v, want %s", c.due, err, c.rule)
		}
		if row := b.now(c.p.ID); row.Version != 1 {
			t.Errorf("%v: the row moved", c.due)
		}
	}
	if _, err := b.run.Reschedule(t.Context(), limited.ID, expires.Add(-time.Hour)); err != nil || !near(b.now(limited.ID).ExpiresAt, expires) {
		t.Errorf("%v: expires %v, want %v as the request says", err, b.now(limited.ID).ExpiresAt, expires)
	}
}

func TestWhatIsArmedOrEndedIsNotRescheduled(t *testing.T) {
	b := setup(t)
	due := time.Now().Add(time.Hour)
	armed, canceled := b.armed("gone").p, b.scheduled(nil)
	if _, _, err := b.run.Cancel(t.Context(), canceled.ID, "", "", ""); err != nil {
		t.Fatal(err)
	}
	for _, id := range []uuid.UUID{armed.ID, canceled.ID} {
		if p, err := b.run.Reschedule(t.Context(), id, due); !errors.Is(err, ErrTooLate) || p.ID != id {
			t.Errorf("%s: %v", p.State, err)
		}
	}
	if _, err := b.run.Reschedule(t.Context(), uuid.New(), due); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("an unknown one: %v", err)
	}
}

// unconfirmed is a publish of which nobody can tell whether it is live.
func (b *bench) unconfirmed() *turn {
	b.t.Helper()
	t := b.armed("gone")
	t.unclear(b.t.Context(), connectors.Found{Evidence: "looked for long enough"})
	if s := b.now(t.p.ID).State; s != job.Unconfirmed {
		b.t.Fatalf("%s, want unconfirmed", s)
	}
	return t
}

func TestAPersonDecidesWhatNobodyCanTell(t *testing.T) {
	b := setup(t)
	for _, c := range []struct {
		v     Verdict
		state job.State
		event string
		says  map[string]any
	}{
		{Verdict{Published: true, PostID: "17", Permalink: "https://example.com/17", By: "ann"}, job.Completed, events.TypePublishCompleted,
			map[string]any{"postId": "17", "permalink": "https://example.com/17"}},
		{Verdict{Published: true, PostID: "18", By: "ann"}, job.Completed, events.TypePublishCompleted, map[string]any{"postId": "18", "permalink": nil}},
		{Verdict{Reason: "not in the list", By: "ann"}, job.Failed, events.TypePublishFailed, map[string]any{"code": "PROVIDER_UNAVAILABLE"}},
	} {
		p := b.unconfirmed().p
		if _, err := b.run.Resolve(t.Context(), p.ID, c.v); err != nil {
			t.Fatal(err)
		}
		row := b.now(p.ID)
		if row.State != c.state || row.RemoteID != c.v.PostID || row.EndedAt.IsZero() {
			t.Errorf("%+v: %+v", c.v, row)
		}
		types, last := b.events(p.ID)
		if !slices.Equal(types, []string{events.TypePublishUnconfirmed, c.event}) || last["sequence"] != events.FormatSequence(row.Version) {
			t.Errorf("%+v: told %v", c.v, types)
		}
		for name, want := range c.says {
			if last[name] != want {
				t.Errorf("%+v: %s is %v", c.v, name, last[name])
			}
		}
		steps, err := b.store.Steps(t.Context(), p.ID)
		if err != nil {
			t.Fatal(err)
		}
		if s := steps[len(steps)-1]; s.Step != "resolve" || !strings.Contains(s.Message, "ann") || !strings.Contains(s.Message, c.v.Reason) {
			t.Errorf("%+v: logged %+v", c.v, s)
		}
	}
}

func TestOnlyWhatIsUnconfirmedIsDecided(t *testing.T) {
	b := setup(t)
	v := Verdict{Reason: "x", By: "ann"}
	decided := b.unconfirmed().p
	if _, err := b.run.Resolve(t.Context(), decided.ID, v); err != nil {
		t.Fatal(err)
	}
	for _, id := range []uuid.UUID{decided.ID, b.armed("gone").p.ID, b.scheduled(nil).ID} {
		if p, err := b.run.Resolve(t.Context(), id, v); !errors.Is(err, ErrNotUnconfirmed) || p.ID != id {
			t.Errorf("%s: %v", p.State, err)
		}
	}
	if _, err := b.run.Resolve(t.Context(), uuid.New(), v); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("an unknown one: %v", err)
	}
}

func TestAPostThatAnotherPublishHasIsNotDecidedOnTwice(t *testing.T) {
	b := setup(t)
	one, two := b.unconfirmed().p, b.unconfirmed().p
	if _, err := b.pool.Exec(t.Context(), `UPDATE publishes SET account_id = $1`, [16]byte(one.AccountID)); err != nil {
		t.Fatal(err)
	}
	v := Verdict{Published: true, PostID: "17", By: "ann"}
	if _, err := b.run.Resolve(t.Context(), one.ID, v); err != nil {
		t.Fatal(err)
	}
	_, err := b.run.Resolve(t.Context(), two.ID, v)
	if taken, ok := errors.AsType[*TakenError](err); !ok || taken.Owner != one.ID {
		t.Errorf("%v, want that %s has it", err, one.ID)
	}
	if s := b.now(two.ID).State; s != job.Unconfirmed {
		t.Errorf("%s, want unconfirmed still", s)
	}
}

func TestOfAPersonAndTheWatchOneDecides(t *testing.T) {
	b := setup(t)
	for range 10 {
		watch := b.unconfirmed()
		watch = b.turn(watch.p)
		var decided error
		var wg sync.WaitGroup
		wg.Go(func() {
			_, decided = b.run.Resolve(t.Context(), watch.p.ID, Verdict{Reason: "not in the list", By: "ann"})
		})
		wg.Go(func() { watch.complete(t.Context(), &connectors.RemotePost{ID: uuid.NewString()}, nil, nil) })
		wg.Wait()
		want, event := job.Failed, events.TypePublishFailed
		if decided != nil {
			want, event = job.Completed, events.TypePublishCompleted
		}
		if decided != nil && !errors.Is(decided, ErrNotUnconfirmed) {
			t.Fatal(decided)
		}
		types, _ := b.events(watch.p.ID)
		if s := b.now(watch.p.ID).State; s != want || !slices.Equal(types, []string{events.TypePublishUnconfirmed, event}) {
			t.Errorf("decided: %v; the row is %s, told %v", decided, s, types)
		}
	}
}
