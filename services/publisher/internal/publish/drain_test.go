package publish

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"postbus.dev/events"
	"postbus.dev/services/publisher/internal/job"
)

// book is accounts that a test changes. What it has not heard of is active, in
// version 1.
type book struct {
	mu    sync.Mutex
	known map[uuid.UUID]Account
	reads int
	found func(n int) Account // of the nth look for a request's account
}

func (b *book) set(id uuid.UUID, status string, version int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.known == nil {
		b.known = map[uuid.UUID]Account{}
	}
	acct, _ := anyAccount{}.Load(context.Background(), id)
	acct.Status, acct.Version, acct.TokenVersion = status, version, version
	b.known[id] = acct
}

func (b *book) Load(ctx context.Context, id uuid.UUID) (Account, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reads++
	if acct, ok := b.known[id]; ok {
		return acct, nil
	}
	acct, err := anyAccount{}.Load(ctx, id)
	acct.Version = 1
	return acct, err
}

func (b *book) Find(context.Context, Target) (Found, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reads++
	return Found{Account: b.found(b.reads)}, nil
}

// withBook gives the bench's runner accounts that change, and its drains little
// time.
func withBook(t *testing.T) (*bench, *book) {
	b, accounts := setup(t), &book{}
	b.cfg.Accounts, b.cfg.Directory, b.cfg.Drain, b.cfg.Recheck = accounts, accounts, 400*time.Millisecond, time.Hour
	b.run = b.runner(nil)
	return b, accounts
}

// disconnect does what the account service and the consumer do.
func (b *bench) disconnect(accounts *book, r *Runner, account uuid.UUID, version int64) {
	b.t.Helper()
	accounts.set(account, "disconnecting", version)
	e, err := events.New(events.Meta{ID: "asked", Source: "/test", Subject: account.String(), Sequence: version, TraceParent: parent}, events.AccountDisconnecting{
		AccountOwner: events.AccountOwner{AccountRef: events.AccountRef{AccountID: account.String(), Provider: "toy"}, UserID: "u"}, Reason: events.DisconnectRequested,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	if err := r.Disconnecting(b.t.Context(), account, version, e); err != nil {
		b.t.Fatal(err)
	}
}

const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// put stores a publish of the account and brings it where change says.
func (b *bench) put(account uuid.UUID, change func(*job.Transition)) uuid.UUID {
	b.t.Helper()
	n := publish("toy", account)
	n.AccountVersion = 1
	n.Publish.DueAt = time.Now().Add(-time.Second)
	n.Publish.NextAt = time.Now().Add(time.Hour)
	taken, err := b.store.Store(b.t.Context(), n)
	if err != nil || !taken.Stored {
		b.t.Fatalf("stored %+v (%v)", taken, err)
	}
	if change == nil {
		return taken.Publish.ID
	}
	tr := &job.Transition{Publish: taken.Publish, HasNext: true, NextIn: time.Hour}
	change(tr)
	b.move(tr)
	return taken.Publish.ID
}

func (b *bench) move(tr *job.Transition) job.Publish {
	b.t.Helper()
	w, err := b.store.Write(b.t.Context(), tr)
	if err != nil || !w.Moved {
		b.t.Fatalf("not moved (%v)", err)
	}
	return w.Publish
}

// due makes a publish look now.
func (b *bench) due(id uuid.UUID) {
	b.t.Helper()
	for _, sql := range []string{`UPDATE publishes SET next_at = clock_timestamp() WHERE id = $1`,
		`UPDATE account_lanes SET next_at = clock_timestamp() WHERE account_id = (SELECT account_id FROM publishes WHERE id = $1)`} {
		if _, err := b.pool.Exec(b.t.Context(), sql, id); err != nil {
			b.t.Fatal(err)
		}
	}
}

// sent is a publish whose call has been at the provider, and which is in this
// state since, to be looked at again in an hour.
func (b *bench) sent(account uuid.UUID, state job.State) uuid.UUID {
	b.t.Helper()
	id := b.put(account, func(tr *job.Transition) {
		tr.Lane, tr.SendIn, tr.Settle = job.Arm, time.Millisecond, time.Millisecond
		tr.Publish.State, tr.Publish.Attempt = job.Armed, 1
	})
	tr := &job.Transition{Publish: b.now(id), HasNext: true, NextIn: time.Hour}
	if tr.Publish.State = state; state != job.Unknown && state != job.Armed {
		tr.Lane = job.Free
	}
	if state == job.Unconfirmed {
		tr.Publish.Error = []byte(`{"code":"OUTCOME_UNKNOWN","message":"nobody can tell"}`)
	}
	b.move(tr)
	return id
}

// named is a confirming publish whose post the answer of the commit named.
func (b *bench) named(account uuid.UUID, post string) uuid.UUID {
	b.t.Helper()
	tr := &job.Transition{Publish: b.now(b.sent(account, job.Confirming)), HasNext: true, NextIn: time.Hour}
	tr.Publish.RemoteID = post
	return b.move(tr).ID
}

// heard reads the data of the events of a type, by subject.
func (b *bench) heard(eventType string) map[string][]string {
	b.t.Helper()
	rows, err := b.pool.Query(b.t.Context(), `SELECT event FROM outbox WHERE subject = $1 ORDER BY id`, eventType)
	if err != nil {
		b.t.Fatal(err)
	}
	defer rows.Close()
	out := map[string][]string{}
	for rows.Next() {
		var raw []byte
		if err := rows.Scan(&raw); err != nil {
			b.t.Fatal(err)
		}
		e, err := events.UnmarshalJSON(raw)
		if err != nil {
			b.t.Fatal(err)
		}
		out[e.Subject()] = append(out[e.Subject()], string(e.Data()))
	}
	return out
}

func (b *bench) drained(account uuid.UUID) bool {
	b.t.Helper()
	return b.number(`SELECT count(*) FROM account_lanes WHERE account_id = $1 AND drained_at IS NOT NULL`, account) == 1
}

func TestEveryPublishOfADisconnectedAccountEndsAsFarAsItGot(t *testing.T) {
	b, accounts := withBook(t)
	b.toy.hold, b.toy.blind = make(chan struct{}), true
	one, two, three := uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
	parked := func(reason string) uuid.UUID {
		return b.put(one, func(tr *job.Transition) { tr.Publish.DelayReason = reason })
	}
	want := map[uuid.UUID]job.State{
		b.put(one, nil): job.Failed, parked("token"): job.Failed, parked("reauth"): job.Failed, parked("paused"): job.Failed,
		b.put(one, func(tr *job.Transition) { tr.Publish.State = job.Ready }): job.Failed,
		b.sent(one, job.Unconfirmed):                                          job.Unconfirmed,
		b.sent(one, job.Confirming):                                           job.Unconfirmed,
		b.named(two, "17"):                                                    job.Completed,
		b.sent(one, job.Unknown):                                              job.Unconfirmed,
		b.sent(two, job.Armed):                                                job.Unconfirmed,
	}
	preparing := b.put(three, nil)
	want[preparing] = job.Failed
	b.due(preparing)
	b.start()
	b.wait("one is being prepared", func() bool {
		return b.number(`SELECT count(*) FROM account_lanes WHERE account_id = $1 AND owner IS NOT NULL`, three) == 1
	})
	for _, account := range []uuid.UUID{one, two, three} {
		b.disconnect(accounts, b.run, account, 2)
	}
	b.wait("all are drained", func() bool { return b.drained(one) && b.drained(two) && b.drained(three) })
	close(b.toy.hold)
	failed, unconfirmed := b.heard(events.TypePublishFailed), b.heard(events.TypePublishUnconfirmed)
	for id, state := range want {
		p := b.now(id)
		if p.State != state || !p.NextAt.IsZero() {
			t.Errorf("%s, next at %v, want %s at rest", p.State, p.NextAt, state)
		}
		said := failed[id.String()]
		if state == job.Failed && (len(said) != 1 || !strings.Contains(said[0], `"ACCOUNT_NOT_CONNECTED"`)) {
			t.Errorf("%s: told %v", state, said)
		}
	}
	if len(failed) != 6 || len(unconfirmed) != 3 { // the one that was unconfirmed before was told then
		t.Errorf("told %d failed and %d unconfirmed", len(failed), len(unconfirmed))
	}
	if n := b.number(`SELECT count(*) FROM publish_attempts WHERE step = 'watch' AND outcome = 'ended' AND message LIKE '%disconnecting%'`); n != 1 {
		t.Errorf("%d watches were ended, want that of the unconfirmed one", n)
	}
	for account, n := range map[uuid.UUID]int{one: 3, two: 1, three: 0} {
		var d events.AccountDrained
		said := b.heard(events.TypeAccountDrained)[account.String()]
		if len(said) != 1 || json.Unmarshal([]byte(said[0]), &d) != nil || d.Unconfirmed != n || d.Provider != "toy" {
			t.Errorf("drained %v, want once with %d unconfirmed", said, n)
		}
	}
	if said := slices.Concat(slices.Collect(maps.Values(b.heard(events.TypePublishCompleted)))...); len(said) != 1 || !strings.Contains(said[0], `"postId":"17","permalink":null`) {
		t.Errorf("told of the post that was named: %v", said)
	}
	if posts := b.toy.posted(); len(posts) > 0 {
		t.Errorf("posted %v", posts)
	}
}

func TestWhatIsAtTheProviderSettlesBeforeItsAccountIsDrained(t *testing.T) {
	b, accounts := withBook(t)
	b.cfg.Drain = time.Hour
	b.run = b.runner(nil)
	account := uuid.Must(uuid.NewV7())
	id := b.sent(account, job.Unknown)
	b.disconnect(accounts, b.run, account, 2)
	b.due(id)
	b.start()
	b.wait("it is drained", func() bool { return b.drained(account) })
	if p := b.now(id); p.State != job.Completed {
		t.Errorf("%s, want completed: the provider can be read", p.State)
	}
	if said := b.heard(events.TypeAccountDrained)[account.String()]; len(said) != 1 || !strings.Contains(said[0], `"unconfirmed":0`) {
		t.Errorf("drained %v", said)
	}
}

func TestADrainGoesOnAfterTheDeathOfItsPublisher(t *testing.T) {
	b, accounts := withBook(t)
	ctx, die := context.WithCancel(t.Context())
	defer die()
	dying := b.runner(func(c *Config) {
		c.Failpoint = func(name string) {
			if name == "publish.before_drained" { // it has ended everything, and appends the event
				die()
			}
		}
	})
	account := uuid.Must(uuid.NewV7())
	id := b.put(account, nil)
	b.disconnect(accounts, dying, account, 2)
	if err := dying.drainOnce(ctx); err == nil || b.drained(account) || len(b.heard(events.TypeAccountDrained)) > 0 {
		t.Fatalf("it survived (%v)", err)
	}
	if p := b.now(id); p.State != job.Failed {
		t.Fatalf("%s, want failed before", p.State)
	}
	b.disconnect(accounts, b.run, account, 2) // it was not acked: it comes again
	for range 2 {
		if err := b.run.drainOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	said := b.heard(events.TypeAccountDrained)[account.String()]
	if len(said) != 1 || len(b.heard(events.TypePublishFailed)[id.String()]) != 1 {
		t.Errorf("drained %v, want once", said)
	}
	b.disconnect(accounts, b.run, account, 4)
	if err := b.run.drainOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	if said := b.heard(events.TypeAccountDrained)[account.String()]; len(said) != 2 {
		t.Errorf("disconnected once more: drained %v, want twice", said)
	}
}

func TestTwoPublishersDrainAnAccountOnce(t *testing.T) {
	b, accounts := withBook(t)
	other := b.runner(nil)
	var ids, all []uuid.UUID
	for range 10 {
		account := uuid.Must(uuid.NewV7())
		all = append(all, account)
		for range 30 {
			ids = append(ids, b.put(account, nil))
		}
	}
	b.start()
	b.startToo(other)
	for i, account := range all {
		b.disconnect(accounts, []*Runner{b.run, other}[i%2], account, 2)
		b.disconnect(accounts, []*Runner{other, b.run}[i%2], account, 2)
	}
	b.wait("all are drained", func() bool {
		return b.number(`SELECT count(*) FROM account_lanes WHERE drained_at IS NOT NULL`) == int64(len(all))
	})
	failed, drained := b.heard(events.TypePublishFailed), b.heard(events.TypeAccountDrained)
	for _, id := range ids {
		if len(failed[id.String()]) != 1 {
			t.Errorf("publish %s is told to have failed %d times", id, len(failed[id.String()]))
		}
	}
	for _, account := range all {
		if len(drained[account.String()]) != 1 {
			t.Errorf("account %s is told to be drained %d times", account, len(drained[account.String()]))
		}
	}
}

func TestADrainedEventNamesWhatAskedForIt(t *testing.T) {
	b, accounts := withBook(t)
	account := uuid.Must(uuid.NewV7())
	b.disconnect(accounts, b.run, account, 7)
	if err := b.run.drainOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	var raw []byte
	if err := b.pool.QueryRow(t.Context(), `SELECT event FROM outbox WHERE subject = 'account.drained'`).Scan(&raw); err != nil {
		t.Fatal(err)
	}
	e, err := events.UnmarshalJSON(raw)
	if err != nil {
		t.Fatal(err)
	}
	ext := e.Extensions()
	if ext["causationid"] != "asked" || ext["sequence"] != events.FormatSequence(7) || ext["traceparent"] != parent || ext["partitionkey"] != account.String() {
		t.Errorf("%v", ext)
	}
}

func (b *bench) requestOf(account uuid.UUID, id string) Request {
	return Request{Source: "/test", ID: id, Data: []byte(`{"mediaType":"TEXT","caption":"hello","accountId":"` + account.String() + `"}`)}
}

func TestARequestWhoseAccountIsDisconnectedMeanwhileFails(t *testing.T) {
	b, accounts := withBook(t)
	account := uuid.Must(uuid.NewV7())
	accounts.set(account, "active", 1)
	before := accounts.known[account]
	b.disconnect(accounts, b.run, account, 2)
	accounts.found = func(n int) Account {
		if n == 1 {
			return before // as it was when the request came
		}
		return accounts.known[account]
	}
	taken, err := b.run.Accept(t.Context(), b.requestOf(account, "1"))
	if err != nil || taken.Publish.State != job.Failed || !strings.Contains(string(taken.Publish.Error), "ACCOUNT_NOT_CONNECTED") {
		t.Errorf("%+v (%v), want it failed", taken, err)
	}
	if said := b.heard(events.TypePublishFailed)[taken.Publish.ID.String()]; len(said) != 1 {
		t.Errorf("told %v", said)
	}
	accounts.found = func(int) Account { return before }
	if _, err := b.run.Accept(t.Context(), b.requestOf(account, "2")); err == nil {
		t.Error("a request was taken for an account that drains")
	}
	if n := b.number(`SELECT count(*) FROM publishes`); n != 1 {
		t.Errorf("%d publishes are stored", n)
	}
}
