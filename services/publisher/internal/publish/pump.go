package publish

import (
	"time"

	"postbus.dev/services/publisher/internal/job"
)

// pump starts what may run now and sets the timer for what comes next. The
// lane's mutex is held.
func (l *lane) pump() {
	if l.gone || l.stopped {
		return
	}
	now := time.Now()
	if now.After(l.until.Add(-l.r.store.Lease() / 4)) {
		l.wakeAt(now.Add(l.r.store.Lease() / 12)) // renewal is due: start nothing on the last quarter of a lease
		return
	}
	l.rest(l.startDue(now))
}

// queue is what a lane cannot start yet.
type queue struct {
	next    time.Time // when the first one's time comes; zero: never
	soon    int       // whose time comes so soon that the lane is kept for them
	blocked int       // that could start, behind as many as may run or be ready
	waiting int       // that are ready while another one is at the provider
}

// startDue starts what may run now, in the order of the line. What has LoadLimit
// ready ones before it is not prepared yet.
func (l *lane) startDue(now time.Time) (q queue) {
	for _, it := range l.items {
		at := it.startAt()
		switch {
		case it.busy:
		case at.After(now):
			q.next = earliest(q.next, at)
			if it.paused() || at.Before(now.Add(l.r.cfg.Hold)) {
				q.soon++
			}
		case it.commits() && l.armed != nil && l.armed != it:
			q.waiting++ // the one that ends pumps again
		case l.busy >= l.r.cfg.PerLane, it.p.State == job.Accepted && q.waiting >= job.LoadLimit:
			q.blocked++
		default:
			l.start(it)
		}
	}
	return q
}

// paused says whether the item waits longer than its row says: whoever took the
// lane next would not know.
func (it *item) paused() bool { return it.at.After(it.clock.local(it.p.NextAt)) }

// startAt is when the item's next step may run.
func (it *item) startAt() time.Time {
	if it.p.State == job.Ready && it.due.After(it.at) {
		return it.due
	}
	return it.at
}

// commits says whether the item's next step is Commit.
func (it *item) commits() bool { return it.p.State == job.Ready && time.Now().Before(it.fresh) }

func (l *lane) start(it *item) {
	it.busy = true
	l.busy++
	if it.commits() {
		l.armed = it
	}
	l.r.steps.Add(1)
	go l.run(it)
}

// maxItems bounds what a lane holds in memory. What waits for its time stays
// there beside what is loaded in its stead.
const maxItems = 4 * job.LoadLimit

// short says whether more should be loaded: what is here runs out, and it would
// not only stand behind as many ready ones as may be.
func (l *lane) short(q queue) bool {
	const few = job.LoadLimit / 2
	near := q.soon + q.blocked
	return len(l.items) < maxItems &&
		(l.more && near < few && q.waiting < job.LoadLimit || l.ready && near+q.waiting < few)
}

// rest decides what the lane does when nothing more can start: load more, wait
// a little, or go back to whoever takes it next.
func (l *lane) rest(q queue) {
	if !l.loading && l.short(q) {
		l.loading, l.more, l.ready = true, false, false
		go l.load()
		return
	}
	if l.busy > 0 || l.loading {
		if !q.next.IsZero() {
			l.wakeAt(q.next)
		}
		return
	}
	if q.soon > 0 {
		l.wakeAt(q.next)
		return
	}
	l.leave()
	go l.giveBack()
}

func (l *lane) wakeAt(t time.Time) {
	if l.timer != nil {
		l.timer.Stop()
	}
	l.timer = time.AfterFunc(time.Until(t), func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.pump()
	})
}

func earliest(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}
