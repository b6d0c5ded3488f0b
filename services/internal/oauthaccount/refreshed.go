package oauthaccount

import (
	"time"

	"github.com/google/uuid"

	"postbus.dev/events"
	"postbus.dev/services/connectors"
)

// RefreshStep is what a RefreshWrite tells of an account.
type RefreshStep int

// The steps.
const (
	// RefreshArmed: a refresh that rotates is about to be sent. It has to move
	// before it is.
	RefreshArmed RefreshStep = iota
	// RefreshRenewed: the provider gave new tokens. This is proof, and taken from
	// whoever has it, whatever became of the lease.
	RefreshRenewed
	// RefreshAlive: a grant without anything to refresh works.
	RefreshAlive
	// RefreshFailed: the tokens are what they were.
	RefreshFailed
	// RefreshLost: nobody knows whether the tokens are what they were. Nobody
	// tries again before quiet_at.
	RefreshLost
	// RefreshDead: the provider takes the tokens no more. A person must reconnect.
	RefreshDead
	// RefreshLeft: nothing was tried, and the account is as it was.
	RefreshLeft
)

// RefreshWrite is one step of an account that Claim returned.
type RefreshWrite struct {
	Of   Refreshing
	Step RefreshStep

	Grant  connectors.Grant // RefreshRenewed
	SendIn time.Duration    // RefreshArmed: from now to send_by
	Settle time.Duration    // RefreshArmed: from send_by to quiet_at
	// Next is when it is due again, from now; 0: never. RefreshArmed leaves it to
	// quiet_at, and RefreshLost is not due before that.
	Next time.Duration

	Class  string // RefreshFailed, RefreshLost: of the failure; short and stable
	Tell   bool   // RefreshFailed, RefreshLost: append token.refresh_failed
	Reason string // RefreshDead: one of connectors' Reason constants
	Detail string // RefreshDead: what to do, for people
	// Expiring, where not zero, appends account.expiring, if that was not told of
	// this grant: when it ends, from now.
	Expiring time.Duration

	// The new tokens, sealed once: by the ciphertext a write that is tried again
	// knows that it has been done.
	access, refresh []byte
	parent, state   string // trace context
}

// RefreshOutcome is what became of a RefreshWrite.
type RefreshOutcome int

// The outcomes.
const (
	// RefreshStored: the account is as the write says.
	RefreshStored RefreshOutcome = iota
	// RefreshStale: it has other tokens by now, or is somebody else's. What was to
	// be written is of no use.
	RefreshStale
	// RefreshBusy (RefreshRenewed): a later refresh with the same tokens is at the
	// provider. If it fails these are the right ones: write again.
	RefreshBusy
)

// RefreshState is what a RefreshWrite depends on and changes of an account, its
// tokens and times apart.
type RefreshState struct {
	ID                    uuid.UUID
	Provider              string
	UserExternalID        string
	Status                Status
	TokenVersion, Version int64
	Lease                 uuid.UUID // zero: nobody's
	Armed                 bool      // send_by is set
	Quiet                 bool      // and quiet_at has passed
	Failures              int
	Class                 string
	ExpiringTold          bool
	Holds                 bool // its tokens are those of the write: it was written before
}

// Apply decides what a write does to an account: how it is afterwards, and the
// events of that, of which the last has the new Version. A store makes it so in
// one transaction.
func (w RefreshWrite) Apply(s RefreshState, now time.Time) (RefreshState, []events.Data, RefreshOutcome) {
	if w.Step == RefreshRenewed && s.Holds {
		return s, nil, RefreshStored
	}
	mine := s.Lease == w.Of.Lease
	switch {
	case s.TokenVersion != w.Of.TokenVersion:
		return s, nil, RefreshStale
	case w.Step == RefreshRenewed && s.Armed && !s.Quiet && !mine:
		return s, nil, RefreshBusy
	case w.Step != RefreshRenewed && (!mine || !s.Status.Connected()):
		return s, nil, RefreshStale
	}
	if w.Step == RefreshArmed {
		s.Armed, s.Quiet = true, false
		return s, nil, RefreshStored
	}
	told := w.tell(&s, now)
	if mine {
		s.Lease = uuid.Nil
	}
	s.Version += int64(len(told))
	return s, told, RefreshStored
}

// tell changes s as the step says, but for Version and Lease. What an earlier
// refresh left unknown stays unknown until one is answered for good.
func (w RefreshWrite) tell(s *RefreshState, now time.Time) (told []events.Data) {
	ref := events.AccountRef{AccountID: s.ID.String(), Provider: s.Provider}
	owner := events.AccountOwner{AccountRef: ref, UserID: s.UserExternalID}
	switch w.Step {
	case RefreshRenewed:
		s.TokenVersion++
		told = append(told, events.TokenRefreshed{AccountRef: ref, TokenVersion: s.TokenVersion, ExpiresAt: after(now, w.Grant.ExpiresIn)})
		fallthrough
	case RefreshAlive:
		if s.Status == ReauthRequired {
			s.Status = Active
			told = append(told, events.AccountRecovered{AccountOwner: owner})
		}
		s.Failures, s.Class, s.Armed, s.ExpiringTold = 0, "", false, s.ExpiringTold && w.Expiring != 0
	case RefreshFailed, RefreshLost:
		s.Failures++
		s.Class, s.Armed = w.Class, w.Step == RefreshLost || w.Of.Lost
		if w.Tell {
			told = append(told, events.TokenRefreshFailed{
				AccountRef: ref, TokenVersion: s.TokenVersion, Class: w.Class, Failures: s.Failures, NextTryAt: after(now, w.Next),
			})
		}
	case RefreshDead:
		s.Armed = false
		if s.Status == Active {
			s.Status, s.Class = ReauthRequired, w.Reason
			s.Failures++
			told = append(told, events.AccountReauthRequired{AccountOwner: owner, Reason: w.Reason, Detail: w.Detail})
		}
	case RefreshLeft:
		s.Armed = w.Of.Lost
	}
	if w.Expiring != 0 && !s.ExpiringTold {
		s.ExpiringTold = true
		told = append(told, events.AccountExpiring{AccountOwner: owner, ExpiresAt: now.Add(w.Expiring)})
	}
	return told
}

func after(now time.Time, d time.Duration) time.Time {
	if d == 0 {
		return time.Time{}
	}
	return now.Add(d)
}
