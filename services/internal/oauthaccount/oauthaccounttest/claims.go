package oauthaccounttest

import (
	"sync"
	"time"

	"github.com/google/uuid"

	"postbus.dev/services/internal/oauthaccount"
)

var claimCases = []contractCase{
	{"what is due is claimed, the longest due of each provider first", func(s *suite) {
		first, third, second := s.account(s.p, -3*time.Hour), s.account(s.p, -time.Hour), s.account(s.p, -2*time.Hour)
		s.account(s.p, 2*time.Hour)
		other, unasked := s.account(s.q, -time.Minute), s.account(s.r, -time.Minute)
		got := map[uuid.UUID]oauthaccount.Refreshing{}
		for _, r := range s.claim(2, s.p, s.q) {
			got[r.ID] = r
		}
		r := got[first]
		if r.Provider != s.p || got[second].Provider != s.p || got[other].Provider != s.q || len(got) != 3 {
			s.Fatalf("claimed %v", got)
		}
		if (r.DueFor-3*time.Hour).Abs() > within || (r.ExpiresIn+time.Hour).Abs() > within || (r.GrantEndsIn-45*time.Hour).Abs() > within ||
			r.Status != oauthaccount.Active || r.TokenVersion != 1 || r.Lost || r.Failures != 0 {
			s.Errorf("claimed %+v", r)
		}
		a, refresh, err := r.Open()
		if err != nil || a.AccessToken.Reveal() != "access-1" || refresh.Reveal() != "refresh-1" || a.ProviderAccountID != "1" || a.ID != first.String() {
			s.Errorf("opened %+v, %v", a, err)
		}
		if rest := s.claim(9, s.p); len(rest) != 1 || rest[0].ID != third {
			s.Errorf("then %v", rest)
		}
		if rest := s.claim(9, s.r); len(rest) != 1 || rest[0].ID != unasked {
			s.Errorf("of the third %v", rest)
		}
	}},
	{"what is claimed is due again when its lease has run out, under another", func(s *suite) {
		first := s.due()
		s.idle()
		s.Pass(59 * time.Minute)
		s.idle()
		s.Pass(2 * time.Minute)
		if second := s.again(); second.ID != first.ID || second.Lease == first.Lease {
			s.Errorf("claimed %+v, then %+v", first, second)
		}
	}},
	{"of many who claim at once each account goes to one", func(s *suite) {
		const accounts, claimers = 30, 6
		for range accounts {
			s.account(s.p, -time.Minute)
		}
		var mu sync.Mutex
		var all sync.WaitGroup
		got := map[uuid.UUID]int{}
		for range claimers {
			all.Go(func() {
				rs, err := s.Claim(s.Context(), oauthaccount.RefreshClaim{Providers: []string{s.p}, Limit: 10, Lease: time.Hour})
				if err != nil {
					s.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				for _, r := range rs {
					got[r.ID]++
				}
			})
		}
		all.Wait()
		for _, r := range s.claim(accounts, s.p) { // what others held in that moment
			got[r.ID]++
		}
		for id, n := range got {
			if n != 1 {
				s.Errorf("%s was claimed %d times", id, n)
			}
		}
		if len(got) != accounts {
			s.Errorf("%d of %d were claimed", len(got), accounts)
		}
	}},
	{"an account that is being disconnected is not claimed", func(s *suite) {
		s.Disconnect(s.account(s.p, -time.Minute))
		s.idle()
	}},
	{"whoever lost its lease moves nothing", func(s *suite) {
		old := s.due()
		s.Pass(2 * time.Hour)
		now := s.again()
		for _, w := range []*oauthaccount.RefreshWrite{armed(old), lost(old), failed(old, "unavailable", true), dead(old, 0), alive(old), leftAlone(old)} {
			s.stale(w)
		}
		s.write(failed(now, "unavailable", false), oauthaccount.RefreshStored)
		s.stale(failed(now, "unavailable", true)) // its turn is over, too
	}},
	{"what is due is counted by provider", func(s *suite) {
		s.account(s.p, -3*time.Hour)
		s.account(s.p, -time.Minute)
		s.account(s.p, time.Hour)
		s.Disconnect(s.account(s.p, -4*time.Hour))
		s.account(s.q, -time.Minute)
		got := s.backlog()
		p, q := dueOf(got, s.p), dueOf(got, s.q)
		if p.Due != 2 || p.Overdue != 1 || (p.Oldest-3*time.Hour).Abs() > within || q.Due != 1 || q.Overdue != 0 {
			s.Errorf("counted %+v", got)
		}
		s.claim(10, s.p, s.q)
		if got := s.backlog(); dueOf(got, s.p).Due+dueOf(got, s.q).Due != 0 {
			s.Errorf("with all at work: %+v", got)
		}
	}},
}

func (s *suite) backlog() []oauthaccount.DueRefreshes {
	s.Helper()
	got, err := s.Due(s.Context(), time.Hour)
	if err != nil {
		s.Fatal(err)
	}
	return got
}

func dueOf(all []oauthaccount.DueRefreshes, provider string) (d oauthaccount.DueRefreshes) {
	for _, d := range all {
		if d.Provider == provider {
			return d
		}
	}
	return d
}

var askCases = []contractCase{
	{"an account is made due if its tokens are those that did not work", func(s *suite) {
		id := s.account(s.p, time.Hour)
		s.asked(id, 1, true)
		s.write(renewed(s.again(), "access-2", "refresh-2"), oauthaccount.RefreshStored)
		s.asked(id, 1, false) // of before
		s.asked(id, 3, false) // of what is not yet
		s.idle()
		s.asked(id, 2, true)
		s.asked(id, 2, false) // it is
		s.again()
		s.asked(uuid.New(), 1, false)
	}},
	{"an operator need not know the version of the tokens", func(s *suite) {
		s.asked(s.account(s.p, time.Hour), 0, true)
		s.again()
	}},
	{"asking while a refresh is under way changes nothing", func(s *suite) {
		r := s.due()
		s.asked(r.ID, 1, false)
		s.idle()
		s.write(armed(r), oauthaccount.RefreshStored)
		s.Pass(90 * time.Minute)
		s.asked(r.ID, 1, false)
		s.idle()
		s.write(lost(r), oauthaccount.RefreshStored) // nobody has it, and it is not quiet
		s.asked(r.ID, 1, false)
		s.idle()
	}},
	{"asking does not shorten the rest after a failure, only what follows it", func(s *suite) {
		r := s.due()
		s.write(failed(r, "unavailable", false), oauthaccount.RefreshStored)
		s.asked(r.ID, 1, false)
		s.Pass(31 * time.Minute)
		s.asked(r.ID, 1, true)
		s.again()
	}},
	{"an account that has to be reconnected is looked at when somebody asks", func(s *suite) {
		r := s.due()
		s.write(dead(r, 0), oauthaccount.RefreshStored)
		s.Pass(time.Hour)
		s.asked(r.ID, 1, true)
		if got := s.again(); got.Status != oauthaccount.ReauthRequired {
			s.Errorf("claimed %+v", got)
		}
	}},
	{"an account that is being disconnected is not made due", func(s *suite) {
		id := s.account(s.p, time.Hour)
		s.Disconnect(id)
		s.asked(id, 1, false)
	}},
}

func (s *suite) asked(id uuid.UUID, version int64, want bool) {
	s.Helper()
	got, err := s.MakeDue(s.Context(), id, version, 30*time.Minute)
	if err != nil || got != want {
		s.Errorf("asked for version %d: %t, %v", version, got, err)
	}
}
