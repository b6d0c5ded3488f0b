package job

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// listed stores n publishes of a user, accepted a second apart, and returns
// their ids, the newest first.
func (b *bench) listed(user uuid.UUID, n int, change func(i int, p *Publish)) []uuid.UUID {
	b.t.Helper()
	ids := make([]uuid.UUID, n)
	for i := range n {
		r := b.request()
		r.Publish.UserID, r.Want = user, false
		if change != nil {
			change(i, &r.Publish)
		}
		b.stored(b.a, r)
		b.exec(`UPDATE publishes SET accepted_at = timestamptz '2026-11-22 10:00:00+00' - $2 * interval '1 second' WHERE id = $1`, [16]byte(r.Publish.ID), i)
		ids[i] = r.Publish.ID
	}
	return ids
}

func (b *bench) exec(sql string, args ...any) {
	b.t.Helper()
	if _, err := b.pool.Exec(b.t.Context(), sql, args...); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) list(f Filter) []uuid.UUID {
	b.t.Helper()
	if f.Limit == 0 {
		f.Limit = 100
	}
	list, err := b.a.List(b.t.Context(), f)
	if err != nil {
		b.t.Fatal(err)
	}
	ids := make([]uuid.UUID, len(list))
	for i, p := range list {
		ids[i] = p.ID
		if p.Request != nil || p.Provider == "" {
			b.t.Errorf("listed %+v", p)
		}
	}
	return ids
}

func wantList(t *testing.T, what string, got, want []uuid.UUID) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d publishes, want %d", what, len(got), len(want))
		return
	}
	for i := range got {
		if got[i] != want[i] {
			t.Errorf("%s: %v at place %d, want %v", what, got[i], i, want[i])
		}
	}
}

func TestAListIsThatOfOneUserAndGoesOnWhereItStopped(t *testing.T) {
	b := setup(t)
	user := uuid.New()
	want := b.listed(user, 5, nil)
	b.listed(uuid.New(), 2, nil)
	b.exec(`UPDATE publishes SET state = 'tombstone', ended_at = now(), next_at = NULL WHERE id = $1`, [16]byte(b.listed(user, 1, nil)[0]))
	wantList(t, "all", b.list(Filter{UserID: user}), want)
	wantList(t, "first page", b.list(Filter{UserID: user, Limit: 2}), want[:2])
	last, err := b.a.Get(t.Context(), want[1])
	if err != nil {
		t.Fatal(err)
	}
	wantList(t, "the rest", b.list(Filter{UserID: user, After: last.AcceptedAt, AfterID: last.ID}), want[2:])
}

func TestPublishesOfTheSameInstantAreEachListedOnce(t *testing.T) {
	b := setup(t)
	user := uuid.New()
	b.listed(user, 7, nil)
	b.exec(`UPDATE publishes SET accepted_at = timestamptz '2026-11-22 10:00:00.123456+00'`)
	seen := map[uuid.UUID]bool{}
	f := Filter{UserID: user, Limit: 2}
	for {
		list, err := b.a.List(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range list {
			if seen[p.ID] {
				t.Fatalf("%s came twice", p.ID)
			}
			seen[p.ID] = true
			f.After, f.AfterID = p.AcceptedAt, p.ID
		}
		if len(list) == 0 {
			break
		}
	}
	if len(seen) != 7 {
		t.Errorf("%d of 7 listed", len(seen))
	}
}

func TestEachFilterOfAListPicks(t *testing.T) {
	b := setup(t)
	user, account := uuid.New(), uuid.Must(uuid.NewV7())
	ids := b.listed(user, 4, func(i int, p *Publish) {
		switch i {
		case 1:
			p.Provider = "reddit"
		case 2:
			p.AccountID = account
		case 3:
			p.State, p.Error = Failed, []byte(`{"code":"VALIDATION_ERROR"}`)
		}
	})
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	for what, c := range map[string]struct {
		f    Filter
		want []uuid.UUID
	}{
		"provider": {Filter{Provider: "reddit"}, ids[1:2]},
		"account":  {Filter{AccountID: account}, ids[2:3]},
		"state":    {Filter{State: Failed}, ids[3:4]},
		"from":     {Filter{From: at.Add(-time.Second)}, ids[:2]},
		"to":       {Filter{To: at.Add(-time.Second)}, ids[2:]},
		"nothing":  {Filter{State: Failed, Provider: "reddit"}, nil},
	} {
		c.f.UserID = user
		wantList(t, what, b.list(c.f), c.want)
	}
	if _, err := b.a.List(t.Context(), Filter{Limit: 1}); err == nil {
		t.Error("a list of everybody's")
	}
}

// A page is read from the index in its order, however many publishes a user has:
// nothing is sorted, and no more rows are read than the page has.
func TestAPageIsReadFromTheIndexInItsOrder(t *testing.T) {
	b := setup(t)
	user := uuid.New()
	b.exec(`INSERT INTO publishes (id, event_source, event_id, account_id, user_id, provider, state, due_at, expires_at, accepted_at, error, ended_at)
		SELECT gen_random_uuid(), '/test', i::text, $1, CASE WHEN i % 10 = 0 THEN gen_random_uuid() ELSE $2::uuid END, 'instagram',
			CASE WHEN i % 50 = 0 THEN 'failed' ELSE 'canceled' END, now(), now(), now() - i * interval '1 second', '{}', now() FROM generate_series(1, 20000) i`,
		[16]byte(b.accountID), [16]byte(user))
	b.analyze()
	middle := time.Now().Add(-10_000 * time.Second)
	for what, f := range map[string]Filter{
		"first page":   {},
		"a later page": {After: middle, AfterID: uuid.New()},
		"a range":      {From: middle, To: middle.Add(time.Hour)},
		"a state":      {State: Failed},
	} {
		f.UserID, f.Limit = user, 51
		plan := b.plan(f)
		if !strings.Contains(plan, "publishes_user") || strings.Contains(plan, "Sort") || strings.Contains(plan, "Seq Scan") {
			t.Errorf("%s:\n%s", what, plan)
		}
		if len(b.list(f)) != 51 && f.State == "" {
			t.Errorf("%s: fewer than a page", what)
		}
	}
}

// analyze does what autovacuum does sooner or later.
func (b *bench) analyze() {
	b.t.Helper()
	conn, err := pgx.Connect(b.t.Context(), b.owner)
	if err != nil {
		b.t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(b.t.Context()))
	if _, err := conn.Exec(b.t.Context(), `ANALYZE publishes`); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) plan(f Filter) string {
	b.t.Helper()
	sql, args := f.query()
	rows, err := b.pool.Query(b.t.Context(), "EXPLAIN "+sql, args...)
	if err != nil {
		b.t.Fatal(err)
	}
	defer rows.Close()
	var lines []string
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			b.t.Fatal(err)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func TestARescheduledPublishIsSeenByTheOwnerOfItsLane(t *testing.T) {
	b := setup(t)
	later := b.request()
	later.Publish.DueAt = time.Now().Add(time.Hour)
	later.Publish.NextAt = later.Publish.DueAt
	taken := b.stored(b.a, later)
	if lanes, err := b.a.Claim(t.Context(), 10); err != nil || len(lanes) != 0 {
		t.Fatalf("before: %v %v", lanes, err)
	}
	soon := &Transition{Publish: taken.Publish, Lane: Tell}
	soon.Publish.DueAt = time.Now()
	soon.Publish.NextAt, soon.Publish.ExpiresAt = soon.Publish.DueAt, soon.Publish.DueAt.Add(24*time.Hour)
	if !b.write(b.b, soon).Moved {
		t.Fatal("not moved")
	}
	lanes, err := b.a.Claim(t.Context(), 10)
	if err != nil || len(lanes) != 1 || lanes[0].Fence != taken.Fence || len(lanes[0].Work) != 1 {
		t.Fatalf("the owner found %+v %v", lanes, err)
	}
	if got := lanes[0].Work[0]; got.ExpiresAt.Sub(soon.Publish.ExpiresAt).Abs() > time.Millisecond || got.NextAt.Sub(soon.Publish.NextAt).Abs() > time.Millisecond {
		t.Errorf("the row is %+v", got)
	}
	if owner, err := b.b.LaneOwner(t.Context(), b.accountID); err != nil || owner != b.a.cfg.Owner {
		t.Errorf("owner is %v %v", owner, err)
	}
}

func TestOfARescheduleAndAnArmOneMoves(t *testing.T) {
	b := setup(t)
	taken := b.stored(b.a, b.request())
	armed := b.write(b.a, arm(taken.Publish, taken.Fence))
	move := &Transition{Publish: taken.Publish, Lane: Tell}
	move.Publish.DueAt = time.Now().Add(time.Hour)
	if !armed.Moved || b.write(b.b, move).Moved {
		t.Error("an armed publish was rescheduled")
	}
}
