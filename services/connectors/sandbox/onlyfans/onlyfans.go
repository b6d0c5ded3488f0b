// Package onlyfans is a stand-in for OnlyFansAPI.com, the gateway that OnlyFans
// accounts are reached through: the sessions of its login, the list of accounts
// and their removal. The page that opens the login, which an operator of Postbus
// serves, and the login itself are one page here.
package onlyfans

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"postbus.dev/services/connectors/sandbox/consent"
	"postbus.dev/services/connectors/sandbox/stage"
)

// Name is the provider's name.
const Name = "onlyfans"

// The names of the calls, as faults and the call log use them.
const (
	CallAuthorize = "authorize" // the page of the login
	CallDecide    = "authorize_decide"
	CallSession   = "client_session"
	CallAccounts  = "accounts"
	CallDelete    = "account_delete"
	CallWhoami    = "whoami"
)

// Behavior is how the stand-in behaves where no fault is set.
type Behavior struct {
	// ShowsReference lists the client_reference_id of accounts, which the gateway
	// takes and does not document to show.
	ShowsReference bool `json:"showsReference"`
	// NewHandle gives an account that is connected again another handle.
	NewHandle bool `json:"newHandle"`
	// Alternate draws between ids as numbers and as strings.
	Alternate bool `json:"alternate"`
}

// Check finds nothing that makes no sense.
func (Behavior) Check() error { return nil }

// For returns the behavior of a profile: the worse choice where the gateway's
// documentation says nothing, or the kinder one.
func For(hostile bool) Behavior {
	return Behavior{ShowsReference: !hostile, NewHandle: hostile, Alternate: hostile}
}

// OnlyFans is the stand-in.
type OnlyFans struct {
	stage.Tuned[Behavior]

	st    *stage.Stage
	pages *consent.Pages

	mu       sync.Mutex
	sessions map[string]session // by token
	links    map[string]session // what the account of a handle was connected with
}

// session is one login, as the app asked for it.
type session struct {
	Client      string `json:"client"`
	Reference   string `json:"client_reference_id"`
	DisplayName string `json:"display_name"`
}

var (
	_ stage.Provider = (*OnlyFans)(nil)
	_ stage.Tunable  = (*OnlyFans)(nil)
	_ stage.Keeper   = (*OnlyFans)(nil)
)

// New makes the stand-in.
func New(st *stage.Stage, b Behavior) *OnlyFans {
	of := &OnlyFans{st: st, pages: consent.New("OnlyFans"), sessions: map[string]session{}, links: map[string]session{}}
	of.Set(b)
	return of
}

// Name returns "onlyfans".
func (of *OnlyFans) Name() string { return Name }

// Calls returns the names above.
func (of *OnlyFans) Calls() []string {
	return []string{CallAuthorize, CallDecide, CallSession, CallAccounts, CallDelete, CallWhoami}
}

// Settings leads the connector to the gateway and to the page. A client's secret
// is its key.
func (of *OnlyFans) Settings(root string, c stage.Client) map[string]string {
	return map[string]string{"ONLYFANS_BASE_URL": root, "ONLYFANS_AUTHORIZE_URL": root + "/connect", "ONLYFANS_API_KEY": c.Secret}
}

// Handler serves the gateway and the page.
func (of *OnlyFans) Handler() http.Handler { return http.HandlerFunc(of.serve) }

// call is a request as the stand-in understood it.
type call struct {
	name    string
	op      func(of *OnlyFans, c *call) stage.Answer
	params  map[string]string
	key     string
	handle  string // in the path
	account stage.Account
}

func (of *OnlyFans) serve(w http.ResponseWriter, r *http.Request) {
	c, err := read(w, r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.account = of.whose(c)
	var names []string
	for name := range c.params {
		names = append(names, name)
	}
	of.st.Play(w, r, stage.Act{
		Provider: Name, Call: c.name, Account: c.account.ID, Params: names,
		Do: func(int64) stage.Answer {
			of.mu.Lock()
			defer of.mu.Unlock()
			return c.op(of, c)
		},
	})
}

// read understands a request: parameters in query, form or a JSON object of
// strings.
func read(w http.ResponseWriter, r *http.Request) (*call, error) {
	r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
	c := &call{params: map[string]string{}}
	if r.Header.Get("Content-Type") == "application/json" {
		b, err := io.ReadAll(r.Body)
		if err != nil || json.Unmarshal(b, &c.params) != nil {
			return nil, errors.New("the body is no JSON object of strings")
		}
	} else if err := r.ParseForm(); err != nil {
		return nil, errors.New("the form is malformed")
	}
	for name, values := range r.Form {
		c.params[name] = values[len(values)-1]
	}
	c.key, _ = strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	c.route(r.Method, r.URL.Path)
	return c, nil
}

func (c *call) route(method, path string) {
	handle, isAccount := strings.CutPrefix(path, "/api/accounts/")
	switch key := method + " " + path; {
	case key == "GET /connect":
		c.name, c.op = CallAuthorize, showLogin
	case key == "POST /connect":
		c.name, c.op = CallDecide, logIn
	case key == "POST /api/client-sessions":
		c.name, c.op = CallSession, withKey(makeSession)
	case key == "GET /api/accounts":
		c.name, c.op = CallAccounts, withKey(listAccounts)
	case method == http.MethodDelete && isAccount:
		c.name, c.handle, c.op = CallDelete, handle, withKey(deleteAccount)
	case key == "GET /api/whoami":
		c.name, c.op = CallWhoami, withKey(whoami)
	default:
		c.op = func(*OnlyFans, *call) stage.Answer {
			return jsonAnswer(http.StatusNotFound, map[string]string{"message": "Not Found"})
		}
	}
}

// whose is the account that a call is about, for faults.
func (of *OnlyFans) whose(c *call) stage.Account {
	name := c.params["account"]
	if id := c.params["onlyfans_id"]; id != "" {
		name = id
	}
	if t, ok := of.st.Accounts.Token(Name, c.handle); ok {
		name = t.Account
	}
	a, _ := of.st.Accounts.Find(Name, name)
	return a
}

func jsonAnswer(status int, body any) stage.Answer {
	b, err := json.Marshal(body)
	if err != nil {
		return stage.Answer{Status: http.StatusInternalServerError}
	}
	return stage.Answer{Status: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: b}
}

// Lock holds every call back.
func (of *OnlyFans) Lock() { of.mu.Lock() }

// Unlock lets them go on.
func (of *OnlyFans) Unlock() { of.mu.Unlock() }

// Keep returns what accounts were connected with; logins that are under way end
// with the process.
func (of *OnlyFans) Keep() (json.RawMessage, error) { return json.Marshal(of.links) }

// Restore takes up what Keep returned.
func (of *OnlyFans) Restore(state json.RawMessage) error {
	of.mu.Lock()
	defer of.mu.Unlock()
	if err := json.Unmarshal(state, &of.links); err != nil {
		return fmt.Errorf("restore onlyfans: %w", err)
	}
	return nil
}
