// Package connect connects OAuth accounts in a person's browser.
//
// # The way
//
// A link, or a caller with a key, starts it: a state is written down, the browser
// gets a cookie and is sent to the provider. The provider sends it back with the
// state and a code. Then, in this order:
//
//  1. The state is consumed, by one UPDATE that asks for everything at once: it
//     is ours, of this provider, of this browser, neither used nor expired. What
//     fails here has changed nothing.
//  2. The code is exchanged, once, outside of any transaction. Whatever comes of
//     it, the state is spent and the person begins anew.
//  3. The account is written, with its event. Only now the link is used up.
//
// # What the parts are for
//
// The state stops forged callbacks: it cannot be guessed, works once and says
// whose account this will be. The cookie stops a callback that somebody else
// began and that is only opened in this browser (his account would be connected
// to the person's user, or the person's account to his). PKCE, where a provider
// has it, makes a stolen code useless. Of state, link and cookie the database
// keeps the SHA-256; they are 32 random bytes each, so that a slow hash would add
// nothing.
//
// A request that only looks (HEAD) changes nothing, and a link may be opened
// several times: programs that preview what a message links to do not spend it.
package connect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"postbus.dev/services/account/internal/page"
	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/oauthaccount"
	"postbus.dev/services/internal/secret"
	"postbus.dev/services/internal/tenant"
)

// Config says what connecting works with.
type Config struct {
	Pool       *pgxpool.Pool                   // required
	Sealer     *secret.Sealer                  // of PKCE verifiers; required
	Accounts   Accounts                        // required
	Users      Users                           // required
	Connectors map[string]connectors.Connector // by provider; those that are Authorizers can be connected

	// PublicURL is what browsers see of this API: redirect URIs begin with it.
	PublicURL string
	// ReturnTo are the origins, or URLs that an address must begin with, that a
	// person may be sent back to.
	ReturnTo []string

	// LinkLife and StateLife are how long a link may be followed (default 15 min)
	// and how long a person may take at the provider (default 10 min).
	LinkLife  time.Duration
	StateLife time.Duration
	// MaxOpen bounds the links, and the states, that a user has open at once;
	// default 100 each.
	MaxOpen int

	Logger *slog.Logger         // default discards
	Tracer trace.TracerProvider // default none
	Meter  metric.MeterProvider // default none
}

// Accounts is what connecting needs of the accounts; *oauthaccount.Store is it.
type Accounts interface {
	// Connect writes the account and its event. oauthaccount.ErrTaken,
	// ErrDisconnecting and ErrUserGone say why it is refused.
	Connect(ctx context.Context, n oauthaccount.New) (oauthaccount.Connected, error)
	// Find returns the provider's accounts that one of the keys names: a provider
	// account id, or the name that the provider's callbacks have for it.
	Find(ctx context.Context, provider string, keys []string) ([]oauthaccount.Account, error)
}

// Users knows them; *tenant.Keys does.
type Users interface {
	// User returns the user with an external id, who may be being deleted, or
	// tenant.ErrNoUser.
	User(ctx context.Context, externalID string) (tenant.User, error)
}

// Flow connects accounts. It is safe for concurrent use.
type Flow struct {
	cfg     Config
	store   store
	returns returns
	cookies cookies
	pages   *page.Pages
	tracer  trace.Tracer
	metrics *metrics
}

// New returns a Flow, or every fault of the configuration. Register adds its
// operations to an API, Run is to run beside it.
func New(cfg Config) (*Flow, error) {
	if cfg.Pool == nil || cfg.Sealer == nil || cfg.Accounts == nil || cfg.Users == nil {
		return nil, errors.New("make connect flow: Pool, Sealer, Accounts and Users are required")
	}
	defaults(&cfg)
	public, publicErr := publicURL(cfg.PublicURL)
	allowed, returnErr := newReturns(cfg.ReturnTo)
	m, meterErr := newMetrics(cfg.Meter)
	if err := errors.Join(publicErr, returnErr, meterErr); err != nil {
		return nil, fmt.Errorf("make connect flow: %w", err)
	}
	cfg.PublicURL = strings.TrimSuffix(cfg.PublicURL, "/")
	return &Flow{
		cfg: cfg, store: store{pool: cfg.Pool, sealer: cfg.Sealer, maxOpen: cfg.MaxOpen}, returns: allowed,
		cookies: newCookies(public, cfg.StateLife), pages: page.New(),
		tracer: cfg.Tracer.Tracer("postbus.dev/services/account/connect"), metrics: m,
	}, nil
}

func defaults(cfg *Config) {
	cfg.LinkLife = cmp.Or(cfg.LinkLife, 15*time.Minute)
	cfg.StateLife = cmp.Or(cfg.StateLife, 10*time.Minute)
	cfg.MaxOpen = cmp.Or(cfg.MaxOpen, 100)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Tracer == nil {
		cfg.Tracer = tracenoop.NewTracerProvider()
	}
	if cfg.Meter == nil {
		cfg.Meter = metricnoop.NewMeterProvider()
	}
}

func publicURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("the public URL must be an http(s) URL without user, query and fragment")
	}
	return u, nil
}

// authorizer returns what connects accounts of a provider, if anything does.
func (f *Flow) authorizer(provider string) (connectors.Authorizer, bool) {
	a, ok := f.cfg.Connectors[provider].(connectors.Authorizer)
	return a, ok
}

// redirectURI is where the provider sends the browser back to.
func (f *Flow) redirectURI(provider string) string {
	return f.cfg.PublicURL + "/api/connect/" + provider + "/callback"
}

// Run forgets links and states that have been over for a while, until ctx ends.
func (f *Flow) Run(ctx context.Context) error {
	t := time.NewTicker(10 * time.Minute)
	defer t.Stop()
	for {
		if err := f.store.sweep(ctx); err != nil && ctx.Err() == nil {
			f.cfg.Logger.WarnContext(ctx, "forget old connect links and states", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}
