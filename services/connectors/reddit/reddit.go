// Package reddit connects Reddit accounts and keeps their grants alive.
//
// # Connecting
//
// A code becomes an access token, of an hour or a day as the answer tells, and a
// refresh token that lasts: it is asked for with duration=permanent. A code that
// comes a second time ends the tokens that it was good for, so it is sent once.
// There is no PKCE. A subreddit is the business of a post, not of the account.
//
// # Refreshing
//
// A refresh may return a refresh token, the same or another one; what comes is
// kept, and the old one goes on. So an answer that is lost loses nothing. Reddit
// says that a refresh token is dead by HTTP 400 with a number for its error, and
// that a code is by 200 with a name. It announced in 2021 that refresh tokens end
// after a year; whether they do is not confirmed, and would show as the same 400.
//
// # Facts
//
// Facts about the API are those of Reddit's own client library (recordings up to
// 2025), its server's published source and its help pages, as of November 2026.
package reddit

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"postbus.dev/services/connectors"
)

// Name is the provider's name in requests, rows and routes.
const Name = "reddit"

// Config configures the connector.
type Config struct {
	Client       *connectors.Client // required
	BaseURL      string             // of the API; default https://oauth.reddit.com
	OAuthURL     string             // where tokens are made and revoked; default https://www.reddit.com/api/v1
	AuthorizeURL string             // default https://www.reddit.com/api/v1/authorize
	TimeFactor   float64            // multiplies every time the connector states; default 1

	// UserAgent names our app, as "platform:app:version (by /u/name)": Reddit
	// throttles whoever does not say who they are. The default is without the name.
	UserAgent string

	// ClientID and ClientSecret are those of our web app. Without them nothing can
	// be connected, refreshed or revoked.
	ClientID     string
	ClientSecret connectors.Secret
}

// Connector is Reddit. It is safe for concurrent use.
type Connector struct {
	client    *connectors.Client
	app       app
	base      string // without a slash at the end, as oauth
	oauth     string
	userAgent string
	factor    float64
}

var (
	_ connectors.Authorizer = (*Connector)(nil)
	_ connectors.Importer   = (*Connector)(nil)
	_ connectors.Refresher  = (*Connector)(nil)
	_ connectors.Revoker    = (*Connector)(nil)
)

// New checks the configuration and returns the connector. The error names every
// fault.
func New(cfg Config) (*Connector, error) {
	cfg.BaseURL = strings.TrimRight(cmp.Or(cfg.BaseURL, "https://oauth.reddit.com"), "/")
	cfg.OAuthURL = strings.TrimRight(cmp.Or(cfg.OAuthURL, "https://www.reddit.com/api/v1"), "/")
	cfg.AuthorizeURL = cmp.Or(cfg.AuthorizeURL, "https://www.reddit.com/api/v1/authorize")
	cfg.UserAgent = cmp.Or(cfg.UserAgent, "server:"+cmp.Or(cfg.ClientID, "postbus")+":v1")
	cfg.TimeFactor = cmp.Or(cfg.TimeFactor, 1)
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("configure reddit: %w", err)
	}
	return &Connector{
		client: cfg.Client, base: cfg.BaseURL, oauth: cfg.OAuthURL, userAgent: cfg.UserAgent, factor: cfg.TimeFactor,
		app: app{id: cfg.ClientID, secret: cfg.ClientSecret, authorizeURL: cfg.AuthorizeURL},
	}, nil
}

func (cfg Config) check() error {
	var faults []error
	fault := func(text string) { faults = append(faults, errors.New(text)) }
	if cfg.Client == nil {
		fault("no client")
	}
	for _, at := range [][2]string{{"base URL", cfg.BaseURL}, {"OAuth URL", cfg.OAuthURL}, {"authorize URL", cfg.AuthorizeURL}} {
		if !connectors.IsHTTPURL(at[1]) {
			fault(at[0] + " is not an absolute http or https URL")
		}
	}
	if strings.ContainsAny(cfg.UserAgent, "\r\n") {
		fault("user agent has more than one line")
	}
	if cfg.TimeFactor < 0 {
		fault("time factor is negative")
	}
	if (cfg.ClientID == "") != cfg.ClientSecret.Empty() {
		fault("client id and client secret are set together, or neither is")
	}
	return errors.Join(faults...)
}

// Provider returns "reddit".
func (c *Connector) Provider() string { return Name }

func (c *Connector) scale(d time.Duration) time.Duration { return time.Duration(float64(d) * c.factor) }
