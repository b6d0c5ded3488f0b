// Package reddit is a stand-in for Reddit's OAuth: the page for permissions, the
// endpoints that make, refresh and revoke tokens, and the read that tells whose
// they are.
//
// A code works once: one that comes again ends every token that it was good for.
package reddit

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"postbus.dev/services/connectors/sandbox/consent"
	"postbus.dev/services/connectors/sandbox/stage"
)

// Name is the provider's name.
const Name = "reddit"

// The names of the calls, as faults and the call log use them.
const (
	CallAuthorize = "authorize" // the page for permissions
	CallDecide    = "authorize_decide"
	CallCode      = "token_code"
	CallRefresh   = "token_refresh"
	CallRevoke    = "token_revoke"
	CallMe        = "me"
)

// Reddit is the stand-in.
type Reddit struct {
	stage.Tuned[Behavior]

	st    *stage.Stage
	pages *consent.Pages

	mu      sync.Mutex
	windows map[string]window // by client id
}

// window counts the calls of a client.
type window struct {
	began time.Time
	used  int
}

var (
	_ stage.Provider = (*Reddit)(nil)
	_ stage.Tunable  = (*Reddit)(nil)
	_ stage.Keeper   = (*Reddit)(nil)
)

// New makes the stand-in.
func New(st *stage.Stage, b Behavior) *Reddit {
	rd := &Reddit{st: st, pages: consent.New("Reddit"), windows: map[string]window{}}
	rd.Set(b)
	return rd
}

// Name returns "reddit".
func (rd *Reddit) Name() string { return Name }

// Calls returns the names above.
func (rd *Reddit) Calls() []string {
	return []string{CallAuthorize, CallDecide, CallCode, CallRefresh, CallRevoke, CallMe}
}

// Settings leads the connector to the API and to the page.
func (rd *Reddit) Settings(root string, c stage.Client) map[string]string {
	return map[string]string{
		"REDDIT_BASE_URL": root, "REDDIT_OAUTH_URL": root + "/api/v1", "REDDIT_AUTHORIZE_URL": root + "/api/v1/authorize",
		"REDDIT_CLIENT_ID": c.ID, "REDDIT_CLIENT_SECRET": c.Secret,
	}
}

// Handler serves them all.
func (rd *Reddit) Handler() http.Handler { return http.HandlerFunc(rd.serve) }

// operation carries a call out; the lock is held.
type operation func(rd *Reddit, c *call) stage.Answer

// call is a request as the stand-in understood it.
type call struct {
	name       string
	op         operation
	params     map[string]string
	token      string // the bearer
	id, secret string // of basic authentication
	agent      string
	account    stage.Account
}

// known lists the parameters that a call has.
func known(name string) []string {
	switch name {
	case CallCode:
		return []string{"grant_type", "code", "redirect_uri"}
	case CallRefresh:
		return []string{"grant_type", "refresh_token"}
	case CallRevoke:
		return []string{"token", "token_type_hint"}
	case CallMe:
		return []string{"raw_json"}
	case CallAuthorize:
		return authorizeParams()
	case CallDecide:
		return append(authorizeParams(), consent.FormParams(offered())...)
	}
	return nil
}

func (c *call) names(unknown bool) (names []string) {
	for name := range c.params {
		if !unknown || !slices.Contains(known(c.name), name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (rd *Reddit) serve(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
	if err := r.ParseForm(); err != nil {
		http.Error(w, "the form is malformed", http.StatusBadRequest)
		return
	}
	c := &call{params: map[string]string{}, agent: r.UserAgent()}
	for name, values := range r.Form {
		c.params[name] = values[len(values)-1]
	}
	c.token, _ = strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	c.id, c.secret, _ = r.BasicAuth()
	c.route(r.Method + " " + r.URL.Path)
	c.account = rd.whose(c)
	rd.st.Play(w, r, stage.Act{
		Provider: Name, Call: c.name, Account: c.account.ID, Params: c.names(false), Unknown: c.names(true),
		Do: func(int64) stage.Answer { return rd.answer(c) },
	})
}

// route finds the operation that a method and path name.
func (c *call) route(key string) {
	switch key {
	case "GET /api/v1/authorize":
		c.name, c.op = CallAuthorize, showAuthorize
	case "POST /api/v1/authorize":
		c.name, c.op = CallDecide, decide
	case "POST /api/v1/access_token":
		c.name, c.op = CallCode, tokenByCode
		if c.params["grant_type"] == "refresh_token" {
			c.name, c.op = CallRefresh, tokenByRefresh
		}
	case "POST /api/v1/revoke_token":
		c.name, c.op = CallRevoke, revoke
	case "GET /api/v1/me":
		c.name, c.op = CallMe, me
	}
}

// whose is the account that a call is about, as far as that shows before it is
// carried out.
func (rd *Reddit) whose(c *call) stage.Account {
	if c.name == CallDecide {
		a, _ := rd.st.Accounts.Find(Name, c.params["account"])
		return a
	}
	for _, value := range []string{c.token, c.params["refresh_token"], c.params["code"], c.params["token"]} {
		if t, ok := rd.st.Accounts.Token(Name, value); ok && value != "" {
			a, _ := rd.st.Accounts.Get(Name, t.Account)
			return a
		}
	}
	return stage.Account{}
}

func (rd *Reddit) answer(c *call) stage.Answer {
	if c.op == nil {
		return rd.fail(http.StatusNotFound, "Not Found")
	}
	rd.mu.Lock()
	defer rd.mu.Unlock()
	return c.op(rd, c)
}

// alternate is true half of the time, where the answer shapes alternate.
func (rd *Reddit) alternate() bool { return rd.Now().Alternate && rd.st.Chance(0.5) }

// Lock holds every call back.
func (rd *Reddit) Lock() { rd.mu.Lock() }

// Unlock lets them go on.
func (rd *Reddit) Unlock() { rd.mu.Unlock() }

// Keep returns nothing: tokens are the stage's, and limits begin anew.
func (rd *Reddit) Keep() (json.RawMessage, error) { return json.RawMessage("{}"), nil }

// Restore takes up what Keep returned.
func (rd *Reddit) Restore(json.RawMessage) error { return nil }
