// Package sandbox holds stand-ins for the providers, for tests and for the
// local system: each speaks its provider's API as documented, and misbehaves in
// every way the provider is known to, when told so.
//
// A stand-in is served under its name (/instagram/...). /_sandbox/ is the
// control API: the ledger of what was really posted, the log of calls and of
// connections, the faults, the accounts. /bench/ is a provider of one plain
// call, for benchmarks.
//
// A further provider is one folder beside this file and one line in providers.go.
// Nothing here is linked into production: connectors do not know the sandbox.
package sandbox

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"postbus.dev/services/connectors/sandbox/bench"
	"postbus.dev/services/connectors/sandbox/stage"
	"postbus.dev/services/connectors/sandbox/wire"
)

// Profile names how the stand-ins behave where no fault is set.
type Profile string

// The profiles.
const (
	// Hostile takes the worst choice wherever a provider's documentation
	// leaves one: the default, and what tests run on.
	Hostile Profile = "hostile"
	// Faithful does what the documentation says and is kind otherwise.
	Faithful Profile = "faithful"
)

// Config is what a Sandbox needs; the zero value works.
type Config struct {
	// Factor multiplies every duration of the providers (processing, list lag,
	// rolling days, token lives, delays of faults): 0.01 makes a minute 0.6 s.
	// Default 1.
	Factor  float64
	Profile Profile // default Hostile
	Seed    uint64  // of everything drawn at random; default 1, with StatePath another each time
	// Accounts are made at the start; what they leave open follows from the
	// username. Default: "demo" and "ada" at each provider.
	Accounts []stage.Account
	// PublicURL is where browsers and the providers reach the Postbus whose app is
	// registered at each provider, see LocalClient. Default http://localhost:3000,
	// which the providers then do not call. AddClient registers others.
	PublicURL string
	// CallURL is where the providers reach it, if not at PublicURL: browsers may see
	// another network than a container does.
	CallURL string
	// StatePath is a file that outlives the process: accounts, tokens, codes, posts
	// and what each provider prepared are in it, and there again at the next start.
	// It is written within a second of a change, and when a Server ends: a process
	// that is killed may lose the last second. Faults, clients and logs are not in
	// it, and what is drawn at random does not repeat. Default: none.
	StatePath string
	KeepPosts int          // newest posts kept in the ledger; default 100,000
	KeepCalls int          // newest calls kept in the log; default 20,000
	Logger    *slog.Logger // default: none
}

// Sandbox is the stand-ins and their controls.
type Sandbox struct {
	stage     *stage.Stage
	providers []stage.Provider
	bench     *bench.Bench
	wire      *wire.Log
	handler   http.Handler
	keeping   *keeping // nil without a state
}

// New makes a sandbox. Close it before the server that serves it.
func New(cfg Config) (*Sandbox, error) {
	profile := cmp.Or(cfg.Profile, Hostile)
	if profile != Hostile && profile != Faithful {
		return nil, fmt.Errorf("no profile %q: hostile or faithful", profile)
	}
	if cfg.Seed == 0 && cfg.StatePath != "" {
		cfg.Seed = uint64(time.Now().UnixNano()) // a token of an earlier life is never given out again
	}
	st, err := stage.New(stage.Config{
		Factor: cfg.Factor, Seed: cfg.Seed, KeepPosts: cfg.KeepPosts, KeepCalls: cfg.KeepCalls, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("make stage: %w", err)
	}
	s := &Sandbox{stage: st, providers: providers(st, profile), bench: bench.New(), wire: wire.NewLog(0)}
	for _, p := range s.providers {
		st.Faults.Register(p)
	}
	if err := s.load(cfg.StatePath); err != nil {
		return nil, err
	}
	if err := errors.Join(s.addClients(cfg.PublicURL, cmp.Or(cfg.CallURL, cfg.PublicURL)), s.addDemo(cfg.Accounts)); err != nil {
		return nil, err
	}
	s.handler = s.routes()
	return s, s.keep(cfg.StatePath)
}

// addDemo makes two accounts of each provider unless others are asked for: one to
// begin with, and one more that somebody else may connect.
func (s *Sandbox) addDemo(specs []stage.Account) error {
	if specs == nil {
		for _, p := range s.providers {
			specs = append(specs, stage.Account{Provider: p.Name(), Username: "demo"}, stage.Account{Provider: p.Name(), Username: "ada"})
		}
	}
	for _, spec := range specs {
		if s.lives(spec) {
			continue
		}
		if _, err := s.AddAccounts(spec, 0); err != nil {
			return err
		}
	}
	return nil
}

// Handler serves the stand-ins, the control API and the benchmark provider.
func (s *Sandbox) Handler() http.Handler { return s.handler }

// Close lets go what faults hold, and ends the writing of the state: a Server
// that ends writes it once more. Calls that were held before they were carried
// out are dropped.
func (s *Sandbox) Close() {
	s.stage.Close()
	s.keeping.stop()
}

// Posts returns what was really posted, in the order of posting.
func (s *Sandbox) Posts(f stage.PostFilter) []stage.Post { return s.stage.Ledger.List(f) }

// Calls returns the log of calls, in the order of arrival.
func (s *Sandbox) Calls(f stage.CallFilter) []stage.Call { return s.stage.Calls.List(f) }

// Connections returns the byte log of the connections that came through Serve.
func (s *Sandbox) Connections() []wire.Conn { return s.wire.List() }

// SetFault switches a fault on and returns it with its id.
func (s *Sandbox) SetFault(f stage.Fault) (stage.Fault, error) { return s.stage.Faults.Add(f) }

// ClearFault switches the fault with that id off, or all with id 0, and lets go
// what it holds. It returns how many there were.
func (s *Sandbox) ClearFault(id int64) int { return s.stage.Faults.Clear(id) }

// Faults returns what is switched on, used up faults included.
func (s *Sandbox) Faults() []stage.Fault { return s.stage.Faults.List() }

// Switches lists every fault that can be set.
func (s *Sandbox) Switches() []stage.Switch { return s.stage.Faults.Switches() }

// Hints maps what is known of the providers' misbehavior to faults.
func (s *Sandbox) Hints() map[string][]stage.Hint {
	all := map[string][]stage.Hint{}
	for _, p := range s.providers {
		all[p.Name()] = p.Hints()
	}
	return all
}

// Accounts lists the accounts of a provider, or all.
func (s *Sandbox) Accounts(provider string) []stage.Account { return s.stage.Accounts.List(provider) }

// AddAccounts makes an account of the spec, or count of them whose usernames
// are numbered from 1, and fills in what the spec leaves open.
func (s *Sandbox) AddAccounts(spec stage.Account, count int) ([]stage.Account, error) {
	p := s.provider(spec.Provider)
	if p == nil {
		return nil, fmt.Errorf("add account: no provider %q", spec.Provider)
	}
	specs, err := stage.Numbered(spec, count)
	if err != nil {
		return nil, fmt.Errorf("add account: %w", err)
	}
	for i := range specs {
		if specs[i], err = p.Account(specs[i]); err != nil {
			return nil, fmt.Errorf("add account: %w", err)
		}
	}
	return specs, nil
}

// ExpireTokens ends the time of the tokens that match and returns how many. What
// refreshes itself, as Instagram's tokens do, is dead then, if it is not
// refreshable all the same.
func (s *Sandbox) ExpireTokens(f stage.TokenFilter, refreshable bool) int {
	return s.stage.Accounts.Change(f, func(t *stage.Token) { t.Expire(refreshable) })
}

// IssueToken makes a credential of the kind (short, access) for an account and
// returns its value. The life is the provider's time; 0 means an hour.
func (s *Sandbox) IssueToken(f stage.TokenFilter, life time.Duration) (string, error) {
	if f.Kind == "code" {
		return "", errors.New("issue token: a code comes from the page for permissions, see Person")
	}
	a, ok := s.stage.Accounts.Get(f.Provider, f.Account)
	if !ok {
		return "", fmt.Errorf("issue token: no account %q at %q", f.Account, f.Provider)
	}
	now := time.Now()
	t := stage.Token{
		Value: cmp.Or(f.Token, fmt.Sprintf("sandbox-%016x", s.stage.Uint64())), Provider: f.Provider, Account: f.Account,
		Kind: cmp.Or(f.Kind, "access"), Scopes: a.Scopes, Issued: now, Expires: now.Add(s.stage.Scale(cmp.Or(life, time.Hour))),
	}
	s.stage.Accounts.Issue(t)
	return t.Value, nil
}

// Tokens returns the credentials that match, their values included.
func (s *Sandbox) Tokens(f stage.TokenFilter) []stage.Token { return s.stage.Accounts.Tokens(f) }

// RevokeTokens makes the tokens that match refused for the given reason; the
// zero Dead makes them good again.
func (s *Sandbox) RevokeTokens(f stage.TokenFilter, why stage.Dead) int {
	return s.stage.Accounts.Change(f, func(t *stage.Token) {
		t.Dead = &why
		if why == (stage.Dead{}) {
			t.Dead = nil
		}
	})
}

// Plant puts a post of somebody else into an account's lists; the JSON object
// is the provider's own.
func (s *Sandbox) Plant(provider string, data []byte) (stage.Post, error) {
	p, ok := s.provider(provider).(stage.Planter)
	if !ok {
		return stage.Post{}, fmt.Errorf("plant: no provider %q where that is possible", provider)
	}
	return p.Plant(data)
}

// Tune changes the fields of a provider's behavior that the JSON object names.
func (s *Sandbox) Tune(provider string, data []byte) error {
	p, ok := s.provider(provider).(stage.Tunable)
	if !ok {
		return fmt.Errorf("tune: no provider %q where that is possible", provider)
	}
	return p.Tune(data)
}

func (s *Sandbox) provider(name string) stage.Provider {
	for _, p := range s.providers {
		if p.Name() == name {
			return p
		}
	}
	return nil
}
