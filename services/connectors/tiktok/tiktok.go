// Package tiktok connects TikTok accounts through Login Kit and keeps their
// grants alive.
//
// # Connecting
//
// A code becomes an access token of hours and a refresh token of months. How
// long they live is what each answer tells: TikTok changed it in 2026, and not
// for all apps at once. An account's id is its open_id, which is ours alone:
// another app sees another one. There is no PKCE for apps on a server.
//
// # Refreshing
//
// Every refresh ends the refresh token that it was made with, so it is a call
// like the one that posts: made once, through Client.Commit, armed before. What
// is left is the answer that never comes: the token may be spent and its
// successor known to nobody. TikTok documents no grace for the old one, so the
// next try, after quiet_at, either finds it unspent or learns that the grant is
// lost. It is made after half of the access token's life, so that a day's
// trouble at TikTok does not become many accounts' at once, and an hour of good
// weather is left even of a life of two.
//
// # Facts
//
// Facts about the API are those of TikTok's pages on Login Kit, user access
// token management and OAuth error handling, as of November 2026. Where older
// pages show another shape of an answer, both are read.
package tiktok

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"postbus.dev/services/connectors"
)

// Name is the provider's name in requests, rows and routes.
const Name = "tiktok"

// Config configures the connector.
type Config struct {
	Client       *connectors.Client // required
	BaseURL      string             // of the API; default https://open.tiktokapis.com
	AuthorizeURL string             // default https://www.tiktok.com/v2/auth/authorize/
	TimeFactor   float64            // multiplies every time the connector states; default 1

	// ClientID is the app's client_key. Without it and ClientSecret nothing can be
	// connected, refreshed or revoked.
	ClientID     string
	ClientSecret connectors.Secret
}

// Connector is TikTok. It is safe for concurrent use.
type Connector struct {
	client *connectors.Client
	app    app
	base   string // without a slash at the end
	factor float64
}

var (
	_ connectors.Authorizer = (*Connector)(nil)
	_ connectors.Refresher  = (*Connector)(nil)
	_ connectors.Revoker    = (*Connector)(nil)
)

// New checks the configuration and returns the connector. The error names every
// fault.
func New(cfg Config) (*Connector, error) {
	cfg.BaseURL = strings.TrimRight(cmp.Or(cfg.BaseURL, "https://open.tiktokapis.com"), "/")
	cfg.AuthorizeURL = cmp.Or(cfg.AuthorizeURL, "https://www.tiktok.com/v2/auth/authorize/")
	cfg.TimeFactor = cmp.Or(cfg.TimeFactor, 1)
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("configure tiktok: %w", err)
	}
	return &Connector{
		client: cfg.Client, base: cfg.BaseURL, factor: cfg.TimeFactor,
		app: app{key: cfg.ClientID, secret: cfg.ClientSecret, authorizeURL: cfg.AuthorizeURL},
	}, nil
}

func (cfg Config) check() error {
	var faults []error
	fault := func(text string) { faults = append(faults, errors.New(text)) }
	if cfg.Client == nil {
		fault("no client")
	}
	if !connectors.IsHTTPURL(cfg.BaseURL) {
		fault("base URL is not an absolute http or https URL")
	}
	if !connectors.IsHTTPURL(cfg.AuthorizeURL) {
		fault("authorize URL is not an absolute http or https URL")
	}
	if cfg.TimeFactor < 0 {
		fault("time factor is negative")
	}
	if (cfg.ClientID == "") != cfg.ClientSecret.Empty() {
		fault("client id and client secret are set together, or neither is")
	}
	return errors.Join(faults...)
}

// Provider returns "tiktok".
func (c *Connector) Provider() string { return Name }

func (c *Connector) scale(d time.Duration) time.Duration { return time.Duration(float64(d) * c.factor) }
