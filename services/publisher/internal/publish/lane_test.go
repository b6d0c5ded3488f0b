package publish

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
)

// crowd stores so many publishes of one account, all due, as another process
// would: the runner has to find them. Their ids are in the order of their times.
func (b *bench) crowd(account uuid.UUID, n int) (ids []string) {
	b.t.Helper()
	since := time.Now().Add(-time.Minute)
	var stored sync.WaitGroup
	for i := range n {
		p := publish("toy", account)
		p.Publish.DueAt = since.Add(time.Duration(i) * time.Millisecond)
		p.Publish.NextAt = p.Publish.DueAt
		ids = append(ids, p.Publish.ID.String())
		stored.Go(func() {
			if _, err := b.store.Store(b.t.Context(), p); err != nil {
				b.t.Error(err)
			}
		})
	}
	stored.Wait()
	return ids
}

// start runs the runner until the test ends.
func (b *bench) start() { b.startToo(b.run) }

func (b *bench) startToo(r *Runner) {
	ctx, stop := context.WithCancel(b.t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	b.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			b.t.Error(err)
		}
	})
}

func (b *bench) number(sql string, args ...any) (n int64) {
	b.t.Helper()
	if err := b.pool.QueryRow(b.t.Context(), sql, args...).Scan(&n); err != nil {
		b.t.Fatal(err)
	}
	return n
}

func (b *bench) wait(what string, ok func() bool) {
	b.t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatal("it did not happen within a minute: " + what)
		}
	}
}

func TestALaneRestsWhileItsPublishesWaitForOneOutcome(t *testing.T) {
	b := setup(t)
	account, all := uuid.Must(uuid.NewV7()), 200
	ids := b.crowd(account, all)
	b.toy.lose, b.toy.blind = 1, true
	b.start()
	ready := func() int64 {
		return b.number(`SELECT count(*) FROM publishes WHERE account_id = $1 AND state = 'ready'`, account)
	}
	claims := func() int64 { return b.number(`SELECT fence FROM account_lanes WHERE account_id = $1`, account) }
	looks := func() int64 {
		return b.number(`SELECT coalesce(max(looks), 0) FROM publishes WHERE account_id = $1 AND state = 'unknown'`, account)
	}
	b.wait("as many are prepared as may be ahead", func() bool { return looks() > 0 && ready() >= 64 })
	claimed, loaded, looked := claims(), b.loads.Load(), looks()
	b.wait("three more looks", func() bool { return looks() >= looked+3 })
	if c, l := claims()-claimed, b.loads.Load()-loaded; c > 5 || l > 8 {
		t.Errorf("within three looks the lane was claimed %d times and loaded %d times", c, l)
	}
	if n := ready(); n > 64+4 {
		t.Errorf("%d are ready, want no more than are prepared ahead", n)
	}
	b.toy.set(func() { b.toy.blind = false })
	loaded = b.loads.Load()
	b.wait("all are published", func() bool {
		return b.number(`SELECT count(*) FROM publishes WHERE account_id = $1 AND state = 'completed'`, account) == int64(all)
	})
	if l := b.loads.Load() - loaded; l > 20 {
		t.Errorf("the %d were loaded in %d parts", all, l)
	}
	posted := b.toy.posted()
	var rest []string
	for _, id := range ids {
		if id != posted[0] {
			rest = append(rest, id)
		}
	}
	if !slices.Equal(posted[1:], rest) {
		t.Errorf("posted %d, or in another order than they were due in", len(posted))
	}
}
