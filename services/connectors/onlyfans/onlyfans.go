// Package onlyfans connects OnlyFans accounts through a gateway,
// OnlyFansAPI.com: OnlyFans has no API and no OAuth of its own. The gateway keeps
// a creator's session, logs in again by itself, and acts for whoever has our
// team's API key.
//
// # What is kept of an account
//
// There are no tokens for us, nothing that expires and nothing to refresh. The
// account's id is the one that it has at OnlyFans, so that it belongs to one user
// however often it is connected. Its access token is the gateway's handle,
// acct_...: it is what every call names, it dies when the account is removed at
// the gateway and is another one after that, and it is shredded with the account.
// Without our key it opens nothing.
//
// # Connecting
//
// A session of the gateway's login is made for each connection, and a page that
// the operator serves opens it (the gateway has no page of its own that would
// send anybody back). No password passes through here. That the account is this
// person's takes two proofs: the browser brings the handle that the login told
// it, and the gateway lists that handle under the name that this connection gave
// it. A handle from a browser alone could be anybody's, and a name alone belongs
// to whoever was talked into logging in at somebody else's link.
//
// # Watching
//
// A session may end at any time, and often comes back by itself. Check reads
// which it is.
//
// # Facts
//
// Facts are those of the gateway's OpenAPI document and pages as of September
// 2026, and of what one of its users reports. The gateway does not list the
// reference that a session was made with, so the account's display name carries it
// too; if it should list it one day, that counts as well.
package onlyfans

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"postbus.dev/services/connectors"
)

// Name is the provider's name in requests, rows and routes.
const Name = "onlyfans"

// Config configures the connector.
type Config struct {
	Client  *connectors.Client // required
	BaseURL string             // of the gateway; default https://app.onlyfansapi.com
	// Key is our team's at the gateway. Without it nothing can be done.
	Key connectors.Secret
	// AuthorizeURL is the page that opens the gateway's login with the parameter
	// token, and ends at redirect_uri with state and code, the handle and the
	// OnlyFans id of the account with a colon between them, or error. It has no
	// default; without it nothing can be connected.
	AuthorizeURL string
	TimeFactor   float64 // multiplies every time the connector states; default 1
}

// Connector is OnlyFans. It is safe for concurrent use.
type Connector struct {
	client       *connectors.Client
	base         string // without a slash at the end
	key          connectors.Secret
	authorizeURL string
	factor       float64
}

var (
	_ connectors.Authorizer = (*Connector)(nil)
	_ connectors.Checker    = (*Connector)(nil)
	_ connectors.Revoker    = (*Connector)(nil)
)

// New checks the configuration and returns the connector. The error names every
// fault.
func New(cfg Config) (*Connector, error) {
	cfg.BaseURL = strings.TrimRight(cmp.Or(cfg.BaseURL, "https://app.onlyfansapi.com"), "/")
	cfg.TimeFactor = cmp.Or(cfg.TimeFactor, 1)
	var faults []error
	if cfg.Client == nil {
		faults = append(faults, errors.New("no client"))
	}
	if !connectors.IsHTTPURL(cfg.BaseURL) {
		faults = append(faults, errors.New("base URL is not an absolute http or https URL"))
	}
	if cfg.AuthorizeURL != "" && !connectors.IsHTTPURL(cfg.AuthorizeURL) {
		faults = append(faults, errors.New("authorize URL is not an absolute http or https URL"))
	}
	if cfg.TimeFactor < 0 {
		faults = append(faults, errors.New("time factor is negative"))
	}
	if err := errors.Join(faults...); err != nil {
		return nil, fmt.Errorf("configure onlyfans: %w", err)
	}
	return &Connector{client: cfg.Client, base: cfg.BaseURL, key: cfg.Key, authorizeURL: cfg.AuthorizeURL, factor: cfg.TimeFactor}, nil
}

// Provider returns "onlyfans".
func (c *Connector) Provider() string { return Name }

func (c *Connector) scale(d time.Duration) time.Duration { return time.Duration(float64(d) * c.factor) }

// configured is what every call needs.
func (c *Connector) configured() error {
	if c.key.Empty() {
		return fmt.Errorf("onlyfans: ONLYFANS_API_KEY: %w", connectors.ErrNotConfigured)
	}
	return nil
}

// connects is what connecting needs besides.
func (c *Connector) connects() error {
	if err := c.configured(); err != nil {
		return err
	}
	if c.authorizeURL == "" {
		return fmt.Errorf("onlyfans: ONLYFANS_AUTHORIZE_URL: %w", connectors.ErrNotConfigured)
	}
	return nil
}
