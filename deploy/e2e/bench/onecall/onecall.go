// Package onecall is a connector of one plain call, for benchmarks: a publish
// with it costs what the publisher itself costs. Its provider is the sandbox's
// /bench/, which keeps a count for each publish, so that reading back is exact.
package onecall

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"postbus.dev/services/connectors"
)

// Name is the provider's name in requests and rows.
const Name = "bench"

// Config configures the connector.
type Config struct {
	Client  *connectors.Client // required
	BaseURL string             // of the sandbox; required
	// TimeFactor multiplies every time the connector states; default 1.
	TimeFactor float64
}

// Connector is the provider of one call.
type Connector struct {
	client *connectors.Client
	base   string
	factor float64
}

var _ connectors.Publisher = (*Connector)(nil)

// New checks the configuration and returns the connector.
func New(cfg Config) (*Connector, error) {
	if cfg.Client == nil {
		return nil, errors.New("configure one-call connector: no client")
	}
	if u, err := url.Parse(cfg.BaseURL); err != nil || u.Host == "" {
		return nil, errors.New("configure one-call connector: base URL is not absolute")
	}
	return &Connector{client: cfg.Client, base: Base(cfg.BaseURL), factor: cmp.Or(cfg.TimeFactor, 1)}, nil
}

// Base is where the provider is, given the sandbox's URL.
func Base(sandbox string) string { return strings.TrimRight(sandbox, "/") + "/bench" }

// Provider returns "bench".
func (c *Connector) Provider() string { return Name }

// Timing has the lengths that real providers need.
func (c *Connector) Timing(connectors.Post) connectors.Timing {
	return connectors.Timing{
		Lead: 2 * time.Minute, Commit: 30 * time.Second, UserTO: 20 * time.Second, Settle: time.Minute,
		Look: 5 * time.Second, Window: 10 * time.Minute, Confirm: time.Hour, Watch: []time.Duration{time.Hour}, Backoff: time.Second, BackoffTo: time.Minute,
	}.Scale(c.factor)
}

// Prepare has nothing to do.
func (c *Connector) Prepare(context.Context, connectors.Account, connectors.Post, connectors.Checkpoint) (connectors.Step, error) {
	return connectors.Step{Next: connectors.Ready, FreshFor: 24 * time.Hour}, nil
}

// Commit makes the call.
func (c *Connector) Commit(ctx context.Context, a connectors.Account, p connectors.Post, _ connectors.Checkpoint) (connectors.Step, error) {
	resp, err := c.client.Commit(ctx, PostRequest(c.base, p.PublishID, a.AccessToken, []byte(p.Caption)))
	if err != nil {
		return connectors.Step{}, err
	}
	var answer struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(resp.Body, &answer); err != nil || resp.Status != http.StatusOK || answer.ID == "" {
		return connectors.Step{}, &connectors.Error{Kind: connectors.KindUnknown, Code: connectors.CodeUnavailable, Call: resp.Call, Message: "unexpected answer"}
	}
	return connectors.Step{Next: connectors.Done, Call: resp.Call, Post: c.post(p)}, nil
}

// PostRequest is the one call. An empty key makes a new post with each call.
func PostRequest(base, key string, token connectors.Secret, body []byte) connectors.Request {
	return connectors.Request{
		Name: "post", Method: http.MethodPost, URL: strings.TrimRight(base+"/post/"+key, "/"), Route: "/bench/post/{key}",
		Token: token, Header: http.Header{"Content-Type": {"text/plain"}}, Body: body,
	}
}

func (c *Connector) post(p connectors.Post) *connectors.RemotePost {
	return &connectors.RemotePost{ID: p.PublishID, URL: "https://bench.invalid/p/" + p.PublishID, Caption: p.Caption}
}

// Confirm is never needed: the answer of Commit is final.
func (c *Connector) Confirm(_ context.Context, _ connectors.Account, p connectors.Post, _ connectors.Checkpoint) (connectors.Step, error) {
	return connectors.Step{Next: connectors.Done, Post: c.post(p)}, nil
}

// Find reads the count of the publish.
func (c *Connector) Find(ctx context.Context, a connectors.Account, p connectors.Post, at connectors.Attempt, _ connectors.Checkpoint) (connectors.Found, error) {
	resp, err := c.client.Do(ctx, connectors.Request{
		Name: "get", Method: http.MethodGet, URL: c.base + "/get/" + p.PublishID, Route: "/bench/get/{key}", Token: a.AccessToken,
	})
	if err != nil {
		return connectors.Found{}, err
	}
	var entry struct {
		Count int `json:"count"`
	}
	if err := json.Unmarshal(resp.Body, &entry); err != nil {
		return connectors.Found{}, fmt.Errorf("read count: %w", err)
	}
	found := connectors.Found{Call: resp.Call, Evidence: fmt.Sprintf("%d posts have the publish's id", entry.Count)}
	switch {
	case entry.Count > 0:
		found.Verdict, found.Post = connectors.Published, c.post(p)
	case at.Quiet:
		found.Verdict = connectors.Absent
	}
	return found, nil
}
