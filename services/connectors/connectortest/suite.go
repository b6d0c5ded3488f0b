// Package connectortest is what every connector has to pass: a repeated step
// never posts twice, every fault around Commit ends in the right outcome,
// nothing sleeps, nothing is posted before Commit, a checkpoint survives being
// stored and holds no secret.
//
// The suite drives a connector against a stand-in of its provider, over HTTP,
// with a runner in small (Run) and a wire between the two that can break
// (Wire). A new provider brings a Suite and nothing else:
//
//	connectortest.Suite{New: bench, Posts: posts, Faults: faults}.Run(t)
//
// A connector that can authorize brings a Connect besides.
package connectortest

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"postbus.dev/services/connectors"
)

// Bench is a provider's stand-in with an account on it.
type Bench struct {
	Handler http.Handler // the stand-in
	Account connectors.Account
	// Posted lists what the account really posted through the API, posts of
	// others left out.
	Posted func() []connectors.RemotePost
}

// Suite is a connector with all that is needed to test it.
type Suite struct {
	// New makes a stand-in of its own for a test.
	New func(t *testing.T) Bench
	// Connector makes the connector for a stand-in at baseURL, with every time
	// that it states multiplied by factor.
	Connector func(baseURL string, c *connectors.Client, factor float64) (connectors.Publisher, error)
	// Factor is the one that the stand-in's times are scaled with.
	Factor float64
	// Posts has one post of each kind.
	Posts map[string]connectors.Post
	// Faults are the answers to Commit that this provider is known to give.
	Faults []Fault
	// Request says what is wrong with a request, beyond what no provider may
	// get. It may be nil.
	Request func(r *http.Request, body []byte) error
	// NoProof: the provider gives no proof of absence, so that a call that did
	// not arrive ends unconfirmed.
	NoProof bool
}

// Fault is something that a provider does around Commit.
type Fault struct {
	Name string
	Set  func(t *testing.T, b Bench) // switches it on, before the first step
	Want []State                     // the outcomes that are right
}

// Run runs everything, in parallel.
func (s Suite) Run(t *testing.T) {
	t.Run("publishes every kind of post", func(t *testing.T) { t.Parallel(); s.publishes(t) })
	t.Run("states times that can work", func(t *testing.T) { t.Parallel(); s.times(t) })
	t.Run("posts once when every step is repeated", func(t *testing.T) { t.Parallel(); s.repeats(t) })
	t.Run("never sleeps", func(t *testing.T) { t.Parallel(); s.neverSleeps(t) })
	t.Run("ends right after every fault of the wire", func(t *testing.T) { t.Parallel(); s.wire(t) })
	t.Run("ends right after every fault of the provider", func(t *testing.T) { t.Parallel(); s.RunFaults(t) })
	t.Run("tries again when the provider is down", func(t *testing.T) { t.Parallel(); s.down(t) })
	t.Run("stops when it is told to", func(t *testing.T) { t.Parallel(); s.canceled(t) })
}

// bundle is one test: stand-in, wire and connector.
type bundle struct {
	Bench
	t         testing.TB
	suite     Suite
	wire      *Wire
	publisher connectors.Publisher
}

func (s Suite) setup(t *testing.T, factor float64) *bundle {
	t.Helper()
	bench := s.New(t)
	wire := NewWire(bench.Handler)
	server := httptest.NewServer(wire)
	client := connectors.NewClient(connectors.ClientConfig{})
	t.Cleanup(func() {
		wire.Close()
		client.Close()
		server.Close()
		for _, wrong := range wire.wrong(bench.Account.AccessToken.Reveal(), s.Request) {
			t.Error(wrong)
		}
	})
	p, err := s.Connector(server.URL, client, factor)
	if err != nil {
		t.Fatal(err)
	}
	return &bundle{Bench: bench, t: t, suite: s, wire: wire, publisher: p}
}

// run publishes one post to its end.
func (b *bundle) run(p connectors.Post, change func(*Config)) Result {
	b.t.Helper()
	cfg := Config{Publisher: b.publisher, Account: b.Account, Post: p, Wire: b.wire, Posted: b.Posted}
	if change != nil {
		change(&cfg)
	}
	return Run(b.t, cfg)
}

// each runs f for each kind of post, in parallel.
func (s Suite) each(t *testing.T, f func(t *testing.T, p connectors.Post)) {
	for name, p := range s.Posts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, p)
		})
	}
}
