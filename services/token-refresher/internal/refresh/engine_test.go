package refresh_test

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/oauthaccount"
	"postbus.dev/services/internal/oauthaccount/oauthaccounttest"
	"postbus.dev/services/internal/telemetry/telemetrytest"
	"postbus.dev/services/token-refresher/internal/refresh"
)

// toy is a provider that rotates, and its connector.
type toy struct {
	sent   atomic.Int64
	answer func(n int64) (connectors.Grant, error) // of the n-th call
}

func (*toy) Provider() string { return "toy" }

func (*toy) RefreshRule() connectors.RefreshRule {
	return connectors.RefreshRule{Rotates: true, Call: 10 * time.Second, UserTO: time.Second, Settle: 50 * time.Second}
}

func (p *toy) Refresh(ctx context.Context, _ connectors.Account, _ connectors.Secret) (connectors.Grant, error) {
	if _, err := connectors.SpendArm(ctx); err != nil {
		return connectors.Grant{}, err
	}
	return p.answer(p.sent.Add(1))
}

// given is what a toy answers that does as it should.
func given(int64) (connectors.Grant, error) {
	return connectors.Grant{AccessToken: connectors.NewSecret("new"), RefreshToken: connectors.NewSecret("next"), ExpiresIn: 24 * time.Hour, RefreshIn: 12 * time.Hour}, nil
}

// outage is a store that is away for a while.
type outage struct {
	*oauthaccounttest.Memory
	away *atomic.Bool
}

func (o outage) Claim(ctx context.Context, c oauthaccount.RefreshClaim) ([]oauthaccount.Refreshing, error) {
	if o.away.Load() {
		return nil, errDown
	}
	return o.Memory.Claim(ctx, c)
}

func (o outage) Write(ctx context.Context, w *oauthaccount.RefreshWrite) (oauthaccount.RefreshOutcome, error) {
	if o.away.Load() {
		return 0, errDown
	}
	return o.Memory.Write(ctx, w)
}

// stage is a store with one account of the toy's that is due.
type stage struct {
	store outage
	id    uuid.UUID
	toy   *toy
	told  []string
	log   telemetrytest.Log
}

func newStage() *stage {
	s := &stage{toy: &toy{answer: given}}
	s.store = outage{Memory: oauthaccounttest.NewMemory(oauthaccounttest.MemoryConfig{
		Now: time.Now, Tell: func(_ uuid.UUID, e oauthaccounttest.Told) { s.told = append(s.told, e.Data.EventType()) },
	}), away: &atomic.Bool{}}
	s.id = s.store.Connect(oauthaccount.New{
		Provider: "toy", ProviderAccountID: "1", AccessToken: connectors.NewSecret("old"), RefreshToken: connectors.NewSecret("spent"),
		ExpiresAt: time.Now().Add(2 * time.Hour), RefreshAfter: time.Now().Add(-time.Second),
	}, "user-1")
	return s
}

// run runs a refresher until the function that it returns is called, and has ended.
func (s *stage) run(t *testing.T, meter metric.MeterProvider) (stop func()) {
	t.Helper()
	r, err := refresh.New(refresh.Config{
		Store: s.store, Connectors: map[string]connectors.Connector{"toy": s.toy},
		Logger: slog.New(slog.NewTextHandler(&s.log, nil)), Tracer: tracenoop.NewTracerProvider(), Meter: meter,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- r.Run(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// The database is away for longer than it takes until an answer counts as lost.
// When it comes back everybody comes at once, and whoever has the answer does not
// come first.
func TestATokenIsNotSpentAgainWhileItsSuccessorWaitsForTheDatabase(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage()
		s.toy.answer = func(n int64) (connectors.Grant, error) {
			s.store.away.Store(true)
			return given(n)
		}
		first := s.run(t, noop.NewMeterProvider())
		time.Sleep(5 * time.Minute) // quiet_at has passed
		second := s.run(t, noop.NewMeterProvider())
		time.Sleep(12 * time.Second)
		s.store.away.Store(false)
		time.Sleep(time.Minute)
		first()
		second()
		if row := s.store.Row(s.id); s.toy.sent.Load() != 1 || row.Refresh.Reveal() != "next" || row.TokenVersion != 2 {
			t.Errorf("its token was sent %d times; stored: %+v", s.toy.sent.Load(), row)
		}
	})
}

func TestAShutdownWaitsForNewTokensThatAreNotStored(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage()
		s.toy.answer = func(n int64) (connectors.Grant, error) {
			s.store.away.Store(true)
			return given(n)
		}
		stop := s.run(t, noop.NewMeterProvider())
		time.Sleep(time.Second)
		go func() {
			time.Sleep(time.Hour)
			s.store.away.Store(false)
		}()
		began := time.Now()
		stop()
		if took := time.Since(began); took < time.Hour || s.store.Row(s.id).Access.Reveal() != "new" {
			t.Errorf("it ended after %s; stored: %+v", took, s.store.Row(s.id))
		}
		if !strings.Contains(s.log.String(), "shutdown waits") {
			t.Errorf("the log does not say so: %s", s.log.String())
		}
	})
}

func TestAnAccountThatIsLostWithAnAnswerIsReportedAsThat(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage()
		s.toy.answer = func(n int64) (connectors.Grant, error) {
			if n == 1 {
				return connectors.Grant{}, &connectors.Error{Kind: connectors.KindUnknown}
			}
			return connectors.Grant{}, &connectors.Error{Kind: connectors.KindReauthorize, Reason: connectors.ReasonInvalidGrant}
		}
		reader := sdkmetric.NewManualReader()
		stop := s.run(t, sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)))
		time.Sleep(59 * time.Second)
		if n := s.toy.sent.Load(); n != 1 {
			t.Errorf("sent %d times before it was quiet", n)
		}
		time.Sleep(30 * time.Minute)
		stop()
		if row := s.store.Row(s.id); s.toy.sent.Load() != 2 || row.Status != oauthaccount.ReauthRequired {
			t.Errorf("sent %d times, it is %s", s.toy.sent.Load(), row.Status)
		}
		if n := telemetrytest.Counted(t, reader, "postbus.refresh.unanswered", "postbus.provider=toy", "postbus.outcome=doomed"); n != 1 {
			t.Errorf("counted %d", n)
		}
	})
}
