package oauthaccount_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"postbus.dev/events"
	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/oauthaccount"
)

func TestConnectingAnAccountTellsOfIt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx, span := sdktrace.NewTracerProvider().Tracer("test").Start(t.Context(), "connect")
	n := full(b.user)
	c, err := b.store.Connect(ctx, n)
	if err != nil {
		t.Fatal(err)
	}
	if c.Reconnected || c.Recovered || c.Account.Status != oauthaccount.Active || c.Account.Version != 1 || c.Account.TokenVersion != 1 {
		t.Errorf("connected %+v", c)
	}
	told := b.told(uuid.Nil)
	if len(told) != 1 {
		t.Fatalf("%d events", len(told))
	}
	e, id := told[0], c.Account.ID.String()
	if e.Source() != "/postbus/account" || e.Subject() != id || e.Extensions()[events.ExtPartitionKey] != id || sequence(t, e) != 1 {
		t.Errorf("the event is %v", e)
	}
	if parent, _ := e.Extensions()[events.ExtTraceParent].(string); !strings.Contains(parent, span.SpanContext().TraceID().String()) {
		t.Errorf("its trace is %q", parent)
	}
	var d events.AccountConnected
	b.decode(e, &d)
	if d.AccountID != id || d.UserID != "user-1" || d.Provider != n.Provider || d.ProviderAccountID != n.ProviderAccountID ||
		d.Username != n.Username || d.Scope != n.Scope || d.Reconnected {
		t.Errorf("its data are %+v", d)
	}
	if b.pokes.Load() != 1 {
		t.Errorf("the relay was poked %d times", b.pokes.Load())
	}
}

func TestAnAccountThatIsConnectedAgainGetsTheNewTokens(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := full(b.user)
	id := b.connect(n).Account.ID
	n.AccessToken, n.Username, n.RefreshToken, n.Metadata = connectors.NewSecret("newer"), "flora", connectors.Secret{}, nil
	c := b.connect(n)
	if c.Account.ID != id || !c.Reconnected || c.Recovered || c.Account.TokenVersion != 2 || c.Account.Username != "flora" {
		t.Errorf("connected %+v", c)
	}
	if a, err := b.get(id).Open(); err != nil || a.AccessToken.Reveal() != "newer" {
		t.Errorf("opened %v", err)
	}
	if !query[bool](b, `SELECT refresh_token IS NOT NULL AND refresh_expires_at IS NOT NULL AND metadata = '{"app": 1}' FROM oauth_accounts`) {
		t.Error("what the reconnect lacked took away what was there")
	}
	if got := b.types(id); !slices.Equal(got, []string{"account.connected 1", "account.connected 2"}) {
		t.Errorf("told %v", got)
	}
	var d events.AccountConnected
	if b.decode(b.told(id)[1], &d); !d.Reconnected {
		t.Errorf("told %+v", d)
	}
}

func TestReconnectingAnAccountThatNeededItTellsThatItRecovered(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.connect(full(b.user)).Account.ID
	b.exec(`UPDATE oauth_accounts SET status = 'reauth_required', failure_count = 3, failure_class = 'invalid_grant', failed_at = now()`)
	c := b.connect(full(b.user))
	a := c.Account
	if !c.Recovered || a.Status != oauthaccount.Active || a.FailureCount != 0 || a.FailureClass != "" || !a.FailedAt.IsZero() {
		t.Errorf("connected %+v", c)
	}
	if got := b.types(id); !slices.Equal(got, []string{"account.connected 1", "account.connected 2", "account.recovered 3"}) {
		t.Errorf("told %v", got)
	}
	if v := b.get(id).Version; v != 3 {
		t.Errorf("version %d is not that of the last event", v)
	}
	var d events.AccountRecovered
	if b.decode(b.told(id)[2], &d); d.AccountID != id.String() || d.UserID != "user-1" || d.Provider != "instagram" {
		t.Errorf("told %+v", d)
	}
}

func TestADisconnectedAccountIsReconnectedUnderItsID(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.connect(full(b.user)).Account.ID
	b.disconnected(id)
	c := b.connect(full(b.user))
	if c.Account.ID != id || !c.Reconnected || c.Recovered || c.Account.DisconnectReason != "" || !c.Account.DisconnectingAt.IsZero() {
		t.Errorf("connected %+v", c)
	}
	want := []string{"account.connected 1", "account.disconnecting 2", "account.disconnected 3", "account.connected 4"}
	if got := b.types(id); !slices.Equal(got, want) {
		t.Errorf("told %v", got)
	}
	if b.disconnect(id, events.DisconnectRequested, false); !query[bool](b, `SELECT drained_at IS NULL FROM oauth_accounts`) {
		t.Error("it counts as drained already")
	}
}

func TestAnAccountOfAnotherUserIsNotTaken(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.connect(full(b.user)).Account.ID
	thief := full(b.newUser("user-2"))
	thief.AccessToken = connectors.NewSecret("stolen")
	taken := func(when string) {
		t.Helper()
		if _, err := b.store.Connect(t.Context(), thief); !errors.Is(err, oauthaccount.ErrTaken) {
			t.Errorf("%s: %v", when, err)
		}
	}
	taken("active")
	b.exec(`UPDATE oauth_accounts SET status = 'reauth_required'`)
	taken("waiting for its user")
	if c, err := b.get(id).Open(); err != nil || c.AccessToken.Reveal() != token || c.UserID != b.user.String() {
		t.Errorf("the account has changed: %+v %v", c, err)
	}
	b.disconnect(id, events.DisconnectRequested, false)
	taken("disconnecting")
	if _, err := b.store.Connect(t.Context(), full(b.user)); !errors.Is(err, oauthaccount.ErrDisconnecting) {
		t.Errorf("its own user, meanwhile: %v", err)
	}
	if got := b.types(uuid.Nil); !slices.Equal(got, []string{"account.connected 1", "account.disconnecting 2"}) {
		t.Errorf("told %v", got)
	}
}

func TestAnAccountThatAnotherUserHasDisconnectedIsANewOne(t *testing.T) {
	t.Parallel()
	b := setup(t)
	old := b.connect(full(b.user)).Account.ID
	b.disconnected(old)
	n := full(b.newUser("user-2"))
	c := b.connect(n)
	if c.Account.ID == old || c.Reconnected || c.Account.UserExternalID != "user-2" || c.Account.Version != 1 {
		t.Errorf("connected %+v", c)
	}
	if n := query[int](b, `SELECT count(*) FROM oauth_accounts`); n != 1 {
		t.Errorf("%d rows", n)
	}
	if got := b.types(c.Account.ID); !slices.Equal(got, []string{"account.connected 1"}) {
		t.Errorf("told %v", got)
	}
	if _, err := b.store.Connect(t.Context(), full(b.user)); !errors.Is(err, oauthaccount.ErrTaken) {
		t.Errorf("the first user, afterwards: %v", err)
	}
}

func TestNothingIsConnectedForAUserWhoIsGoneOrGoing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	if _, err := b.store.Connect(t.Context(), full(uuid.New())); !errors.Is(err, oauthaccount.ErrUserGone) {
		t.Errorf("nobody: %v", err)
	}
	b.exec(`UPDATE users SET deleting_at = now()`)
	if _, err := b.store.Connect(t.Context(), full(b.user)); !errors.Is(err, oauthaccount.ErrUserGone) {
		t.Errorf("one who is being deleted: %v", err)
	}
	if n := query[int](b, `SELECT count(*) FROM oauth_accounts`) + len(b.told(uuid.Nil)); n != 0 {
		t.Errorf("%d rows and events", n)
	}
}

func TestADeletionThatComesFirstIsWaitedFor(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tx, err := b.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.WithoutCancel(t.Context()))
	if _, err := tx.Exec(t.Context(), `UPDATE users SET deleting_at = now()`); err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 1)
	go func() {
		_, err := b.store.Connect(context.WithoutCancel(t.Context()), full(b.user))
		got <- err
	}()
	b.eventually("the connect waits", func() bool {
		return query[int](b, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) == 1
	})
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-got; !errors.Is(err, oauthaccount.ErrUserGone) {
		t.Errorf("got %v", err)
	}
}

func TestAnAccountWithoutTokenOrUserIsNotWritten(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for name, spoil := range map[string]func(*oauthaccount.New){
		"no token":               func(n *oauthaccount.New) { n.AccessToken = connectors.Secret{} },
		"no provider":            func(n *oauthaccount.New) { n.Provider = "" },
		"no provider account id": func(n *oauthaccount.New) { n.ProviderAccountID = "" },
		"unknown user":           func(n *oauthaccount.New) { n.UserID = uuid.New() },
		"metadata of no JSON":    func(n *oauthaccount.New) { n.Metadata = json.RawMessage(`{`) },
	} {
		n := full(b.user)
		spoil(&n)
		if _, err := b.store.Connect(t.Context(), n); err == nil || strings.Contains(err.Error(), token) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := query[int](b, `SELECT count(*) FROM oauth_accounts`); n != 0 {
		t.Errorf("%d written", n)
	}
}

func TestNoAccountIsWrittenWithoutItsEvent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	mend := b.failing()
	if _, err := b.store.Connect(t.Context(), full(b.user)); err == nil || strings.Contains(err.Error(), token) {
		t.Errorf("got %v", err)
	}
	if n := query[int](b, `SELECT count(*) FROM oauth_accounts`); n != 0 || b.pokes.Load() != 0 {
		t.Errorf("%d written, %d pokes", n, b.pokes.Load())
	}
	mend()
	id := b.connect(full(b.user)).Account.ID
	b.exec(`CREATE TRIGGER refuse BEFORE INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION refuse()`)
	n := full(b.user)
	n.AccessToken = connectors.NewSecret("newer")
	if _, err := b.store.Connect(t.Context(), n); err == nil {
		t.Error("connected again without its event")
	}
	if c, err := b.get(id).Open(); err != nil || c.AccessToken.Reveal() != token || c.TokenVersion != 1 {
		t.Errorf("the token has changed: %v", err)
	}
}

func TestAStoreWithoutAServiceOnlyReads(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.account(b.user, "instagram", "1")
	reader, err := oauthaccount.NewStore(oauthaccount.StoreConfig{Pool: b.pool, Sealer: b.sealer})
	if err != nil {
		t.Fatal(err)
	}
	if a, err := reader.One(t.Context(), b.user, id); err != nil || a.ID != id {
		t.Errorf("read %+v, %v", a, err)
	}
	if _, err := reader.Connect(t.Context(), full(b.user)); err == nil {
		t.Error("connected")
	}
	if _, err := reader.Disconnect(t.Context(), oauthaccount.Select{ID: id}, events.DisconnectRequested, false); err == nil {
		t.Error("disconnected")
	}
}

// crowd runs f n times at once and returns the errors in their order.
func crowd(n int, f func(i int) error) []error {
	errs, start := make([]error, n), make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = f(i)
		})
	}
	close(start)
	wg.Wait()
	return errs
}

// inOrder fails unless the account's events are numbered from 1 without a gap,
// and its version is that of the last one.
func (b bundle) inOrder(id uuid.UUID) {
	b.Helper()
	var seen []int64
	for _, e := range b.told(id) {
		seen = append(seen, sequence(b.T, e))
	}
	slices.Sort(seen)
	for i, n := range seen {
		if n != int64(i)+1 {
			b.Fatalf("events are numbered %v", seen)
		}
	}
	if v := b.get(id).Version; v != int64(len(seen)) {
		b.Errorf("version %d after %d events", v, len(seen))
	}
}

func TestReconnectsAtTheSameMomentComeOneAfterTheOther(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const n = 8
	for _, err := range crowd(n, func(i int) error {
		one := full(b.user)
		one.AccessToken = connectors.NewSecret(fmt.Sprint("token-", i))
		_, err := b.store.Connect(t.Context(), one)
		return err
	}) {
		if err != nil {
			t.Error(err)
		}
	}
	id := query[uuid.UUID](b, `SELECT id FROM oauth_accounts`)
	if a := b.get(id); a.TokenVersion != n {
		t.Errorf("token version %d", a.TokenVersion)
	}
	b.inOrder(id)
}

func TestOfUsersWhoConnectAnAccountAtTheSameMomentOneHasIt(t *testing.T) {
	t.Parallel()
	for _, before := range []string{"new", "disconnected"} {
		t.Run(before, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			if before == "disconnected" {
				b.disconnected(b.connect(full(b.user)).Account.ID)
			}
			const n = 6
			users := make([]uuid.UUID, n)
			for i := range users {
				users[i] = b.newUser(fmt.Sprint("rival-", i))
			}
			won := 0
			for _, err := range crowd(n, func(i int) error {
				_, err := b.store.Connect(t.Context(), full(users[i]))
				return err
			}) {
				if err == nil {
					won++
				} else if !errors.Is(err, oauthaccount.ErrTaken) {
					t.Error(err)
				}
			}
			if rows := query[int](b, `SELECT count(*) FROM oauth_accounts`); won != 1 || rows != 1 {
				t.Errorf("%d have connected it, %d rows", won, rows)
			}
			b.inOrder(query[uuid.UUID](b, `SELECT id FROM oauth_accounts`))
		})
	}
}

func TestAReconnectAndADisconnectAtTheSameMomentComeOneAfterTheOther(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.connect(full(b.user)).Account.ID
	for range 10 {
		errs := crowd(2, func(i int) error {
			if i == 0 {
				_, err := b.store.Disconnect(t.Context(), oauthaccount.Select{ID: id}, events.DisconnectRequested, false)
				return err
			}
			_, err := b.store.Connect(t.Context(), full(b.user))
			return err
		})
		if errs[0] != nil || errs[1] != nil && !errors.Is(errs[1], oauthaccount.ErrDisconnecting) {
			t.Fatal(errs)
		}
		if s := b.get(id).Status; s != oauthaccount.Disconnecting {
			t.Fatalf("a disconnect was lost: %s", s)
		}
		b.inOrder(id)
		b.due()
		b.finish(true)
		b.connect(full(b.user))
	}
}

func (b bundle) eventually(what string, f func() bool) {
	b.Helper()
	for deadline := time.Now().Add(20 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatal("not in time: " + what)
		}
	}
}
