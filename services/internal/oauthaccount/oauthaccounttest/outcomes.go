package oauthaccounttest

import (
	"time"

	"postbus.dev/events"
	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/oauthaccount"
)

var renewCases = []contractCase{
	{"new tokens, their version and the event are stored together", func(s *suite) {
		r := s.due()
		w := renewed(r, "access-2", "refresh-2")
		w.Grant.TokenType, w.Grant.Scope = "new type", "new"
		s.write(w, oauthaccount.RefreshStored)
		s.tokens(r.ID, 2, "access-2", "refresh-2")
		row := s.Row(r.ID)
		s.at("the end of the token", row.ExpiresAt, 24*time.Hour)
		s.at("the end of the grant", row.GrantEndsAt, 180*24*time.Hour)
		s.at("the next turn", row.RefreshAfter, 12*time.Hour)
		if row.TokenType != "new type" || row.Scope != "new" || !row.LeaseUntil.IsZero() || row.Status != oauthaccount.Active || row.Version != 2 {
			s.Errorf("stored %+v", row)
		}
		s.tells(r.ID, "token.refreshed 2")
		if d := told[events.TokenRefreshed](s, 0, r); d.TokenVersion != 2 || d.AccountID != r.ID.String() || d.Provider != s.p {
			s.Errorf("told %+v", d)
		} else {
			s.at("the end that is told", d.ExpiresAt, 24*time.Hour)
		}
	}},
	{"what a provider does not say stays as it was", func(s *suite) {
		r := s.due()
		s.write(&oauthaccount.RefreshWrite{
			Of: r, Step: oauthaccount.RefreshRenewed, Grant: connectors.Grant{AccessToken: connectors.NewSecret("access-2")},
		}, oauthaccount.RefreshStored)
		s.tokens(r.ID, 2, "access-2", "refresh-1")
		row := s.Row(r.ID)
		s.at("the end of the grant", row.GrantEndsAt, 48*time.Hour-time.Minute)
		if row.TokenType != "bearer" || row.Scope != "old" || !row.ExpiresAt.IsZero() || !row.RefreshAfter.IsZero() {
			s.Errorf("stored %+v", row)
		}
	}},
	{"an empty token is never stored", func(s *suite) {
		r := s.due()
		w := renewed(r, "", "refresh-2")
		if out, err := s.Write(s.Context(), w); err == nil {
			s.Errorf("outcome %d", out)
		}
		s.tokens(r.ID, 1, "access-1", "refresh-1")
		s.tells(r.ID)
	}},
	{"new tokens that are written again are stored once", func(s *suite) {
		r := s.due()
		w := renewed(r, "access-2", "refresh-2")
		for range 3 {
			s.write(w, oauthaccount.RefreshStored)
		}
		s.tokens(r.ID, 2, "access-2", "refresh-2")
		s.tells(r.ID, "token.refreshed 2")
	}},
	{"new tokens are taken from whoever lost its lease", func(s *suite) {
		old := s.due()
		s.Pass(2 * time.Hour)
		now := s.again()
		s.write(renewed(old, "access-2", "refresh-2"), oauthaccount.RefreshStored)
		s.tokens(old.ID, 2, "access-2", "refresh-2")
		s.stale(dead(now, 0)) // it was refused with tokens that are not those of the account any more
		s.stale(renewed(now, "access-3", "refresh-3"))
	}},
	{"new tokens do not replace those of a person who connected it anew", func(s *suite) {
		r := s.due()
		s.Connect(oauthaccount.New{Provider: s.p, ProviderAccountID: "1", AccessToken: connectors.NewSecret("access-9")})
		s.stale(renewed(r, "access-2", "refresh-2"))
		s.stale(dead(r, 0))
		s.tokens(r.ID, 2, "access-9", "refresh-1")
	}},
	{"new tokens of an account that is being disconnected are kept for its end", func(s *suite) {
		r := s.due()
		s.Disconnect(r.ID)
		s.stale(failed(r, "unavailable", true))
		s.write(renewed(r, "access-2", "refresh-2"), oauthaccount.RefreshStored)
		s.tokens(r.ID, 2, "access-2", "refresh-2")
		if row := s.Row(r.ID); row.Status != oauthaccount.Disconnecting {
			s.Errorf("it is %s", row.Status)
		}
	}},
	{"an account that was deleted meanwhile is no trouble", func(s *suite) {
		r := s.due()
		s.Delete(r.ID)
		s.write(renewed(r, "access-2", "refresh-2"), oauthaccount.RefreshStale)
		s.write(failed(r, "unavailable", true), oauthaccount.RefreshStale)
	}},
	{"new tokens end failures and bring an account back", func(s *suite) {
		r := s.due()
		s.write(dead(r, time.Minute), oauthaccount.RefreshStored)
		s.Pass(2 * time.Minute)
		s.write(renewed(s.again(), "access-2", "refresh-2"), oauthaccount.RefreshStored)
		if row := s.Row(r.ID); row.Status != oauthaccount.Active || row.Failures != 0 || row.Class != "" || !row.FailedAt.IsZero() {
			s.Errorf("stored %+v", row)
		}
		s.tells(r.ID, "account.reauth_required 2", "token.refreshed 3", "account.recovered 4")
	}},
	{"a grant that works again without new tokens comes back", func(s *suite) {
		r := s.due()
		s.write(dead(r, time.Minute), oauthaccount.RefreshStored)
		s.Pass(2 * time.Minute)
		s.write(alive(s.again()), oauthaccount.RefreshStored)
		s.tokens(r.ID, 1, "access-1", "refresh-1")
		row := s.Row(r.ID)
		s.at("the next look", row.RefreshAfter, time.Hour)
		if row.Status != oauthaccount.Active || row.Failures != 0 {
			s.Errorf("stored %+v", row)
		}
		s.Pass(2 * time.Hour)
		s.write(alive(s.again()), oauthaccount.RefreshStored)
		s.tells(r.ID, "account.reauth_required 2", "account.recovered 3")
	}},
	{"that a grant ends is told once for each grant", func(s *suite) {
		r := s.due()
		ends := leftAlone(r)
		ends.Expiring = 48 * time.Hour
		s.write(ends, oauthaccount.RefreshStored)
		s.Pass(2 * time.Hour)
		more := renewed(s.again(), "access-2", "")
		more.Expiring = 46 * time.Hour // new tokens, the same end
		s.write(more, oauthaccount.RefreshStored)
		s.tells(r.ID, "account.expiring 2", "token.refreshed 3")
		s.at("the end that is told", told[events.AccountExpiring](s, 0, r).ExpiresAt, 48*time.Hour)
		s.Pass(13 * time.Hour)
		s.write(renewed(s.again(), "access-3", "refresh-3"), oauthaccount.RefreshStored) // another end
		s.Pass(13 * time.Hour)
		ends = leftAlone(s.again())
		ends.Expiring = time.Hour
		s.write(ends, oauthaccount.RefreshStored)
		s.tells(r.ID, "account.expiring 2", "token.refreshed 3", "token.refreshed 4", "account.expiring 5")
	}},
}

var failCases = []contractCase{
	{"a failure keeps the tokens and waits", func(s *suite) {
		r := s.due()
		s.write(failed(r, "unavailable", true), oauthaccount.RefreshStored)
		s.tokens(r.ID, 1, "access-1", "refresh-1")
		row := s.Row(r.ID)
		s.at("the next try", row.RefreshAfter, 3*time.Hour)
		s.at("the failure", row.FailedAt, 0)
		if row.Failures != 1 || row.Class != "unavailable" || row.Status != oauthaccount.Active || !row.LeaseUntil.IsZero() {
			s.Errorf("stored %+v", row)
		}
		d := told[events.TokenRefreshFailed](s, 0, r)
		if s.at("the next try that is told", d.NextTryAt, 3*time.Hour); d.Failures != 1 || d.Class != "unavailable" || d.TokenVersion != 1 {
			s.Errorf("told %+v", d)
		}
		s.Pass(4 * time.Hour)
		second := s.again()
		if second.Failures != 1 || second.Class != "unavailable" {
			s.Errorf("claimed %+v", second)
		}
		s.write(failed(second, "throttled", false), oauthaccount.RefreshStored)
		if row := s.Row(r.ID); row.Failures != 2 || row.Class != "throttled" {
			s.Errorf("stored %+v", row)
		}
		s.tells(r.ID, "token.refresh_failed 2")
	}},
	{"that a person must reconnect is told once, and such an account rests", func(s *suite) {
		r := s.due()
		s.write(dead(r, 0), oauthaccount.RefreshStored)
		row := s.Row(r.ID)
		if row.Status != oauthaccount.ReauthRequired || row.Class != connectors.ReasonRevoked || !row.RefreshAfter.IsZero() || !row.LeaseUntil.IsZero() {
			s.Errorf("stored %+v", row)
		}
		d := told[events.AccountReauthRequired](s, 0, r)
		if d.Reason != connectors.ReasonRevoked || d.Detail != "connect it again" || d.AccountID != r.ID.String() || d.UserID == "" {
			s.Errorf("told %+v", d)
		}
		s.Pass(1000 * time.Hour)
		s.idle()
		s.asked(r.ID, 0, true)
		s.write(dead(s.again(), 0), oauthaccount.RefreshStored)
		s.tells(r.ID, "account.reauth_required 2")
	}},
	{"what was left alone is as it was", func(s *suite) {
		r := s.due()
		before := s.Row(r.ID)
		s.write(leftAlone(r), oauthaccount.RefreshStored)
		after := s.Row(r.ID)
		if s.at("the next turn", after.RefreshAfter, time.Hour); after.Failures != 0 || after.Version != before.Version || !after.LeaseUntil.IsZero() {
			s.Errorf("stored %+v", after)
		}
		s.tokens(r.ID, 1, "access-1", "refresh-1")
		s.tells(r.ID)
	}},
}

var armCases = []contractCase{
	{"nobody touches what is armed before it is quiet", func(s *suite) {
		r := s.due()
		s.write(armed(r), oauthaccount.RefreshStored)
		row := s.Row(r.ID)
		s.at("send_by", row.SendBy, time.Hour)
		s.at("quiet_at", row.QuietAt, 2*time.Hour)
		s.Pass(119 * time.Minute)
		s.idle()
		s.Pass(2 * time.Minute)
		if again := s.again(); !again.Lost || again.ID != r.ID || again.TokenVersion != 1 {
			s.Errorf("claimed %+v", again)
		}
		s.tells(r.ID)
	}},
	{"an answer that is lost waits until it is quiet", func(s *suite) {
		r := s.due()
		s.write(armed(r), oauthaccount.RefreshStored)
		s.write(lost(r), oauthaccount.RefreshStored)
		row := s.Row(r.ID)
		if s.at("quiet_at", row.QuietAt, 2*time.Hour); row.Failures != 1 || row.Class != "unanswered" || !row.LeaseUntil.IsZero() {
			s.Errorf("stored %+v", row)
		}
		s.Pass(119 * time.Minute)
		s.idle()
		s.Pass(2 * time.Minute)
		if !s.again().Lost {
			s.Error("it is not said that an answer was lost")
		}
		s.tells(r.ID, "token.refresh_failed 2")
	}},
	{"the wait after many answers that are lost may be longer than that", func(s *suite) {
		r := s.due()
		s.write(armed(r), oauthaccount.RefreshStored)
		w := lost(r)
		w.Next = 3 * time.Hour
		s.write(w, oauthaccount.RefreshStored)
		s.Pass(150 * time.Minute)
		s.idle()
		s.Pass(time.Hour)
		s.again()
	}},
	{"what was not sent is not armed", func(s *suite) {
		r := s.due()
		s.write(armed(r), oauthaccount.RefreshStored)
		s.write(failed(r, "unavailable", false), oauthaccount.RefreshStored)
		if row := s.Row(r.ID); !row.SendBy.IsZero() || !row.QuietAt.IsZero() {
			s.Errorf("stored %+v", row)
		}
		s.Pass(4 * time.Hour)
		if s.again().Lost {
			s.Error("it is said that an answer was lost")
		}
	}},
	{"a lost answer is remembered until one comes", func(s *suite) {
		r := s.due()
		s.write(armed(r), oauthaccount.RefreshStored)
		s.Pass(3 * time.Hour)
		for _, w := range []func(oauthaccount.Refreshing) *oauthaccount.RefreshWrite{
			func(of oauthaccount.Refreshing) *oauthaccount.RefreshWrite { return failed(of, "unavailable", false) }, leftAlone,
		} {
			again := s.again()
			if !again.Lost {
				s.Fatalf("claimed %+v", again)
			}
			s.write(w(again), oauthaccount.RefreshStored)
			s.Pass(4 * time.Hour)
		}
		again := s.again()
		s.write(armed(again), oauthaccount.RefreshStored)
		s.write(renewed(again, "access-2", "refresh-2"), oauthaccount.RefreshStored)
		if row := s.Row(r.ID); !row.QuietAt.IsZero() {
			s.Errorf("stored %+v", row)
		}
		s.Pass(13 * time.Hour)
		if s.again().Lost {
			s.Error("it is remembered after new tokens came")
		}
	}},
	{"a late answer is taken as long as the token was not sent again", func(s *suite) {
		r := s.due()
		s.write(armed(r), oauthaccount.RefreshStored)
		s.Pass(3 * time.Hour)
		s.again() // by another, who has not sent it yet
		s.write(renewed(r, "access-2", "refresh-2"), oauthaccount.RefreshStored)
		s.tokens(r.ID, 2, "access-2", "refresh-2")
		if row := s.Row(r.ID); !row.QuietAt.IsZero() || row.Failures != 0 {
			s.Errorf("stored %+v", row)
		}
	}},
	{"a late answer waits for a later try that is under way", func(s *suite) {
		r := s.due()
		s.write(armed(r), oauthaccount.RefreshStored)
		s.Pass(3 * time.Hour)
		again := s.again()
		s.write(armed(again), oauthaccount.RefreshStored)
		s.write(renewed(r, "access-2", "refresh-2"), oauthaccount.RefreshBusy)
		s.tokens(r.ID, 1, "access-1", "refresh-1")
		s.write(failed(again, "unavailable", false), oauthaccount.RefreshStored)
		s.Pass(3 * time.Hour)
		s.write(renewed(r, "access-2", "refresh-2"), oauthaccount.RefreshStored)
		s.tokens(r.ID, 2, "access-2", "refresh-2")
	}},
	{"a later try that was answered is what counts", func(s *suite) {
		r := s.due()
		s.write(armed(r), oauthaccount.RefreshStored)
		s.Pass(3 * time.Hour)
		again := s.again()
		s.write(armed(again), oauthaccount.RefreshStored)
		s.write(renewed(again, "access-3", "refresh-3"), oauthaccount.RefreshStored)
		s.stale(renewed(r, "access-2", "refresh-2"))
		s.tokens(r.ID, 2, "access-3", "refresh-3")
	}},
	{"that a person must reconnect ends what is armed", func(s *suite) {
		r := s.due()
		s.write(armed(r), oauthaccount.RefreshStored)
		s.write(dead(r, 0), oauthaccount.RefreshStored)
		if row := s.Row(r.ID); !row.SendBy.IsZero() || !row.RefreshAfter.IsZero() || row.Status != oauthaccount.ReauthRequired {
			s.Errorf("stored %+v", row)
		}
	}},
}

// told is the data of an event of an account.
func told[D events.Data](s *suite, i int, of oauthaccount.Refreshing) (d D) {
	s.Helper()
	all := s.Told(of.ID)
	if i >= len(all) {
		s.Fatalf("%d events", len(all))
	}
	d, ok := all[i].Data.(D)
	if !ok {
		s.Errorf("event %d is %T", i, all[i].Data)
	}
	return d
}
