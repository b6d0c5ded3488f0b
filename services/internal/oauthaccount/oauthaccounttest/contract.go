package oauthaccounttest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/oauthaccount"
)

// Store is what is held to the contract.
type Store interface {
	Claim(ctx context.Context, c oauthaccount.RefreshClaim) ([]oauthaccount.Refreshing, error)
	Write(ctx context.Context, w *oauthaccount.RefreshWrite) (oauthaccount.RefreshOutcome, error)
	MakeDue(ctx context.Context, id uuid.UUID, tokenVersion int64, rest time.Duration) (bool, error)
	Due(ctx context.Context, overdue time.Duration) ([]oauthaccount.DueRefreshes, error)
}

// Rig is a Store, and what else a test does to its accounts.
type Rig interface {
	Store
	Connect(n oauthaccount.New) uuid.UUID // for a user of the rig's
	Disconnect(id uuid.UUID)              // begins to
	Delete(id uuid.UUID)
	Row(id uuid.UUID) Row
	// Told are the events of refreshes, in the order in which they were stored.
	Told(id uuid.UUID) []Told
	Pass(d time.Duration) // lets that time pass for all that was connected here
}

// Contract runs the suite that every Store passes. The rigs of its cases may share
// a store: each has providers of its own.
func Contract(t *testing.T, rig func(t *testing.T) Rig) {
	for i, c := range slices.Concat(claimCases, renewCases, failCases, armCases, askCases) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(&suite{T: t, Rig: rig(t), p: fmt.Sprint("p-", i), q: fmt.Sprint("q-", i), r: fmt.Sprint("r-", i)})
		})
	}
}

type contractCase struct {
	name string
	run  func(s *suite)
}

// suite is one case at work.
type suite struct {
	*testing.T
	Rig
	p, q, r   string // providers
	connected int
}

// within is how far a stored time may be from the one that is wanted: a test and
// a database take their time.
const within = 2 * time.Minute

// account connects one of a provider that is due after so long.
func (s *suite) account(provider string, due time.Duration) uuid.UUID {
	s.connected++
	now := time.Now()
	return s.Connect(oauthaccount.New{
		Provider: provider, ProviderAccountID: fmt.Sprint(s.connected), AccessToken: connectors.NewSecret("access-1"),
		RefreshToken: connectors.NewSecret("refresh-1"), TokenType: "bearer", Scope: "old",
		ExpiresAt: now.Add(due + 2*time.Hour), RefreshExpiresAt: now.Add(due + 48*time.Hour), RefreshAfter: now.Add(due),
	})
}

func (s *suite) claim(limit int, providers ...string) []oauthaccount.Refreshing {
	s.Helper()
	got, err := s.Claim(s.Context(), oauthaccount.RefreshClaim{Providers: providers, Limit: limit, Lease: time.Hour})
	if err != nil {
		s.Fatal(err)
	}
	return got
}

// due is an account whose turn has come, claimed.
func (s *suite) due() oauthaccount.Refreshing {
	s.Helper()
	s.account(s.p, -time.Minute)
	return s.again()
}

// again claims the one account that is due.
func (s *suite) again() oauthaccount.Refreshing {
	s.Helper()
	got := s.claim(10, s.p)
	if len(got) != 1 {
		s.Fatalf("%d accounts are due", len(got))
	}
	return got[0]
}

func (s *suite) idle() {
	s.Helper()
	if got := s.claim(10, s.p); len(got) != 0 {
		s.Errorf("%d accounts are due", len(got))
	}
}

func (s *suite) write(w *oauthaccount.RefreshWrite, want oauthaccount.RefreshOutcome) {
	s.Helper()
	got, err := s.Write(s.Context(), w)
	if err != nil {
		s.Fatal(err)
	}
	if got != want {
		s.Errorf("step %d: outcome %d, want %d", w.Step, got, want)
	}
}

// stale wants a write to move nothing.
func (s *suite) stale(w *oauthaccount.RefreshWrite) {
	s.Helper()
	before, told := s.Row(w.Of.ID), len(s.Told(w.Of.ID))
	s.write(w, oauthaccount.RefreshStale)
	if after := s.Row(w.Of.ID); fmt.Sprint(after) != fmt.Sprint(before) || after.Access.Reveal() != before.Access.Reveal() {
		s.Errorf("step %d changed the account:\n%+v\n%+v", w.Step, before, after)
	}
	if n := len(s.Told(w.Of.ID)); n != told {
		s.Errorf("step %d told %d events", w.Step, n-told)
	}
}

// tells wants the events of an account, "type sequence" each.
func (s *suite) tells(id uuid.UUID, want ...string) {
	s.Helper()
	var got []string
	for _, e := range s.Told(id) {
		got = append(got, fmt.Sprintf("%s %d", e.Data.EventType(), e.Sequence))
	}
	if !slices.Equal(got, want) {
		s.Errorf("told %s, want %s", strings.Join(got, ", "), strings.Join(want, ", "))
	}
}

// at wants a stored time to be so far from now.
func (s *suite) at(what string, got time.Time, want time.Duration) {
	s.Helper()
	if off := time.Until(got) - want; off.Abs() > within {
		s.Errorf("%s is %s from now, want %s", what, time.Until(got).Round(time.Second), want)
	}
}

func (s *suite) tokens(id uuid.UUID, version int64, access, refresh string) {
	s.Helper()
	r := s.Row(id)
	if r.TokenVersion != version || r.Access.Reveal() != access || r.Refresh.Reveal() != refresh {
		s.Errorf("version %d, tokens %q and %q; want %d, %q, %q", r.TokenVersion, r.Access.Reveal(), r.Refresh.Reveal(), version, access, refresh)
	}
}

func renewed(of oauthaccount.Refreshing, access, refresh string) *oauthaccount.RefreshWrite {
	return &oauthaccount.RefreshWrite{
		Of: of, Step: oauthaccount.RefreshRenewed, Next: 12 * time.Hour, Grant: connectors.Grant{
			AccessToken: connectors.NewSecret(access), RefreshToken: connectors.NewSecret(refresh),
			ExpiresIn: 24 * time.Hour, RefreshExpiresIn: 180 * 24 * time.Hour,
		},
	}
}

func armed(of oauthaccount.Refreshing) *oauthaccount.RefreshWrite {
	return &oauthaccount.RefreshWrite{Of: of, Step: oauthaccount.RefreshArmed, SendIn: time.Hour, Settle: time.Hour}
}

func lost(of oauthaccount.Refreshing) *oauthaccount.RefreshWrite {
	return &oauthaccount.RefreshWrite{Of: of, Step: oauthaccount.RefreshLost, Class: "unanswered", Next: time.Minute, Tell: true}
}

func failed(of oauthaccount.Refreshing, class string, tell bool) *oauthaccount.RefreshWrite {
	return &oauthaccount.RefreshWrite{Of: of, Step: oauthaccount.RefreshFailed, Class: class, Next: 3 * time.Hour, Tell: tell}
}

func dead(of oauthaccount.Refreshing, next time.Duration) *oauthaccount.RefreshWrite {
	return &oauthaccount.RefreshWrite{Of: of, Step: oauthaccount.RefreshDead, Reason: connectors.ReasonRevoked, Detail: "connect it again", Next: next}
}

func alive(of oauthaccount.Refreshing) *oauthaccount.RefreshWrite {
	return &oauthaccount.RefreshWrite{Of: of, Step: oauthaccount.RefreshAlive, Next: time.Hour}
}

func leftAlone(of oauthaccount.Refreshing) *oauthaccount.RefreshWrite {
	return &oauthaccount.RefreshWrite{Of: of, Step: oauthaccount.RefreshLeft, Next: time.Hour}
}
