// Package world is a whole Postbus for tests and benchmarks: a database, a NATS
// server, the sandbox and as many publishers as asked for, as processes of their
// own. What it checks, it checks from outside: by SQL, by the streams and by
// the sandbox's ledger.
package world

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"postbus.dev/deploy/testbed"
	testnats "postbus.dev/deploy/testbed/nats"
	"postbus.dev/events"
	"postbus.dev/services/account"
	"postbus.dev/services/connectors"
	"postbus.dev/services/connectors/sandbox"
	"postbus.dev/services/connectors/sandbox/stage"
)

// Config says what a World has.
type Config struct {
	Accounts int             // accounts of the user "demo"; 1
	Provider string          // where they are; "instagram"
	Factor   float64         // of the providers' and the connectors' times; 0.01
	Profile  sandbox.Profile // default sandbox.Hostile
	Seed     uint64          // of the sandbox; 1
	TLS      bool            // the sandbox speaks HTTPS with a CA of its own
	Bus      testnats.Config
	// Proxy puts this address between the publishers and the sandbox.
	Proxy func(sandboxAddr string) (addr string)
}

// World is the parts around the publishers.
type World struct {
	T       testing.TB
	Config  Config
	DSN     string
	Pool    *pgxpool.Pool
	Bus     *testnats.Server
	NC      *nats.Conn
	JS      jetstream.JetStream
	Sandbox *sandbox.Sandbox
	Server  *sandbox.Server
	BaseURL string // of Instagram, as the publishers see it
	CAFile  string // with TLS
	// PublicURL is where browsers see the services; "" before Open.
	PublicURL string
	Dir       string
	APIKey    string
	Accounts  []string        // our ids
	Provider  []stage.Account // the same, at the provider

	mu        sync.Mutex
	processes []*Process
}

// New starts the parts; they stop with the test.
func New(t testing.TB, c Config) *World {
	t.Helper()
	c.Accounts, c.Factor = cmp.Or(c.Accounts, 1), cmp.Or(c.Factor, 0.01)
	c.Seed, c.Provider = cmp.Or(c.Seed, 1), cmp.Or(c.Provider, "instagram")
	w := &World{T: t, Config: c, DSN: testbed.Database(t), Dir: testbed.Dir(t)}
	w.Bus = testbed.NATSServer(t, c.Bus)
	if err := errors.Join(w.connect(), w.declare(), w.serve(), w.seed()); err != nil {
		t.Fatalf("make a world: %v", err)
	}
	return w
}

func (w *World) connect() (err error) {
	if w.Pool, err = pgxpool.New(context.Background(), w.DSN); err != nil {
		return err
	}
	w.T.Cleanup(w.Pool.Close)
	if w.NC, err = nats.Connect(w.Bus.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond)); err != nil {
		return err
	}
	w.T.Cleanup(w.NC.Close)
	w.JS, err = jetstream.New(w.NC)
	return err
}

// declare makes the streams, as the first publisher would, so that requests can
// wait there before there is one.
func (w *World) declare() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for _, s := range events.Topology(events.TopologyOptions{}) {
		if _, err := w.JS.CreateStream(ctx, s.StreamConfig); err != nil {
			return fmt.Errorf("make stream %s: %w", s.Name, err)
		}
		for _, c := range s.Consumers {
			if _, err := w.JS.CreateConsumer(ctx, c.Stream, c.ConsumerConfig); err != nil {
				return fmt.Errorf("make consumer %s: %w", c.Name, err)
			}
		}
	}
	return nil
}

func (w *World) serve() (err error) {
	w.Sandbox, err = sandbox.New(sandbox.Config{Factor: w.Config.Factor, Profile: w.Config.Profile, Seed: w.Config.Seed, Accounts: []stage.Account{}})
	if err != nil {
		return err
	}
	if w.Config.TLS {
		w.CAFile = filepath.Join(w.Dir, "ca.pem")
	}
	w.Server, err = w.Sandbox.Serve(sandbox.ServeConfig{TLS: w.Config.TLS, CAFile: w.CAFile})
	if err != nil {
		return err
	}
	w.T.Cleanup(func() {
		w.Sandbox.Close()
		if err := w.Server.Close(); err != nil {
			w.T.Errorf("close sandbox: %v", err)
		}
	})
	addr, scheme := w.Server.Addr, "http://"
	if w.Config.TLS {
		scheme = "https://"
	}
	if w.Config.Proxy != nil {
		addr = w.Config.Proxy(addr)
	}
	w.BaseURL = scheme + addr + "/instagram"
	return nil
}

// seed makes the accounts at the sandbox and in the database.
func (w *World) seed() (err error) {
	// As many posts a day as a test likes, unless it says otherwise.
	spec := stage.Account{Provider: w.Config.Provider, Username: "demo", QuotaTotal: -1}
	if w.Provider, err = w.Sandbox.AddAccounts(spec, w.Config.Accounts); err != nil {
		return err
	}
	s := account.Seed{DatabaseURL: w.DSN, KeysetPath: w.Keyset(), KeyPath: filepath.Join(w.Dir, "api-key"), ExternalID: "demo"}
	for _, p := range w.Provider {
		s.Accounts = append(s.Accounts, account.SeedAccount{
			Provider: p.Provider, ProviderAccountID: p.ID, Username: p.Username,
			AccessToken: connectors.NewSecret(p.Token), RefreshToken: connectors.NewSecret(p.RefreshToken),
		})
	}
	seeded, err := account.Ensure(context.Background(), s)
	if err != nil {
		return fmt.Errorf("seed accounts: %w", err)
	}
	w.APIKey, w.Accounts = seeded.APIKey.Reveal(), seeded.AccountIDs
	return nil
}

// Keyset is the path of the keyset that sealed the tokens.
func (w *World) Keyset() string { return filepath.Join(w.Dir, "keyset.json") }

// Eventually waits until ok, at most within; what describes it.
func (w *World) Eventually(within time.Duration, what string, ok func() bool) {
	w.T.Helper()
	for deadline := time.Now().Add(within); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.T.Fatalf("not within %s: %s", within, what)
		}
	}
}
