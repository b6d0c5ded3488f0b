// Package tiktok is a stand-in for TikTok's Login Kit: the page for permissions,
// the endpoints that make, refresh and revoke tokens, and the reads that tell
// whose they are.
//
// A refresh token works once: each refresh makes another one. One that is spent
// twice was in two hands, and its whole grant ends, so that a race of two
// refreshers shows. Each token knows how often it was spent (GET
// /_sandbox/tokens?kind=refresh).
package tiktok

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"

	"postbus.dev/services/connectors/sandbox/consent"
	"postbus.dev/services/connectors/sandbox/stage"
)

// Name is the provider's name.
const Name = "tiktok"

// The names of the calls, as faults and the call log use them.
const (
	CallAuthorize = "authorize" // the page for permissions
	CallDecide    = "authorize_decide"
	CallCode      = "token_code"
	CallRefresh   = "token_refresh"
	CallRevoke    = "token_revoke"
	CallUser      = "user_info"
	CallCreator   = "creator_info"
)

// TikTok is the stand-in.
type TikTok struct {
	stage.Tuned[Behavior]

	st    *stage.Stage
	pages *consent.Pages

	mu     sync.Mutex
	unseen map[string]pair // by grant
}

// pair is the newest pair of a grant, as long as nobody has shown either token.
type pair struct {
	Spent   string `json:"spent"` // the refresh token that it was made for
	Access  string `json:"access"`
	Refresh string `json:"refresh"`
}

var (
	_ stage.Provider = (*TikTok)(nil)
	_ stage.Tunable  = (*TikTok)(nil)
	_ stage.Keeper   = (*TikTok)(nil)
)

// New makes the stand-in.
func New(st *stage.Stage, b Behavior) *TikTok {
	tk := &TikTok{st: st, pages: consent.New("TikTok"), unseen: map[string]pair{}}
	tk.Set(b)
	return tk
}

// Name returns "tiktok".
func (tk *TikTok) Name() string { return Name }

// Calls returns the names above.
func (tk *TikTok) Calls() []string {
	return []string{CallAuthorize, CallDecide, CallCode, CallRefresh, CallRevoke, CallUser, CallCreator}
}

// Settings leads the connector to the API and to the page.
func (tk *TikTok) Settings(root string, c stage.Client) map[string]string {
	return map[string]string{
		"TIKTOK_BASE_URL": root, "TIKTOK_AUTHORIZE_URL": root + "/v2/auth/authorize/",
		"TIKTOK_CLIENT_ID": c.ID, "TIKTOK_CLIENT_SECRET": c.Secret,
	}
}

// Handler serves them all. Slashes at the end are a part of the paths.
func (tk *TikTok) Handler() http.Handler { return http.HandlerFunc(tk.serve) }

// operation carries a call out; the lock is held.
type operation func(tk *TikTok, c *call) stage.Answer

// call is a request as the stand-in understood it.
type call struct {
	name    string
	op      operation
	params  map[string]string
	token   string // the bearer
	account stage.Account
}

// known lists the parameters that a call has.
func known(name string) []string {
	client := []string{"client_key", "client_secret"}
	switch name {
	case CallCode:
		return append(client, "grant_type", "redirect_uri", "code", "code_verifier")
	case CallRefresh:
		return append(client, "grant_type", "refresh_token")
	case CallRevoke:
		return append(client, "token")
	case CallUser:
		return []string{"fields"}
	case CallAuthorize:
		return authorizeParams()
	case CallDecide:
		return decideParams()
	}
	return nil
}

func (c *call) names() []string {
	names := make([]string, 0, len(c.params))
	for name := range c.params {
		names = append(names, name)
	}
	return names
}

func (c *call) unknown() (names []string) {
	for name := range c.params {
		if !slices.Contains(known(c.name), name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (tk *TikTok) serve(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
	if err := r.ParseForm(); err != nil {
		http.Error(w, "the form is malformed", http.StatusBadRequest)
		return
	}
	c := &call{params: map[string]string{}}
	for name, values := range r.Form {
		c.params[name] = values[len(values)-1]
	}
	c.token, _ = strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	c.route(r.Method + " " + r.URL.Path)
	c.account = tk.whose(c)
	tk.st.Play(w, r, stage.Act{
		Provider: Name, Call: c.name, Account: c.account.ID, Params: c.names(), Unknown: c.unknown(),
		Do: func(int64) stage.Answer { return tk.answer(c) },
	})
}

// route finds the operation that a method and path name.
func (c *call) route(key string) {
	switch key {
	case "GET /v2/auth/authorize/":
		c.name, c.op = CallAuthorize, showAuthorize
	case "POST /v2/auth/authorize/":
		c.name, c.op = CallDecide, decide
	case "POST /v2/oauth/token/":
		c.name, c.op = CallCode, tokenByCode
		if c.params["grant_type"] == "refresh_token" {
			c.name, c.op = CallRefresh, tokenByRefresh
		}
	case "POST /v2/oauth/revoke/":
		c.name, c.op = CallRevoke, revoke
	case "GET /v2/user/info/":
		c.name, c.op = CallUser, userInfo
	case "POST /v2/post/publish/creator_info/query/":
		c.name, c.op = CallCreator, creatorInfo
	}
}

// whose is the account that a call is about, as far as that shows before it is
// carried out.
func (tk *TikTok) whose(c *call) stage.Account {
	if c.name == CallDecide {
		a, _ := tk.st.Accounts.Find(Name, c.params["account"])
		return a
	}
	for _, value := range []string{c.token, c.params["refresh_token"], c.params["code"], c.params["token"]} {
		if t, ok := tk.st.Accounts.Token(Name, value); ok && value != "" {
			a, _ := tk.st.Accounts.Get(Name, t.Account)
			return a
		}
	}
	return stage.Account{}
}

func (tk *TikTok) answer(c *call) stage.Answer {
	if c.op == nil {
		return tk.fail(http.StatusNotFound, "unsupported_path", "Unsupported path(Janus)")
	}
	tk.mu.Lock()
	defer tk.mu.Unlock()
	return c.op(tk, c)
}

// alternate is true half of the time, where the answer shapes alternate.
func (tk *TikTok) alternate() bool { return tk.Now().Alternate && tk.st.Chance(0.5) }

func (tk *TikTok) json(status int, code string, body any) stage.Answer {
	b, err := json.Marshal(body)
	if err != nil {
		return stage.Answer{Status: http.StatusInternalServerError}
	}
	h := http.Header{"Content-Type": {"application/json; charset=utf-8"}, "X-Tt-Logid": {tk.logID()}}
	return stage.Answer{Status: status, Header: h, Body: b, Code: code}
}

// Lock holds every call back.
func (tk *TikTok) Lock() { tk.mu.Lock() }

// Unlock lets them go on.
func (tk *TikTok) Unlock() { tk.mu.Unlock() }

// Keep returns the pairs that nobody has shown; tokens are the stage's.
func (tk *TikTok) Keep() (json.RawMessage, error) { return json.Marshal(tk.unseen) }

// Restore takes up what Keep returned.
func (tk *TikTok) Restore(state json.RawMessage) error {
	tk.mu.Lock()
	defer tk.mu.Unlock()
	return json.Unmarshal(state, &tk.unseen)
}
