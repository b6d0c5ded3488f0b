package stage

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Account is an account at a stand-in.
type Account struct {
	Provider string   `json:"provider"`
	ID       string   `json:"id"`    // the id that paths use
	AppID    string   `json:"appId"` // the app-scoped id, another number where the provider has one
	Username string   `json:"username"`
	Name     string   `json:"name,omitempty"`
	Kind     string   `json:"kind,omitempty"` // such as Business
	Scopes   []string `json:"scopes"`
	// Token is an access token that works from the start.
	Token    string   `json:"token"`
	TokenAge Duration `json:"tokenAge,omitempty"` // how long ago it was issued, provider time
	// RefreshToken belongs to it, where the provider has such a thing.
	RefreshToken string `json:"refreshToken,omitempty"`
	// QuotaTotal is how many posts a rolling day takes: 0 the provider's usual
	// number, -1 no limit.
	QuotaTotal int `json:"quotaTotal,omitempty"`
	// CallLimit is how many calls a rolling day takes; 0 no limit.
	CallLimit int `json:"callLimit,omitempty"`
}

// Dead says why a token is refused.
type Dead struct {
	Code    int    `json:"code,omitempty"`
	Subcode int    `json:"subcode,omitempty"`
	Message string `json:"message,omitempty"`
}

// Token is a credential that a stand-in gave out.
type Token struct {
	Value    string    `json:"-"`
	Provider string    `json:"provider"`
	Account  string    `json:"account"`
	Kind     string    `json:"kind"` // access, short, refresh, code
	Scopes   []string  `json:"scopes"`
	Issued   time.Time `json:"issued"`
	Expires  time.Time `json:"expires"` // zero: never
	Dead     *Dead     `json:"dead,omitempty"`
	// Refreshable: a refresh takes it although its time is over, and however young
	// it is, where the provider refreshes an access token with itself.
	Refreshable bool `json:"refreshable,omitempty"`
	// Client is whom it was given to; "" for one that was there from the start.
	Client   string `json:"client,omitempty"`
	Redirect string `json:"redirect,omitempty"` // of a code
	// Grant joins the tokens that one consent led to, where the provider ends
	// them together.
	Grant string `json:"grant,omitempty"`
	// Spent is how often a refresh token was spent that works once: of one that
	// was spent twice, somebody who had it did not know of the other.
	Spent int `json:"spent,omitempty"`
}

// Expired says whether the token's time is over.
func (t Token) Expired() bool { return !t.Expires.IsZero() && !time.Now().Before(t.Expires) }

// Expire ends the token's time.
func (t *Token) Expire(refreshable bool) { t.Expires, t.Refreshable = time.Now(), refreshable }

// Accounts holds the accounts and tokens of all stand-ins.
type Accounts struct {
	changes *atomic.Int64

	mu     sync.Mutex
	byID   map[string]Account // provider/id
	order  []string
	tokens map[string]*Token // by value
}

func newAccounts(changes *atomic.Int64) *Accounts {
	return &Accounts{changes: changes, byID: map[string]Account{}, tokens: map[string]*Token{}}
}

// Put adds an account, or replaces the one with its id.
func (a *Accounts) Put(acct Account) error {
	if acct.Provider == "" || acct.ID == "" || acct.Token == "" {
		return errors.New("an account needs a provider, an id and a token")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	key := acct.Provider + "/" + acct.ID
	if _, known := a.byID[key]; !known {
		a.order = append(a.order, key)
	}
	a.byID[key] = acct
	a.changes.Add(1)
	return nil
}

// Get finds an account by its id.
func (a *Accounts) Get(provider, id string) (Account, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	acct, ok := a.byID[provider+"/"+id]
	return acct, ok
}

// Find finds an account by its id or username.
func (a *Accounts) Find(provider, name string) (Account, bool) {
	for _, acct := range a.List(provider) {
		if acct.ID == name || acct.Username == name {
			return acct, true
		}
	}
	return Account{}, false
}

// List returns the accounts of a provider, or all, in the order of their making.
func (a *Accounts) List(provider string) []Account {
	a.mu.Lock()
	defer a.mu.Unlock()
	found := []Account{}
	for _, key := range a.order {
		if acct := a.byID[key]; provider == "" || acct.Provider == provider {
			found = append(found, acct)
		}
	}
	return found
}

// Issue makes a token known.
func (a *Accounts) Issue(t Token) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tokens[t.Value] = &t
	a.changes.Add(1)
}

// Token finds a token of the provider by its value.
func (a *Accounts) Token(provider, value string) (Token, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t, ok := a.tokens[value]
	if !ok || t.Provider != provider {
		return Token{}, false
	}
	return *t, true
}

// Update changes one token; it says whether it was there.
func (a *Accounts) Update(provider, value string, f func(*Token)) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	t, ok := a.tokens[value]
	if !ok || t.Provider != provider {
		return false
	}
	f(t)
	a.changes.Add(1)
	return true
}

// Spend takes a token away, as a code that works once; it says whether it was there.
func (a *Accounts) Spend(provider, value string) (Token, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t, ok := a.tokens[value]
	if !ok || t.Provider != provider {
		return Token{}, false
	}
	delete(a.tokens, value)
	a.changes.Add(1)
	return *t, true
}

// TokenFilter selects tokens; empty fields select all.
type TokenFilter struct {
	Provider string `json:"provider,omitempty"`
	Account  string `json:"account,omitempty"`
	Token    string `json:"token,omitempty"` // one token by its value
	Kind     string `json:"kind,omitempty"`
	Grant    string `json:"grant,omitempty"`
}

func (f TokenFilter) match(t *Token) bool {
	return cmp.Or(f.Provider, t.Provider) == t.Provider && cmp.Or(f.Account, t.Account) == t.Account &&
		cmp.Or(f.Token, t.Value) == t.Value && cmp.Or(f.Kind, t.Kind) == t.Kind &&
		cmp.Or(f.Grant, t.Grant) == t.Grant
}

// Change applies f to every token that matches and returns how many did.
func (a *Accounts) Change(sel TokenFilter, f func(*Token)) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, t := range a.tokens {
		if sel.match(t) {
			f(t)
			n++
		}
	}
	a.changes.Add(int64(n))
	return n
}

// Tokens returns what matches, by time of issue, without the values.
func (a *Accounts) Tokens(sel TokenFilter) []Token {
	a.mu.Lock()
	defer a.mu.Unlock()
	found := []Token{}
	for _, t := range a.tokens {
		if sel.match(t) {
			found = append(found, *t)
		}
	}
	slices.SortFunc(found, func(x, y Token) int {
		return cmp.Or(x.Issued.Compare(y.Issued), cmp.Compare(x.Account, y.Account), cmp.Compare(x.Value, y.Value))
	})
	return found
}

// Numbered returns count specs made from spec, the username of each with a number.
func Numbered(spec Account, count int) ([]Account, error) {
	if count < 0 || count > 100_000 {
		return nil, fmt.Errorf("count %d is not within 0 and 100000", count)
	}
	if count == 0 {
		return []Account{spec}, nil
	}
	if spec.ID != "" || spec.Token != "" {
		return nil, errors.New("many accounts cannot share an id or a token")
	}
	specs := make([]Account, count)
	for i := range specs {
		specs[i] = spec
		specs[i].Username = fmt.Sprintf("%s%d", cmp.Or(spec.Username, "user"), i+1)
	}
	return specs, nil
}
