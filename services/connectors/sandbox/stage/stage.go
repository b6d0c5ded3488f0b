// Package stage is what every stand-in plays on: scaled time, accounts and
// their tokens, the ledger of what was posted, the log of calls, and the faults
// that tests and people switch on.
//
// A stand-in (package instagram and its like) turns a request into an Act and
// hands it to Play; Play carries it out or not, and answers or not, as the
// faults say. So every provider has the same transport faults, and a stand-in
// only knows its provider's rules.
package stage

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Provider is the stand-in of one provider.
type Provider interface {
	// Name is the provider's name in the ledger, and its path prefix.
	Name() string
	// Handler serves the provider's API; the prefix /<name> is stripped.
	Handler() http.Handler
	// Account fills in what spec leaves open (ids, token, scopes). The same
	// username gives the same identity in every run, so that accounts stored
	// elsewhere survive a restart of the sandbox.
	Account(spec Account) (Account, error)
	// Switches are the faults that only this provider has.
	Switches() []Switch
	// Calls are the names of its calls, as faults and the call log use them.
	Calls() []string
	// Hints map what is known of the provider's misbehavior to faults.
	Hints() []Hint
	// Settings are the environment variables that lead a connector to the
	// stand-in, whose API is served at root, as that client of it.
	Settings(root string, c Client) map[string]string
}

// Tunable is a Provider whose behavior can be changed while it runs.
type Tunable interface {
	// Behavior returns the present behavior, to be shown as JSON.
	Behavior() any
	// Tune changes the fields that the JSON object names.
	Tune(data []byte) error
}

// Planter is a Provider where posts of somebody else can be planted.
type Planter interface {
	// Plant puts a post of others into the account's lists; the JSON object is
	// the provider's own.
	Plant(data []byte) (Post, error)
}

// Hint maps one thing known of a provider to the fault that plays it.
type Hint struct {
	Source  string  `json:"source"`            // "errors": a row of the error table; "hints": any other misbehavior
	Row     string  `json:"row"`               // the provider's code and subcode, or a short name
	About   string  `json:"about"`             // what it means at the provider
	Builtin string  `json:"builtin,omitempty"` // what plays it without any fault
	Fault   *Fault  `json:"fault,omitempty"`   // ready to be posted to /_sandbox/faults
	Expect  *Expect `json:"expect,omitempty"`  // what the fault makes of a call
}

// Expect is what a caller sees when a fault hits.
type Expect struct {
	Call     string `json:"call"`
	Status   int    `json:"status"`   // 0: no answer
	Code     string `json:"code"`     // of the provider's envelope; "" when there is none
	Executed bool   `json:"executed"` // carried out all the same
}

// Config is what a Stage needs.
type Config struct {
	Factor    float64      // multiplies every delay of a provider; default 1
	Seed      uint64       // of everything drawn at random; default 1
	KeepPosts int          // newest posts kept in the ledger; default 100,000
	KeepCalls int          // newest calls kept in the log; default 20,000
	Logger    *slog.Logger // default: none
}

// Stage is the common ground of the stand-ins.
type Stage struct {
	Accounts *Accounts
	Clients  *Clients
	Ledger   *Ledger
	Calls    *Calls
	Faults   *Faults
	Logger   *slog.Logger

	changes *atomic.Int64 // to what a Kept holds

	factor float64
	ids    atomic.Int64
	done   chan struct{}
	once   sync.Once

	mu  sync.Mutex
	rng *rand.Rand
}

// New makes a stage.
func New(cfg Config) (*Stage, error) {
	if cfg.Factor < 0 {
		return nil, fmt.Errorf("factor %v is negative", cfg.Factor)
	}
	if cfg.KeepPosts < 0 || cfg.KeepCalls < 0 {
		return nil, errors.New("keep posts and keep calls cannot be negative")
	}
	seed := cmp.Or(cfg.Seed, 1)
	s := &Stage{
		changes: &atomic.Int64{},
		Clients: &Clients{},
		Calls:   newCalls(cmp.Or(cfg.KeepCalls, 20_000)),
		Faults:  newFaults(seed),
		Logger:  cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler)),
		factor:  cmp.Or(cfg.Factor, 1),
		done:    make(chan struct{}),
		rng:     rand.New(rand.NewPCG(seed, 0)),
	}
	s.Accounts = newAccounts(s.changes)
	s.Ledger = newLedger(cmp.Or(cfg.KeepPosts, 100_000), s.changes)
	// A sandbox that is started again must not give out an id twice: who keeps
	// posts by id would take two posts for one.
	s.ids.Store(time.Now().UnixMicro() % 1e14)
	return s, nil
}

// Close ends everything that waits; held calls are dropped, not carried out.
func (s *Stage) Close() { s.once.Do(func() { close(s.done) }) }

// Scale turns a duration at the provider into one here.
func (s *Stage) Scale(d time.Duration) time.Duration {
	return time.Duration(float64(d) * s.factor)
}

// Between draws a duration at the provider, and scales it.
func (s *Stage) Between(from, to time.Duration) time.Duration {
	return s.Scale(s.Real(from, to))
}

// Real draws a duration that is not scaled.
func (s *Stage) Real(from, to time.Duration) time.Duration {
	if to <= from {
		return from
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return from + time.Duration(s.rng.Int64N(int64(to-from)))
}

// Wait lets a duration pass, or less when the stage is closed.
func (s *Stage) Wait(d time.Duration) { s.sleep(d, nil) }

// Chance is true with probability p.
func (s *Stage) Chance(p float64) bool {
	if p <= 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rng.Float64() < p
}

// Uint64 draws a number.
func (s *Stage) Uint64() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rng.Uint64()
}

// NextID returns prefix and 14 digits that no other call gets, in this run or
// in the next.
func (s *Stage) NextID(prefix string) string {
	return fmt.Sprintf("%s%014d", prefix, s.ids.Add(1)%1e14)
}

// sleep waits d, or less when stop or the stage is closed; it says whether the
// whole time has passed.
func (s *Stage) sleep(d time.Duration, stop <-chan struct{}) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-stop:
		return false
	case <-s.done:
		return false
	}
}
