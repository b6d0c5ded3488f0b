package connectortest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postbus.dev/services/connectors"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// toy is a provider of two calls, and a connector for it that can be bad.
type toy struct {
	mu     sync.Mutex
	posted []connectors.RemotePost
	base   string
	client *connectors.Client
	bad    string
}

func (p *toy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch r.URL.Path {
	case "/publish":
		id := fmt.Sprintf("p%d", len(p.posted)+1)
		p.posted = append(p.posted, connectors.RemotePost{ID: id})
		fmt.Fprintf(w, `{"id":%q}`, id)
	case "/posts":
		_ = json.NewEncoder(w).Encode(p.posted)
	default:
		fmt.Fprint(w, `{"id":"d1"}`)
	}
}

func (p *toy) list() []connectors.RemotePost {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]connectors.RemotePost(nil), p.posted...)
}

func (p *toy) Provider() string { return "toy" }

func (p *toy) Timing(connectors.Post) connectors.Timing {
	return connectors.Timing{
		Lead: time.Second, Commit: time.Second, UserTO: 100 * time.Millisecond, Settle: 200 * time.Millisecond, Look: 20 * time.Millisecond,
		Window: 200 * time.Millisecond, Confirm: time.Minute, Watch: []time.Duration{time.Second}, Backoff: 10 * time.Millisecond, BackoffTo: time.Second,
	}
}

func (p *toy) request(a connectors.Account, method, path string) connectors.Request {
	r := connectors.Request{Name: path, Method: method, URL: p.base + path, Token: a.AccessToken}
	if method == http.MethodPost {
		r.Form = url.Values{"draft": {"d1"}}
	}
	return r
}

func (p *toy) Prepare(ctx context.Context, a connectors.Account, _ connectors.Post, cp connectors.Checkpoint) (connectors.Step, error) {
	if cp != nil {
		return connectors.Step{Next: connectors.Ready, FreshFor: time.Hour}, nil
	}
	path := "/drafts"
	if p.bad == "posts while preparing" {
		path = "/publish"
	}
	if p.bad == "sleeps" {
		time.Sleep(150 * time.Millisecond)
	}
	if _, err := p.client.Do(ctx, p.request(a, http.MethodPost, path)); err != nil {
		return connectors.Step{}, err
	}
	step := connectors.Step{Checkpoint: connectors.Checkpoint(`{"draft":"d1"}`)}
	if p.bad == "stores the token" {
		step.Checkpoint = connectors.Checkpoint(fmt.Sprintf(`{"token":%q}`, a.AccessToken.Reveal()))
	}
	return step, nil
}

func (p *toy) Commit(ctx context.Context, a connectors.Account, _ connectors.Post, _ connectors.Checkpoint) (connectors.Step, error) {
	call := p.client.Commit
	switch p.bad {
	case "posts past the commit client":
		call = p.client.Do
	case "asks once more within commit":
		if _, err := p.client.Do(ctx, p.request(a, http.MethodGet, "/drafts")); err != nil {
			return connectors.Step{}, err
		}
	}
	resp, err := call(ctx, p.request(a, http.MethodPost, "/publish"))
	if err == nil && resp.Status != http.StatusOK {
		err = &connectors.Error{Kind: connectors.KindUnknown, Call: resp.Call}
	}
	if e := connectors.AsError(err); err != nil {
		switch p.bad {
		case "tries again blindly":
			e.Kind = connectors.KindRetry
		case "calls it failed":
			e.Kind = connectors.KindReject
		}
		return connectors.Step{}, e
	}
	var out struct{ ID string }
	if err := json.Unmarshal(resp.Body, &out); err != nil {
		return connectors.Step{}, &connectors.Error{Kind: connectors.KindUnknown}
	}
	if p.bad == "names what is not live" {
		return connectors.Step{Next: connectors.Accepted, Post: &connectors.RemotePost{ID: "d1"}}, nil
	}
	return connectors.Step{Next: connectors.Done, Post: &connectors.RemotePost{ID: out.ID}}, nil
}

func (p *toy) Confirm(context.Context, connectors.Account, connectors.Post, connectors.Checkpoint) (connectors.Step, error) {
	return connectors.Step{}, &connectors.Error{Kind: connectors.KindReject}
}

func (p *toy) Find(ctx context.Context, a connectors.Account, _ connectors.Post, _ connectors.Attempt, _ connectors.Checkpoint) (connectors.Found, error) {
	if p.bad == "gives up finding" {
		return connectors.Found{}, &connectors.Error{Kind: connectors.KindReject}
	}
	resp, err := p.client.Do(ctx, p.request(a, http.MethodGet, "/posts"))
	if err != nil {
		return connectors.Found{}, err
	}
	var posts []connectors.RemotePost
	if err := json.Unmarshal(resp.Body, &posts); err != nil {
		return connectors.Found{}, err
	}
	switch {
	case p.bad == "names another post":
		return connectors.Found{Verdict: connectors.Published, Post: &connectors.RemotePost{ID: "p9"}}, nil
	case len(posts) == 0 || p.bad == "takes lateness for absence":
		return connectors.Found{Verdict: connectors.Absent}, nil
	}
	return connectors.Found{Verdict: connectors.Published, Post: &posts[0]}, nil
}

func TestGoodConnectorPasses(t *testing.T) {
	t.Parallel()
	Suite{
		New: func(*testing.T) Bench {
			p := &toy{}
			return Bench{Handler: p, Posted: p.list, Account: connectors.Account{AccessToken: connectors.NewSecret("t0ken")}}
		},
		Connector: func(base string, c *connectors.Client, _ float64) (connectors.Publisher, error) {
			return &toy{base: base, client: c}, nil
		},
		Factor: 1, Posts: map[string]connectors.Post{"post": {}},
	}.Run(t)
}

// recorder is a test that is supposed to fail.
type recorder struct {
	testing.TB
	mu   sync.Mutex
	said []string
}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said = append(r.said, fmt.Sprintf(format, args...))
}

func (r *recorder) Error(args ...any) { r.Errorf("%s", fmt.Sprint(args...)) }

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

func (r *recorder) Fatal(args ...any) { r.Fatalf("%s", fmt.Sprint(args...)) }

func TestBadConnectorIsFoundOut(t *testing.T) {
	t.Parallel()
	for bad, tc := range map[string]struct {
		trouble Trouble
		want    string
	}{
		"posts while preparing":        {want: "1 posts before the first commit"},
		"sleeps":                       {want: "beyond its calls"},
		"stores the token":             {want: "the checkpoint holds the token"},
		"posts past the commit client": {want: "without the commit client"},
		"asks once more within commit": {want: "a commit made 2 calls"},
		"tries again blindly":          {trouble: ErrorAfter, want: "posted more than once"},
		"calls it failed":              {trouble: AnswerLost, want: "posted all the same"},
		"gives up finding":             {trouble: AnswerLost, want: "find answered an error of kind reject"},
		"names another post":           {trouble: AnswerLost, want: "the id of another post"},
		"takes lateness for absence":   {trouble: AnswerLost, want: "posted more than once"},
		"names what is not live":       {want: `accepted as post "d1", which is not live`},
	} {
		t.Run(bad, func(t *testing.T) {
			t.Parallel()
			rec := &recorder{TB: t}
			p := &toy{bad: bad, client: connectors.NewClient(connectors.ClientConfig{})}
			defer p.client.Close()
			wire := NewWire(p)
			server := httptest.NewServer(wire)
			defer server.Close()
			defer wire.Close()
			p.base = server.URL
			wire.Break(tc.trouble)
			done := make(chan struct{})
			go func() {
				defer close(done)
				b := &bundle{t: rec, publisher: p, wire: wire, Bench: Bench{Posted: p.list, Account: connectors.Account{AccessToken: connectors.NewSecret("t0ken")}}}
				b.check(b.run(connectors.Post{}, func(c *Config) { c.Longest = 100 * time.Millisecond }), Completed)
			}()
			<-done
			if said := strings.Join(append(rec.said, wire.wrong("t0ken", nil)...), "\n"); !strings.Contains(said, tc.want) {
				t.Errorf("said %q", said)
			}
		})
	}
}
