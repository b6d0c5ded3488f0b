package stage

import (
	"encoding/json"
	"sync"
)

// Keeper is a Provider whose state can outlive its process.
type Keeper interface {
	// Lock holds back every change of the provider and of what it changes on the
	// stage.
	sync.Locker
	// Keep returns the state; the lock is held.
	Keep() (json.RawMessage, error)
	// Restore takes up what Keep returned, before anything is served.
	Restore(state json.RawMessage) error
}

// Kept is what a provider would still know after a restart of ours. Faults,
// clients and logs are the tests' and not the provider's.
type Kept struct {
	Accounts []Account   `json:"accounts"`
	Tokens   []KeptToken `json:"tokens"`
	Posts    []Post      `json:"posts"`
	Seq      int64       `json:"seq"` // of posts; numbers go on
	Own      int64       `json:"own"`
	Foreign  int64       `json:"foreign"`
	Calls    int64       `json:"calls"` // so do theirs
}

// KeptToken is a Token with its value.
type KeptToken struct {
	Token
	Secret string `json:"value"`
}

// Changes counts what has changed of what Keep returns, and may count more.
func (s *Stage) Changes() int64 { return s.changes.Load() }

// Keep returns what is on the stage.
func (s *Stage) Keep() Kept {
	k := Kept{Accounts: s.Accounts.List(""), Calls: s.Calls.Total()}
	for _, t := range s.Accounts.Tokens(TokenFilter{}) {
		k.Tokens = append(k.Tokens, KeptToken{t, t.Value})
	}
	l := s.Ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	l.posts.each(func(p Post) bool {
		k.Posts = append(k.Posts, p)
		return true
	})
	k.Seq, k.Own, k.Foreign = l.seq, l.own, l.foreign
	return k
}

// Restore takes up what Keep returned, before anything else is on the stage.
func (s *Stage) Restore(k Kept) error {
	for _, a := range k.Accounts {
		if err := s.Accounts.Put(a); err != nil {
			return err
		}
	}
	for _, t := range k.Tokens {
		t.Value = t.Secret
		s.Accounts.Issue(t.Token)
	}
	l := s.Ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range k.Posts {
		l.posts.add(p)
	}
	l.seq, l.own, l.foreign = k.Seq, k.Own, k.Foreign
	s.Calls.goOn(k.Calls)
	return nil
}
