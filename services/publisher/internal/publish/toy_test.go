package publish

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"postbus.dev/services/connectors"
)

// toy is a provider of one call, and its connector. It answers read-backs by
// what it was told to.
type toy struct {
	client *connectors.Client
	url    string
	timing connectors.Timing

	mu    sync.Mutex
	posts []string        // publish ids, in the order in which they were posted
	lose  int             // the answers of so many posts get lost
	blind bool            // a read-back cannot tell
	dead  int64           // tokens up to this version are refused; 0: none
	kind  connectors.Kind // of that refusal; KindRefresh where it is the zero value
	hold  chan struct{}   // a preparation waits until it is closed

	contains bool // a preparation has two steps, of which the first makes a container, with any token
	made     int  // containers
	post     connectors.RemotePost
	note     string // what a preparation says of itself
}

func newToy(t *testing.T) *toy {
	t.Helper()
	p := &toy{client: connectors.NewClient(connectors.ClientConfig{}), timing: connectors.Timing{
		Lead: time.Minute, Commit: 5 * time.Second, UserTO: time.Second, Settle: 2 * time.Second, Look: time.Second, Window: time.Minute, Confirm: time.Minute,
		Watch: []time.Duration{time.Hour}, Backoff: time.Second, BackoffTo: time.Second,
	}}
	srv := httptest.NewServer(p)
	t.Cleanup(srv.Close)
	t.Cleanup(p.client.Close)
	p.url = srv.URL
	return p
}

func (p *toy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.posts = append(p.posts, strings.TrimPrefix(r.URL.Path, "/"))
	if p.lose > 0 {
		p.lose--
		panic(http.ErrAbortHandler)
	}
}

// set changes what the toy does while it is at work.
func (p *toy) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

func (p *toy) posted() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.posts...)
}

func (p *toy) contained() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.made
}

func (p *toy) remote(id string) *connectors.RemotePost {
	p.mu.Lock()
	defer p.mu.Unlock()
	post := p.post
	if post.ID == "" {
		post.ID = id
	}
	return &post
}

func (p *toy) Provider() string                         { return "toy" }
func (p *toy) Timing(connectors.Post) connectors.Timing { return p.timing }

func (p *toy) Prepare(ctx context.Context, a connectors.Account, _ connectors.Post, cp connectors.Checkpoint) (connectors.Step, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.contains && cp == nil {
		p.made++
		return connectors.Step{Next: connectors.Continue, Checkpoint: connectors.Checkpoint(`{"container":1}`)}, nil
	}
	if p.dead > 0 && a.TokenVersion <= p.dead {
		return connectors.Step{}, &connectors.Error{Kind: cmp.Or(p.kind, connectors.KindRefresh), Message: "expired"}
	}
	if hold := p.hold; hold != nil {
		p.mu.Unlock()
		select {
		case <-hold:
		case <-ctx.Done():
		}
		p.mu.Lock()
	}
	return connectors.Step{Next: connectors.Ready, FreshFor: time.Hour, Checkpoint: connectors.Checkpoint(`{"note":"` + p.note + `"}`)}, nil
}

func (p *toy) Commit(ctx context.Context, _ connectors.Account, post connectors.Post, _ connectors.Checkpoint) (connectors.Step, error) {
	resp, err := p.client.Commit(ctx, connectors.Request{Name: "post", Method: http.MethodPost, URL: p.url + "/" + post.PublishID})
	if err != nil {
		return connectors.Step{}, err
	}
	if resp.Status != http.StatusOK {
		return connectors.Step{}, &connectors.Error{Kind: connectors.KindUnknown, Call: resp.Call, Message: fmt.Sprintf("status %d", resp.Status)}
	}
	return connectors.Step{Next: connectors.Done, Post: p.remote(post.PublishID), Call: resp.Call}, nil
}

func (p *toy) Confirm(_ context.Context, _ connectors.Account, post connectors.Post, _ connectors.Checkpoint) (connectors.Step, error) {
	return connectors.Step{Next: connectors.Done, Post: p.remote(post.PublishID)}, nil
}

func (p *toy) Find(_ context.Context, _ connectors.Account, post connectors.Post, _ connectors.Attempt, _ connectors.Checkpoint) (connectors.Found, error) {
	p.mu.Lock()
	blind := p.blind
	p.mu.Unlock()
	if blind {
		return connectors.Found{Evidence: "the list cannot tell"}, nil
	}
	return connectors.Found{Verdict: connectors.Published, Post: p.remote(post.PublishID)}, nil
}

// anyAccount is connected, whichever it is.
type anyAccount struct{}

func (anyAccount) Load(_ context.Context, id uuid.UUID) (Account, error) {
	return Account{Account: connectors.Account{ID: id.String(), Provider: "toy", AccessToken: connectors.NewSecret("token"), TokenVersion: 1}, Status: "active"}, nil
}
func (anyAccount) Find(context.Context, Target) (Found, error) { return Found{NotFound: true}, nil }
