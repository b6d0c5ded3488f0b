package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"postbus.dev/services/connectors/sandbox/stage"
)

// routes puts everything on its path.
func (s *Sandbox) routes() http.Handler {
	mux := http.NewServeMux()
	for _, p := range s.providers {
		mux.Handle("/"+p.Name()+"/", http.StripPrefix("/"+p.Name(), p.Handler()))
	}
	mux.Handle("/bench/", s.bench.Handler())
	for pattern, h := range map[string]control{
		"GET /_sandbox/posts":                 s.getPosts,
		"DELETE /_sandbox/posts":              s.deletePosts,
		"POST /_sandbox/posts/foreign":        s.postForeign,
		"GET /_sandbox/calls":                 s.getCalls,
		"DELETE /_sandbox/calls":              s.deleteCalls,
		"GET /_sandbox/connections":           s.getConnections,
		"DELETE /_sandbox/connections":        s.deleteConnections,
		"GET /_sandbox/switches":              s.getSwitches,
		"GET /_sandbox/hints":                 s.getHints,
		"GET /_sandbox/faults":                s.getFaults,
		"POST /_sandbox/faults":               s.postFaults,
		"DELETE /_sandbox/faults":             s.deleteFaults,
		"DELETE /_sandbox/faults/{id}":        s.deleteFaults,
		"GET /_sandbox/accounts":              s.getAccounts,
		"POST /_sandbox/accounts":             s.postAccounts,
		"GET /_sandbox/clients":               s.getClients,
		"POST /_sandbox/clients":              s.postClients,
		"POST /_sandbox/callbacks":            s.postCallbacks,
		"GET /_sandbox/tokens":                s.getTokens,
		"POST /_sandbox/tokens":               s.postToken,
		"POST /_sandbox/tokens/expire":        s.postExpire,
		"POST /_sandbox/tokens/revoke":        s.postRevoke,
		"GET /_sandbox/behavior/{provider}":   s.getBehavior,
		"PATCH /_sandbox/behavior/{provider}": s.patchBehavior,
	} {
		mux.Handle(pattern, h)
	}
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /{$}", s.index)
	return mux
}

// control is a route of the control API: what it returns is shown as JSON, an
// error as 400.
type control func(r *http.Request) (any, error)

func (c control) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 8<<20)
	out, err := c(r)
	status := http.StatusOK
	if err != nil {
		status, out = http.StatusBadRequest, map[string]string{"error": err.Error()}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	_ = enc.Encode(out)
}

func (s *Sandbox) index(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, `Postbus sandbox: stand-ins for the providers.

/<provider>/...                       the provider's API
/instagram/oauth/authorize            its page for permissions; /instagram/apps removes them
GET    /_sandbox/posts                what was really posted     ?provider= account= text= after= limit= foreign=1
POST   /_sandbox/posts/foreign        plant a post of others     {"provider","account","caption","kind","ago"}
GET    /_sandbox/calls                the calls that came in     ?provider= name= account= after= limit=
GET    /_sandbox/connections          bytes and times of each connection
GET    /_sandbox/switches             every fault that can be set
GET    /_sandbox/hints                known misbehavior of a provider -> the fault that plays it
POST   /_sandbox/faults               set one                    {"switch","provider","account","call","count",...}
GET    /_sandbox/faults               what is set
DELETE /_sandbox/faults[/{id}]        clear all, or one; lets go what it holds
POST   /_sandbox/accounts             make accounts              {"provider","username","count",...}
GET    /_sandbox/accounts
GET    /_sandbox/clients              the apps that are registered
POST   /_sandbox/clients              register or change one     {"provider","id","secret","redirectUris",...}
POST   /_sandbox/callbacks            a person removes the app, or wants their data deleted: the provider calls it
                                      {"provider","kind":"deauthorize" or "deletion","account","client"}
POST   /_sandbox/tokens               make a token               {"provider","account","kind","life"}
POST   /_sandbox/tokens/expire        {"provider","account","kind","refreshable"}
POST   /_sandbox/tokens/revoke        {"provider","account","kind","code","subcode"}
GET    /_sandbox/behavior/{provider}  how it behaves without faults; PATCH changes it
POST   /bench/post                    a provider of one plain call, for benchmarks
`)
}

func (s *Sandbox) getPosts(r *http.Request) (any, error) {
	after, limit, err := window(r)
	q := r.URL.Query()
	posts := s.Posts(stage.PostFilter{
		Provider: q.Get("provider"), Account: q.Get("account"), Text: q.Get("text"),
		After: after, Limit: int(limit), Foreign: q.Get("foreign") == "1",
	})
	return map[string]any{"total": s.stage.Ledger.Total(), "posts": posts}, err
}

func (s *Sandbox) deletePosts(*http.Request) (any, error) {
	s.stage.Ledger.Clear()
	return map[string]any{"total": 0}, nil
}

func (s *Sandbox) postForeign(r *http.Request) (any, error) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, fmt.Errorf("read body: %w", err)
	}
	var target struct {
		Provider string `json:"provider"`
	}
	if err := json.Unmarshal(b, &target); err != nil {
		return nil, fmt.Errorf("read post: %w", err)
	}
	return s.Plant(target.Provider, b)
}

func (s *Sandbox) getCalls(r *http.Request) (any, error) {
	after, limit, err := window(r)
	q := r.URL.Query()
	calls := s.Calls(stage.CallFilter{
		Provider: q.Get("provider"), Name: q.Get("name"), Account: q.Get("account"), After: after, Limit: int(limit),
	})
	return map[string]any{"total": s.stage.Calls.Total(), "calls": calls}, err
}

func (s *Sandbox) deleteCalls(*http.Request) (any, error) {
	s.stage.Calls.Clear()
	return map[string]any{"total": s.stage.Calls.Total()}, nil
}

func (s *Sandbox) getConnections(*http.Request) (any, error) {
	return map[string]any{"connections": s.Connections()}, nil
}

func (s *Sandbox) deleteConnections(*http.Request) (any, error) {
	s.wire.Clear()
	return map[string]any{"connections": s.Connections()}, nil
}

func (s *Sandbox) getSwitches(*http.Request) (any, error) {
	return map[string]any{"switches": s.Switches()}, nil
}

func (s *Sandbox) getHints(*http.Request) (any, error) { return s.Hints(), nil }

func (s *Sandbox) getFaults(*http.Request) (any, error) {
	return map[string]any{"faults": s.Faults(), "switches": s.Switches()}, nil
}

func (s *Sandbox) postFaults(r *http.Request) (any, error) {
	var f stage.Fault
	if err := decode(r, &f); err != nil {
		return nil, err
	}
	return s.SetFault(f)
}

func (s *Sandbox) deleteFaults(r *http.Request) (any, error) {
	id, err := number(r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return map[string]int{"cleared": s.ClearFault(id)}, nil
}

func (s *Sandbox) getAccounts(r *http.Request) (any, error) {
	return map[string]any{"accounts": s.Accounts(r.URL.Query().Get("provider"))}, nil
}

func (s *Sandbox) postAccounts(r *http.Request) (any, error) {
	var spec struct {
		stage.Account
		Count int `json:"count"`
	}
	if err := decode(r, &spec); err != nil {
		return nil, err
	}
	made, err := s.AddAccounts(spec.Account, spec.Count)
	return map[string]any{"accounts": made}, err
}

func (s *Sandbox) getClients(r *http.Request) (any, error) {
	return map[string]any{"clients": s.Clients(r.URL.Query().Get("provider"))}, nil
}

func (s *Sandbox) postClients(r *http.Request) (any, error) {
	var c stage.Client
	if err := decode(r, &c); err != nil {
		return nil, err
	}
	return c, s.AddClient(c)
}

func (s *Sandbox) postCallbacks(r *http.Request) (any, error) {
	var want struct {
		Provider string `json:"provider"`
		Kind     string `json:"kind"`
		Account  string `json:"account"`
		Client   string `json:"client"`
	}
	if err := decode(r, &want); err != nil {
		return nil, err
	}
	made, err := s.Call(want.Provider, want.Kind, want.Account, want.Client)
	return map[string]any{"called": made}, err
}

func (s *Sandbox) getTokens(r *http.Request) (any, error) {
	q := r.URL.Query()
	f := stage.TokenFilter{Provider: q.Get("provider"), Account: q.Get("account"), Kind: q.Get("kind")}
	return map[string]any{"tokens": s.stage.Accounts.Tokens(f)}, nil
}

func (s *Sandbox) postToken(r *http.Request) (any, error) {
	var want struct {
		stage.TokenFilter
		Life stage.Duration `json:"life"`
	}
	if err := decode(r, &want); err != nil {
		return nil, err
	}
	value, err := s.IssueToken(want.TokenFilter, time.Duration(want.Life))
	return map[string]string{"token": value}, err
}

func (s *Sandbox) postExpire(r *http.Request) (any, error) {
	var want struct {
		stage.TokenFilter
		Refreshable bool `json:"refreshable"`
	}
	if err := decode(r, &want); err != nil {
		return nil, err
	}
	f, err := s.named(want.TokenFilter)
	if err != nil {
		return nil, err
	}
	return map[string]int{"expired": s.ExpireTokens(f, want.Refreshable)}, nil
}

// named puts the id of an account in place of its username.
func (s *Sandbox) named(f stage.TokenFilter) (stage.TokenFilter, error) {
	if f.Account == "" {
		return f, nil
	}
	a, ok := s.stage.Accounts.Find(f.Provider, f.Account)
	if !ok {
		return f, fmt.Errorf("no account %q at %q", f.Account, f.Provider)
	}
	f.Account = a.ID
	return f, nil
}

func (s *Sandbox) postRevoke(r *http.Request) (any, error) {
	var want struct {
		stage.TokenFilter
		stage.Dead
	}
	if err := decode(r, &want); err != nil {
		return nil, err
	}
	f, err := s.named(want.TokenFilter)
	if err != nil {
		return nil, err
	}
	return map[string]int{"revoked": s.RevokeTokens(f, want.Dead)}, nil
}

func (s *Sandbox) getBehavior(r *http.Request) (any, error) {
	p, ok := s.provider(r.PathValue("provider")).(stage.Tunable)
	if !ok {
		return nil, errors.New("no such provider")
	}
	return p.Behavior(), nil
}

func (s *Sandbox) patchBehavior(r *http.Request) (any, error) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, fmt.Errorf("read body: %w", err)
	}
	if err := s.Tune(r.PathValue("provider"), b); err != nil {
		return nil, err
	}
	return s.getBehavior(r)
}

// decode reads the body; a field that nobody knows is a mistake worth an error.
func decode(r *http.Request, to any) error {
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(to); err != nil {
		return fmt.Errorf("read body: %w", err)
	}
	return nil
}

func window(r *http.Request) (after, limit int64, err error) {
	q := r.URL.Query()
	after, err1 := number(q.Get("after"))
	limit, err2 := number(q.Get("limit"))
	return after, limit, errors.Join(err1, err2)
}

func number(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read number: %w", err)
	}
	return n, nil
}
