package disconnect_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"postbus.dev/events"
	"postbus.dev/services/account/internal/disconnect"
	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/oauthaccount"
)

func TestADrainedAccountIsRevokedAndThenShredded(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id, other := b.connect(b.user.ID, "1"), b.connect(b.user.ID, "2")
	b.provider.answer = func(context.Context, call, int) error {
		if s := b.status(id); s != "disconnecting" {
			t.Errorf("when the provider is asked it is %s", s)
		}
		return nil
	}
	b.leave(id, events.DisconnectRequested, false)
	b.start(b.job(nil))
	b.awaitStatus(id, "disconnected")
	b.ended(id, "requested", true)
	b.provider.mu.Lock()
	defer b.provider.mu.Unlock()
	if want := (call{"1", canary + "1", canary + "refresh1"}); len(b.provider.calls) != 1 || b.provider.calls[0] != want {
		t.Errorf("revoked %v", b.provider.calls)
	}
	if s := b.status(other); s != "active" {
		t.Errorf("the other account is %s", s)
	}
}

func TestAnAccountWaitsForItsPublishesUntilTheLimit(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.connect(b.user.ID, "1")
	if _, err := b.store.Disconnect(t.Context(), oauthaccount.Select{ID: id}, events.DisconnectRequested, false); err != nil {
		t.Fatal(err)
	}
	first := b.connect(b.user.ID, "2")
	b.leave(first, events.DisconnectRequested, false)
	b.start(b.job(nil))
	b.awaitStatus(first, "disconnected")
	if s := b.status(id); s != "disconnecting" || b.provider.of("1") != 0 {
		t.Errorf("it is %s, revoked %d times", s, b.provider.of("1"))
	}
	b.exec(`UPDATE oauth_accounts SET disconnect_next_at = disconnect_next_at - $1::interval WHERE id = $2`, oauthaccount.DrainLimit, id)
	b.awaitStatus(id, "disconnected")
}

func TestAPokeIsAnsweredBeforeTheNextPoll(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.connect(b.user.ID, "1")
	j := b.job(func(c *disconnect.Config) { c.Poll = time.Hour })
	b.start(j)
	b.leave(id, events.DisconnectRequested, false)
	j.Poke()
	b.awaitStatus(id, "disconnected")
}

func TestAProviderThatFailsIsAskedAFewTimes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer  func(nth int) error
		calls   int
		revoked bool
	}{
		"for ever":            {func(int) error { return failure(connectors.KindRetry) }, 3, false},
		"without classifying": {func(int) error { return fmt.Errorf("what is this") }, 3, false},
		"once":                {func(nth int) error { return onlyFirst(nth, failure(connectors.KindUnknown)) }, 2, true},
		"and may be asked soon": {func(nth int) error {
			return onlyFirst(nth, &connectors.Error{Kind: connectors.KindWait, Wait: time.Millisecond})
		}, 2, true},
		"and will for hours":    {func(int) error { return &connectors.Error{Kind: connectors.KindWait, Wait: time.Hour} }, 1, false},
		"by saying no":          {func(int) error { return failure(connectors.KindReject) }, 1, false},
		"by refusing the token": {func(int) error { return failure(connectors.KindReauthorize) }, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.provider.answer = func(_ context.Context, _ call, nth int) error { return c.answer(nth) }
			id := b.connect(b.user.ID, "1")
			b.leave(id, events.DisconnectRevokedAtProvider, false)
			b.start(b.job(nil))
			b.awaitStatus(id, "disconnected")
			b.ended(id, "revoked_at_provider", c.revoked)
			if n := b.provider.of("1"); n != c.calls {
				t.Errorf("asked %d times, want %d", n, c.calls)
			}
		})
	}
}

func onlyFirst(nth int, err error) error {
	if nth == 1 {
		return err
	}
	return nil
}

func TestAProviderThatHangsHoldsUpNoOtherAccount(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.provider.answer = func(ctx context.Context, c call, _ int) error {
		if c.account == "hangs" {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}
	hangs := b.connect(b.user.ID, "hangs")
	b.leave(hangs, events.DisconnectRequested, false)
	b.start(b.job(func(c *disconnect.Config) { c.Slots, c.Revoking = 2, 3*time.Second }))
	b.eventually("the provider is asked", func() bool { return b.provider.of("hangs") == 1 })
	for i := range 5 {
		id := b.connect(b.user.ID, fmt.Sprint(i))
		b.leave(id, events.DisconnectRequested, false)
		b.awaitStatus(id, "disconnected")
	}
	if s := b.status(hangs); s != "disconnecting" {
		t.Errorf("the others were not faster: it is %s", s)
	}
	b.awaitStatus(hangs, "disconnected")
	b.ended(hangs, "requested", false)
}

func TestTokensThatNobodyCanRevokeAreShreddedAllTheSame(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil  func(*bundle)
		change func(*disconnect.Config)
	}{
		"no connector":       {change: func(c *disconnect.Config) { c.Connectors = nil }},
		"no such capability": {change: func(c *disconnect.Config) { c.Connectors = map[string]connectors.Connector{"test": onlyPublishes{}} }},
		"another keyset":     {spoil: func(b *bundle) { b.exec(`UPDATE oauth_accounts SET access_token = 'rubbish'`) }},
		"a broken refresh":   {spoil: func(b *bundle) { b.exec(`UPDATE oauth_accounts SET refresh_token = 'rubbish'`) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			id := b.connect(b.user.ID, "1")
			if c.spoil != nil {
				c.spoil(b)
			}
			b.leave(id, events.DisconnectRequested, false)
			b.start(b.job(c.change))
			b.awaitStatus(id, "disconnected")
			b.ended(id, "requested", false)
			if n := b.provider.of("1"); n != 0 {
				t.Errorf("asked %d times", n)
			}
		})
	}
}

type onlyPublishes struct{ connectors.Publisher }

func TestTokensThatWereRefreshedMeanwhileAreRevokedToo(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.connect(b.user.ID, "1")
	b.provider.answer = func(_ context.Context, _ call, nth int) error {
		if nth == 1 { // what a refresher that began before does now
			b.exec(`UPDATE oauth_accounts SET token_version = token_version + 1, version = version + 1, refresh_token = NULL`)
		}
		return nil
	}
	b.leave(id, events.DisconnectRequested, false)
	b.start(b.job(func(c *disconnect.Config) { c.Lease = time.Second }))
	b.awaitStatus(id, "disconnected")
	b.provider.mu.Lock()
	defer b.provider.mu.Unlock()
	if len(b.provider.calls) != 2 || b.provider.calls[1].refresh != "" {
		t.Errorf("revoked %d times", len(b.provider.calls))
	}
}

func TestJobsSideBySideTakeEachAccountOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const n = 40
	var ids []uuid.UUID
	for i := range n {
		ids = append(ids, b.connect(b.user.ID, fmt.Sprint(i)))
		b.leave(ids[i], events.DisconnectRequested, i%2 == 0)
	}
	for range 2 {
		b.start(b.job(func(c *disconnect.Config) { c.Slots = 3 }))
	}
	for i, id := range ids {
		b.awaitStatus(id, []string{"erased", "disconnected"}[i%2])
		b.ended(id, "requested", true)
		if n := b.provider.of(fmt.Sprint(i)); n != 1 {
			t.Errorf("revoked %d times", n)
		}
	}
}

func TestAJobThatStandsStillPastItsLeaseChangesNothingMore(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.connect(b.user.ID, "1")
	entered, wake := make(chan struct{}), make(chan struct{})
	b.provider.answer = func(_ context.Context, _ call, nth int) error {
		if nth == 1 {
			close(entered)
			<-wake
			return failure(connectors.KindReject)
		}
		return nil
	}
	b.leave(id, events.DisconnectRequested, false)
	stop := b.start(b.job(nil))
	<-entered
	b.exec(`UPDATE oauth_accounts SET disconnect_next_at = now()`) // its lease has run out
	b.start(b.job(nil))
	b.awaitStatus(id, "disconnected")
	close(wake)
	stop()
	b.ended(id, "requested", true)
}

func TestFinishedAndWaitingAccountsAreCounted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	reader := sdkmetric.NewManualReader()
	waits, id := b.connect(b.user.ID, "waits"), b.connect(b.user.ID, "1")
	if _, err := b.store.Disconnect(t.Context(), oauthaccount.Select{ID: waits}, events.DisconnectRequested, false); err != nil {
		t.Fatal(err)
	}
	b.exec(`UPDATE oauth_accounts SET disconnecting_at = now() - interval '1 minute' WHERE id = $1`, waits)
	b.start(b.job(func(c *disconnect.Config) { c.Meter = sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)) }))
	b.eventually("the backlog is measured", func() bool { return gauge(t, reader, "postbus.account.disconnecting") == 1 })
	if age := gauge(t, reader, "postbus.account.disconnecting_oldest"); age < 60 || age > 180 {
		t.Errorf("the oldest is %f seconds old", age)
	}
	b.leave(id, events.DisconnectRequested, false)
	b.awaitStatus(id, "disconnected")
	b.eventually("the end is counted", func() bool {
		for _, p := range counts(t, reader, "postbus.account.disconnected") {
			set := p.Attributes
			revoked, _ := set.Value("revoked")
			reason, _ := set.Value("reason")
			if p.Value == 1 && revoked == attribute.BoolValue(true) && reason == attribute.StringValue("requested") {
				return true
			}
		}
		return false
	})
}

func collect(t *testing.T, reader sdkmetric.Reader, name string) metricdata.Aggregation {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	for _, s := range all.ScopeMetrics {
		for _, m := range s.Metrics {
			if m.Name == name {
				return m.Data
			}
		}
	}
	return nil
}

func counts(t *testing.T, reader sdkmetric.Reader, name string) []metricdata.DataPoint[int64] {
	t.Helper()
	sum, _ := collect(t, reader, name).(metricdata.Sum[int64])
	return sum.DataPoints
}

// gauge is -1 where nothing was recorded.
func gauge(t *testing.T, reader sdkmetric.Reader, name string) float64 {
	t.Helper()
	switch g := collect(t, reader, name).(type) {
	case metricdata.Gauge[int64]:
		return float64(g.DataPoints[0].Value)
	case metricdata.Gauge[float64]:
		return g.DataPoints[0].Value
	}
	return -1
}

func TestWhatFormerUsersPublishedGoesWhenItIsAskedFor(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first := map[uuid.UUID]bool{} // asked for or not
	for id, asked := range map[string]bool{"asked for": true, "not": false} {
		hers := b.connect(b.user.ID, id)
		b.exec(`UPDATE oauth_accounts SET status = 'disconnected', access_token = NULL, refresh_token = NULL`)
		b.exec(`INSERT INTO publishes (id, account_id, user_id, provider, request, state, due_at, expires_at, ended_at) VALUES (gen_random_uuid(), $1, $2, 'test', 'hers', 'canceled', now(), now(), now())`, hers, b.user.ID)
		b.connect(b.newUser("next of "+id).ID, id)
		first[hers] = asked
	}
	err := pgx.BeginFunc(t.Context(), b.owner, func(tx pgx.Tx) error {
		ids, err := b.store.EraseFormerIn(t.Context(), tx, "test", []string{"asked for", "\x00"})
		if len(ids) != 1 || !first[ids[0]] {
			t.Errorf("%v, of %v", ids, first)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	b.start(b.job(nil))
	b.eventually("one is erased", func() bool { return query[int](b, `SELECT count(*) FROM former_accounts`) == 1 })
	for id, asked := range first {
		if kept := query[bool](b, `SELECT request IS NOT NULL FROM publishes WHERE account_id = $1`, id); kept == asked {
			t.Errorf("asked for: %v, kept: %v", asked, kept)
		}
	}
	b.beginDeletion(b.user.ID)
	b.eventually("she is deleted", func() bool { return query[int](b, `SELECT count(*) FROM users WHERE id = $1`, b.user.ID) == 0 })
	if n := query[int](b, `SELECT (SELECT count(*) FROM former_accounts) + (SELECT count(*) FROM publishes WHERE request IS NOT NULL)`); n != 0 {
		t.Errorf("%d rows are left of a user who was deleted", n)
	}
}
