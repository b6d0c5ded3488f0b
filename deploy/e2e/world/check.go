package world

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"postbus.dev/events"
	"postbus.dev/services/connectors/sandbox/stage"
)

// publishRow is what a check reads of a publish.
type publishRow struct {
	ID, State string
	Name      string // the caption, or of a story the URL
	Attempt   int
}

// Check states what must hold once all publishes have come to rest; n is how
// many there must be. Captions must be unique, and URLs of stories, which have no
// caption: they tell the posts apart.
func (w *World) Check(n int) {
	w.T.Helper()
	rows, told := w.atRest()
	if len(rows) != n {
		w.T.Errorf("%d publishes are stored, want %d", len(rows), n)
	}
	w.checkEvents(rows, told)
	w.checkPosts(rows)
	w.checkIntervals()
	w.checkLanes()
}

// atRest reads publishes and events as of one moment: one that is unconfirmed
// may still be found and completed while they are read.
func (w *World) atRest() (rows []publishRow, told []event.Event) {
	w.T.Helper()
	w.Eventually(60*time.Second, "no publish moves", func() bool {
		rows = w.publishes()
		w.awaitDrained()
		told = w.History(events.StreamPublish)
		return slices.Equal(rows, w.publishes())
	})
	return rows, told
}

func (w *World) publishes() []publishRow {
	w.T.Helper()
	rows, err := w.Pool.Query(context.Background(), `SELECT id::text, state, attempt, request FROM publishes ORDER BY id`)
	if err != nil {
		w.T.Fatal(err)
	}
	defer rows.Close()
	var out []publishRow
	for rows.Next() {
		var r publishRow
		var request []byte
		if err := rows.Scan(&r.ID, &r.State, &r.Attempt, &request); err != nil {
			w.T.Fatal(err)
		}
		r.Name = nameOf(request)
		out = append(out, r)
	}
	return out
}

// nameOf is what tells a request's post apart; "" where it cannot be read.
func nameOf(request []byte) string {
	p, err := events.ReadPublishRequested(request)
	switch {
	case err != nil:
		return ""
	case p.MediaType == events.MediaStory:
		return p.MediaURL
	}
	return p.Caption
}

// awaitDrained waits until the publishers' relay has sent everything. That of the
// account service, which has put the accounts in, does not run here.
func (w *World) awaitDrained() {
	w.T.Helper()
	w.Eventually(30*time.Second, "the outbox is relayed", func() bool {
		var left int
		err := w.Pool.QueryRow(context.Background(), `SELECT count(*) FROM outbox o LEFT JOIN outbox_cursors c USING (service, stream)
			WHERE o.service = 'publisher' AND (c.xid IS NULL OR (o.xid, o.id) > (c.xid, c.id))`).Scan(&left)
		return err == nil && left == 0
	})
}

// checkEvents: every publish has exactly one final event and the right one, an
// event id is on the stream once, sequences rise.
func (w *World) checkEvents(rows []publishRow, told []event.Event) {
	w.T.Helper()
	finals, unconfirmed := map[string][]string{}, map[string]int{}
	seen := map[string]bool{}
	for _, e := range told {
		key := e.Source() + "/" + e.ID()
		if seen[key] && e.Source() != Source {
			w.T.Errorf("event %s of %s is on the stream twice", e.ID(), e.Subject())
		}
		seen[key] = true
		switch e.Type() {
		case events.TypePublishUnconfirmed:
			unconfirmed[e.Subject()]++
		case events.TypePublishCompleted, events.TypePublishFailed, events.TypePublishCanceled:
			finals[e.Subject()] = append(finals[e.Subject()], e.Type())
		}
	}
	for _, r := range rows {
		want := []string{"publish." + r.State}
		if r.State == "unconfirmed" {
			want = nil
		}
		if !slices.Equal(finals[r.ID], want) {
			w.T.Errorf("publish %s is %s, its final events are %v", r.ID, r.State, finals[r.ID])
		}
		if unconfirmed[r.ID] > 1 || (r.State == "unconfirmed" && unconfirmed[r.ID] != 1) {
			w.T.Errorf("publish %s is %s and was reported unconfirmed %d times", r.ID, r.State, unconfirmed[r.ID])
		}
	}
}

// checkPosts: at most one post a publish; one where it is completed, none where
// it failed or was canceled.
func (w *World) checkPosts(rows []publishRow) {
	w.T.Helper()
	posts := map[string]int{}
	for _, p := range w.Sandbox.Posts(stage.PostFilter{}) {
		if p.MediaType == events.MediaStory {
			posts[p.Media[0]]++
			continue
		}
		posts[p.Text]++
	}
	for _, r := range rows {
		got := posts[r.Name]
		ok := got <= 1
		switch r.State {
		case "completed":
			ok = got == 1
		case "failed", "canceled":
			ok = got == 0
		}
		if !ok {
			w.T.Errorf("publish %s (%q) is %s after %d attempts and the provider has %d posts of it", r.ID, r.Name, r.State, r.Attempt, got)
		}
	}
}

// checkIntervals: no two publishes of an account were at the provider at the
// same time, from armed to settled; unconfirmed settles it as far as the account
// is concerned.
func (w *World) checkIntervals() {
	w.T.Helper()
	var overlaps int
	err := w.Pool.QueryRow(context.Background(), `
		WITH armed AS (
			SELECT p.account_id, a.publish_id, a.attempt, min(a.armed_at) AS began,
				least(p.unconfirmed_at, min(a.at) FILTER (WHERE NOT (a.step = 'commit' AND a.outcome = 'unknown') AND NOT (a.step = 'find' AND a.outcome NOT IN ('published', 'absent')))) AS settled
			FROM publish_attempts a JOIN publishes p ON p.id = a.publish_id
			WHERE a.step IN ('commit', 'find') AND a.attempt > 0 AND a.armed_at IS NOT NULL GROUP BY 1, 2, 3, p.unconfirmed_at
		)
		SELECT count(*) FROM armed x JOIN armed y ON x.account_id = y.account_id AND (x.publish_id, x.attempt) < (y.publish_id, y.attempt)
		WHERE x.settled IS NOT NULL AND y.settled IS NOT NULL AND x.began < y.settled AND y.began < x.settled`).Scan(&overlaps)
	if err != nil {
		w.T.Fatal(err)
	}
	if overlaps > 0 {
		w.T.Errorf("%d pairs of publishes of one account were at the provider at the same time", overlaps)
	}
}

// checkLanes: nothing is left armed or due.
func (w *World) checkLanes() {
	w.T.Helper()
	w.Eventually(20*time.Second, "lanes are at rest", func() bool {
		var busy int
		err := w.Pool.QueryRow(context.Background(), `SELECT count(*) FROM account_lanes WHERE armed IS NOT NULL OR (owner IS NULL AND next_at < now() - interval '5 seconds')`).Scan(&busy)
		return err == nil && busy == 0
	})
}

// EventsOf returns the events about a publish, in the stream's order.
func (w *World) EventsOf(id fmt.Stringer) []event.Event {
	w.T.Helper()
	var out []event.Event
	for _, e := range w.History(events.StreamPublish) {
		if e.Subject() == id.String() {
			out = append(out, e)
		}
	}
	return out
}
