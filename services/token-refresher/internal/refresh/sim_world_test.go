package refresh_test

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/metric"

	"postbus.dev/events"
	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/oauthaccount"
	"postbus.dev/services/internal/oauthaccount/oauthaccounttest"
)

const day = 24 * time.Hour

// simConfig is one run of the simulation.
type simConfig struct {
	seed     uint64
	accounts int
	length   time.Duration
	fleet    int
	poll     time.Duration

	deaths      float64 // of passing a failpoint, of a process
	lostAnswers float64 // of a provider's answer
	lostCommits float64 // of the answer to a commit
	slow        float64 // of a database call that takes seconds
	meter       metric.MeterProvider
}

// latency is how long a call to the database takes, by a number from 0 to 1.
func (c simConfig) latency(draw float64) time.Duration {
	if draw < c.slow {
		return 2 * time.Second
	}
	return time.Millisecond + time.Duration(draw*float64(9*time.Millisecond))
}

// world is everything around the fleet. Its clock is the bubble's; the database's
// is another.
type world struct {
	*testing.T
	cfg       simConfig
	store     *oauthaccounttest.Memory
	offset    time.Duration // of the database's clock
	providers map[string]*provider
	database  windows
	running   sync.WaitGroup

	mu       sync.Mutex
	rng      *rand.Rand
	agenda   agenda
	fleet    []*process
	accounts map[uuid.UUID]*account
	order    []*account
	faults   map[string]int
	ended    bool

	spentTwice, sentTwice, refreshes, killed, requests, recovered int
}

// account is one of ours, and what was told of it.
type account struct {
	id       uuid.UUID
	remote   string
	provider *provider

	mu       sync.Mutex
	sequence int64
	version  int64
	reauth   time.Time // since when a person has to reconnect it; zero: nobody has to
	expiring bool      // told
}

func newWorld(t *testing.T, cfg simConfig) *world {
	w := &world{
		T: t, cfg: cfg, rng: rand.New(rand.NewPCG(cfg.seed, 1)), offset: 37 * time.Hour,
		accounts: map[uuid.UUID]*account{}, faults: map[string]int{},
	}
	w.store = oauthaccounttest.NewMemory(oauthaccounttest.MemoryConfig{Now: w.dbNow, Tell: w.told})
	w.providers = w.theProviders()
	return w
}

// fail takes the database away for a while.
func (w *world) fail(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.database = append(w.database, window{from: time.Now(), to: time.Now().Add(d)})
}

// failing says whether the database is away.
func (w *world) failing() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, down := w.database.at(time.Now())
	return down
}

func (w *world) dbNow() time.Time { return time.Now().Add(w.offset) }

// source is a source of chance of its own for each process.
func (w *world) source() *rand.Rand {
	w.mu.Lock()
	defer w.mu.Unlock()
	return rand.New(rand.NewPCG(w.rng.Uint64(), 2))
}

// between draws a time.
func (w *world) between(from, to time.Duration) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return from + time.Duration(w.rng.Int64N(int64(to-from)))
}

func (w *world) count(n *int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	*n++
}

// faulty notes that something is not as it must be.
func (w *world) faulty(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults[format]++
	if n := w.faults[format]; n <= 3 {
		w.Errorf("seed %d, day %.3f: %s", w.cfg.seed, time.Since(epoch).Hours()/24, fmt.Sprintf(format, args...))
	}
}

// epoch is when the clock of a bubble begins.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// The kinds of a window in which a provider or the database is not itself.
const (
	down = iota
	throttles
	refuses
)

type window struct {
	from, to time.Time
	kind     int
}

type windows []window

func (ws windows) at(now time.Time) (window, bool) {
	for _, w := range ws {
		if !now.Before(w.from) && now.Before(w.to) {
			return w, true
		}
	}
	return window{}, false
}

// within says whether one of them touches the time from since to now.
func (ws windows) within(since, now time.Time) bool {
	for _, w := range ws {
		if w.to.After(since) && w.from.Before(now) {
			return true
		}
	}
	return false
}

// window is one at some time, of some length.
func (w *world) window(kind int, shortest, longest time.Duration) window {
	from := epoch.Add(w.between(day, w.cfg.length-day))
	return window{from: from, to: from.Add(w.between(shortest, longest)), kind: kind}
}

// theProviders are four as the connectors state them, and one whose grants end.
func (w *world) theProviders() map[string]*provider {
	all := map[string]*provider{}
	for name, r := range map[string]rules{
		"instagram": {RefreshRule: connectors.RefreshRule{Call: 30 * time.Second}, life: 60 * day, refreshIn: 30 * day, youngest: day, noRefresh: true},
		"tiktok": {RefreshRule: connectors.RefreshRule{Rotates: true, Call: 30 * time.Second, UserTO: 20 * time.Second, Settle: 90 * time.Second},
			life: 2 * time.Hour, grantLife: 180 * day, prolongs: true, refreshIn: time.Hour},
		"reddit":      {RefreshRule: connectors.RefreshRule{Call: 30 * time.Second}, life: day, refreshIn: 16 * time.Hour},
		"onlyfans":    {checked: 4 * time.Hour, noRefresh: true},
		"unpromising": {nothing: true, life: 60 * day, noRefresh: true},
		"limited":     {RefreshRule: connectors.RefreshRule{Call: 30 * time.Second}, life: 10 * day, refreshIn: 5 * day, grantLife: 40 * day},
	} {
		v := &provider{w: w, name: name, rules: r, grants: map[string]*grant{}}
		all[name] = v
	}
	for _, name := range []string{"instagram", "onlyfans", "reddit", "tiktok"} { // drawn in one order
		v := all[name]
		v.bad = windows{w.window(down, day, day+time.Second)}
		for range int(w.cfg.length / (10 * day)) {
			v.bad = append(v.bad, w.window(down, time.Minute, time.Hour), w.window(throttles, 5*time.Minute, time.Hour), w.window(refuses, 10*time.Minute, 2*time.Hour))
		}
	}
	return all
}

// agenda is what will happen, the soonest first.
type agenda []happening

type happening struct {
	at time.Time
	do func()
}

func (a agenda) Len() int           { return len(a) }
func (a agenda) Less(i, k int) bool { return a[i].at.Before(a[k].at) }
func (a agenda) Swap(i, k int)      { a[i], a[k] = a[k], a[i] }
func (a *agenda) Push(x any)        { *a = append(*a, x.(happening)) }
func (a *agenda) Pop() any {
	last := (*a)[len(*a)-1]
	*a = (*a)[:len(*a)-1]
	return last
}

// in puts something on the agenda.
func (w *world) in(d time.Duration, do func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	heap.Push(&w.agenda, happening{time.Now().Add(d), do})
}

// every does something again and again, about so often.
func (w *world) every(d time.Duration, do func()) {
	w.in(w.between(d/2, d*3/2), func() {
		do()
		w.every(d, do)
	})
}

// next takes what is to happen next.
func (w *world) next() (h happening, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.agenda) == 0 {
		return happening{}, false
	}
	return heap.Pop(&w.agenda).(happening), true
}

// run lets the world go on until its end, and stops the fleet as a deploy does.
func (w *world) run() {
	end := epoch.Add(w.cfg.length)
	for h, ok := w.next(); ok && h.at.Before(end); h, ok = w.next() {
		time.Sleep(time.Until(h.at))
		h.do()
	}
	time.Sleep(time.Until(end))
	w.look()
	w.mu.Lock()
	fleet := w.fleet
	w.ended = true
	w.mu.Unlock()
	for _, p := range fleet {
		p.cancel()
	}
	w.running.Wait()
}

// replace starts another process some time after one has died.
func (w *world) replace(dead *process) {
	w.count(&w.killed)
	w.in(w.between(time.Second, 2*time.Minute), func() {
		p := w.start()
		w.mu.Lock()
		defer w.mu.Unlock()
		for i := range w.fleet {
			if w.fleet[i] == dead {
				w.fleet[i] = p
			}
		}
	})
}

// someone is a process, drawn.
func (w *world) someone() *process {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fleet[w.rng.IntN(len(w.fleet))]
}

func (w *world) anyone() *account {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.order[w.rng.IntN(len(w.order))]
}

// connect is a person's way through the provider to us.
func (w *world) connect(provider, remote string) uuid.UUID {
	v := w.providers[provider]
	g := v.connect(remote)
	v.mu.Lock()
	granted := v.granted(g)
	v.mu.Unlock()
	granted.ProviderAccountID = remote
	if v.rules.checked > 0 {
		granted.RefreshIn = v.rules.checked
	}
	if v.rules.nothing {
		granted.RefreshIn = granted.ExpiresIn - 7*day
	}
	return w.store.Connect(oauthaccount.Granted(uuid.Nil, provider, granted, w.dbNow()), "user of "+remote)
}

// told is called by the store with each event, within its change.
func (w *world) told(id uuid.UUID, e oauthaccounttest.Told) {
	w.mu.Lock()
	a := w.accounts[id]
	w.mu.Unlock()
	a.mu.Lock()
	defer a.mu.Unlock()
	if e.Sequence != a.sequence+1 {
		w.faulty("event %s of %s has sequence %d after %d", e.Data.EventType(), a.remote, e.Sequence, a.sequence)
	}
	a.sequence = e.Sequence
	switch d := e.Data.(type) {
	case events.TokenRefreshed:
		w.count(&w.refreshes)
		if a.version++; d.TokenVersion != a.version {
			w.faulty("%s: token version %d after %d", a.remote, d.TokenVersion, a.version-1)
		}
	case events.AccountReauthRequired:
		w.lost(a, d)
	case events.AccountRecovered:
		w.count(&w.recovered)
		a.reauth = time.Time{}
	case events.AccountExpiring:
		if left := d.ExpiresAt.Sub(w.dbNow()); a.expiring || left > 7*day || !a.provider.ends(a.remote, d.ExpiresAt.Add(-w.offset)) {
			w.faulty("that %s of %s expires in %s is told again, too early, or though it does not", a.remote, a.provider.name, left)
		}
		a.expiring = true
	}
}

// lost looks whether an account may have to be reconnected.
func (w *world) lost(a *account, d events.AccountReauthRequired) {
	if !a.reauth.IsZero() {
		w.faulty("that %s must be reconnected is told twice", a.remote)
	}
	a.reauth = time.Now()
	good, over := a.provider.works(a.remote, time.Now())
	if !over && (good || a.provider.rules.checked == 0) {
		w.faulty("%s of %s is lost for %s (%s)", a.remote, a.provider.name, d.Reason, d.Detail)
	}
	if d.Reason == connectors.ReasonExpired && !a.expiring {
		w.faulty("that %s of %s would end was not told before", a.remote, a.provider.name)
	}
	w.reconnects(a)
}

// reconnects lets a person come back after some days, where her session does not
// by itself.
func (w *world) reconnects(a *account) {
	if a.provider.rules.checked > 0 {
		if _, over := a.provider.works(a.remote, time.Now()); !over {
			return
		}
	}
	w.in(w.between(time.Hour, 3*day), func() { w.reconnect(a) })
}

func (w *world) reconnect(a *account) {
	id := w.connect(a.provider.name, a.remote)
	row := w.store.Row(id)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sequence, a.version, a.reauth, a.expiring = row.Version, row.TokenVersion, time.Time{}, false
}
