package publish

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"postbus.dev/services/publisher/internal/job"
)

// lane is an account's lease and what is due on it.
type lane struct {
	r       *Runner
	account uuid.UUID
	fence   int64
	ctx     context.Context // ends when the lane is lost: repeatable steps stop, a commit does not
	cancel  context.CancelFunc

	mu      sync.Mutex
	until   time.Time // monotonic
	items   []*item   // by due time, acceptance, id
	armed   *item     // the one that commits, or whose outcome is open
	busy    int
	begun   bool // something was loaded or offered
	more    bool // there may be more than items
	ready   bool // there may be more ready ones than items
	loading bool
	stopped bool // nothing new starts
	gone    bool // lost or given back
	timer   *time.Timer

	acct      Account
	acctAt    time.Time // when acct was read; zero: never
	newest    int64     // the version of the account that an event told of: acct is stale before it
	refreshes int64     // the token version of which a refresh was asked last
}

// item is a publish on its lane. While busy it belongs to its turn: nobody else
// writes p, at, due, fresh or clock then, and the turn writes them when it ends,
// under the lane's mutex.
type item struct {
	id    uuid.UUID
	p     job.Publish
	clock clock
	at    time.Time // not before; this process's clock
	due   time.Time // due_at on this process's clock
	fresh time.Time // when the preparation gets stale, on this process's clock
	busy  bool
}

func newLane(r *Runner, account uuid.UUID, fence int64, until time.Time) *lane {
	ctx, cancel := context.WithCancel(context.Background())
	return &lane{r: r, account: account, fence: fence, until: until, ctx: ctx, cancel: cancel}
}

// clock maps times of the database to this process's clock, never too early.
type clock struct{ db, here time.Time }

func (c clock) local(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return c.here.Add(t.Sub(c.db))
}

func newItem(p job.Publish, c clock) *item {
	it := &item{id: p.ID}
	it.set(p, c)
	return it
}

func (it *item) set(p job.Publish, c clock) {
	it.p, it.clock = p, c
	it.at, it.due, it.fresh = c.local(p.NextAt), c.local(p.DueAt), c.local(p.FreshUntil)
}

// loaded merges what was read from the database.
func (l *lane) loaded(from job.Lane) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begun, l.loading = true, false
	l.more, l.ready = l.more || from.More, l.ready || from.MoreReady
	l.newest = max(l.newest, from.AccountVersion)
	if l.gone {
		return
	}
	c := clock{db: from.Now, here: from.At}
	for _, p := range from.Work {
		l.put(newItem(p, c))
	}
	l.pump()
}

// offer takes a publish that was stored just now. False: the lane is not held
// any more, or full; the database knows.
func (l *lane) offer(p job.Publish, more bool, acct Account) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone || l.stopped {
		return false
	}
	if l.acctAt.IsZero() {
		l.acct, l.acctAt = acct, time.Now()
	}
	// What an account has beside it matters to a lane that was taken just now.
	// Later, this process has offered what it stored itself, and is told of the
	// rest by next_at.
	if !l.begun {
		l.begun, l.more = true, l.more || more
	}
	if len(l.items) >= maxItems {
		l.more = true
	} else {
		l.put(newItem(p, clock{db: p.StepAt, here: time.Now()}))
	}
	l.pump()
	return true
}

// put adds an item, or brings a known one up to date.
func (l *lane) put(it *item) {
	for _, old := range l.items {
		if old.id == it.id {
			// The same version is the same row: its item may know a reason to wait.
			if !old.busy && it.p.Version > old.p.Version {
				old.set(it.p, it.clock)
				l.hold(old)
			}
			return
		}
	}
	at, _ := slices.BinarySearchFunc(l.items, it, before)
	l.items = slices.Insert(l.items, at, it)
	l.r.held.Add(1)
	l.hold(it)
}

// hold notes that the item may be at the provider, or is not.
func (l *lane) hold(it *item) {
	if it.p.State == job.Armed || it.p.State == job.Unknown {
		l.armed = it
	} else {
		l.disarm(it)
	}
}

// before orders by due time, then acceptance, then id.
func before(a, b *item) int {
	if c := a.p.DueAt.Compare(b.p.DueAt); c != 0 {
		return c
	}
	if c := a.p.AcceptedAt.Compare(b.p.AcceptedAt); c != 0 {
		return c
	}
	return slices.Compare(a.p.ID[:], b.p.ID[:])
}

func (l *lane) remove(it *item) {
	if i := slices.Index(l.items, it); i >= 0 {
		l.items = slices.Delete(l.items, i, i+1)
		l.r.held.Add(-1)
	}
	l.disarm(it)
}

func (l *lane) disarm(it *item) {
	if l.armed == it {
		l.armed = nil
	}
}

// leave forgets the lane in memory.
func (l *lane) leave() {
	if l.gone {
		return
	}
	l.gone = true
	if l.timer != nil {
		l.timer.Stop()
	}
	l.r.held.Add(-int64(len(l.items)))
	l.items = nil
	l.r.unlink(l)
}

func (l *lane) giveBack() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := l.r.store.Release(ctx, []job.Lane{{Account: l.account, Fence: l.fence}}); err != nil {
		l.r.log.Warn("release lane: its lease runs out instead", "account", l.account, "error", err)
		return
	}
}

func (l *lane) load() {
	ctx, cancel := context.WithTimeout(l.ctx, 10*time.Second)
	defer cancel()
	loaded, err := l.r.store.Load(ctx, job.Lane{Account: l.account, Fence: l.fence})
	if err == nil {
		l.loaded(loaded)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.loading, l.more = false, true
	l.wakeAt(time.Now().Add(time.Second))
}

// extend takes a renewed lease.
func (l *lane) extend(until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = until
	l.pump()
}

// stop lets nothing new start.
func (l *lane) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped = true
}

// drop forgets a lane that is lost. Its repeatable steps are told to end.
func (l *lane) drop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leave()
	l.cancel()
}

// run is one turn of one publish.
func (l *lane) run(it *item) {
	defer l.r.steps.Done()
	t := &turn{l: l, r: l.r, it: it, p: it.p, clock: it.clock}
	if err := l.r.slots.Acquire(l.ctx, 1); err == nil {
		t.run()
		l.r.slots.Release(1)
	}
	if t.asks != 0 {
		l.unasked(t.asks)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.busy--
	it.busy = false
	it.set(t.p, t.clock)
	if t.later.After(it.at) {
		it.at = t.later
	}
	l.hold(it)
	if t.p.NextAt.IsZero() {
		l.remove(it)
	}
	l.more = l.more || t.gone
	l.pump()
}

// last says whether nothing but it is left on the lane, and if so forgets the
// lane: the transition that ends it gives the lane back in the same commit.
func (l *lane) last(it *item) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone || l.more || l.ready || l.loading || len(l.items) != 1 || l.items[0] != it {
		return false
	}
	l.leave()
	return true
}

// current returns the account, read again when it is older than maxAge, or than
// what an event told of it, and the newest version of it that was known then.
func (l *lane) current(ctx context.Context, maxAge time.Duration) (_ Account, heard int64, _ error) {
	l.mu.Lock()
	acct, at, newest := l.acct, l.acctAt, l.newest
	l.mu.Unlock()
	if !at.IsZero() && time.Since(at) <= maxAge && acct.Version >= newest {
		return acct, acct.Version, nil
	}
	acct, err := l.r.cfg.Accounts.Load(ctx, l.account)
	if err != nil {
		return Account{}, 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acct, l.acctAt = acct, time.Now()
	return acct, max(newest, acct.Version), nil
}

// asks says whether it is the caller's to ask for a refresh of this token
// version: of those on the lane one does, and says by unasked if it could not.
func (l *lane) asks(version int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if version <= l.refreshes {
		return false
	}
	l.refreshes = version
	return true
}

func (l *lane) unasked(version int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refreshes == version {
		l.refreshes--
	}
}
