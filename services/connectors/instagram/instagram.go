// Package instagram connects Instagram professional accounts and publishes to
// them, through the Instagram API with Instagram Login.
//
// A post is a container: Prepare creates it (a carousel's children first, each
// one), reads its status until it is FINISHED and reads the publishing quota;
// Commit is one media_publish of that container; Confirm reads the permalink.
// Nobody sees anything before media_publish.
//
// # What an unknown outcome can be known from
//
// Instagram knows no idempotency key and tells of no way from a container to
// the media it became. Its container is at most once in the state model, and
// its status is the proof: PUBLISHED is live. FINISHED, EXPIRED and ERROR mean
// not published, once the call cannot be running any more and a complete list
// of the account's media holds nothing that could be the post. The media id of
// a PUBLISHED container is found by kind, caption and time, and only when
// exactly one media fits that no other publish owns; otherwise the post is
// live with an id that nobody can tell.
//
// What a second media_publish of a container answers is not documented. So a
// container is never published again, and no container is made in its place,
// before a read has said that it is not PUBLISHED.
//
// # Connecting
//
// A code becomes a token of an hour, that one a token of 60 days, which is its
// own credential for a refresh: there is no refresh token. An account has two
// ids. The one of its professional account names it in paths and is the key;
// the app-scoped one names it in Meta's callbacks and is kept beside it.
//
// # Facts
//
// Facts about the API are those of Meta's pages on Business Login for Instagram,
// the data deletion callback, and the reference of access_token,
// refresh_access_token, IG User media, media_publish, content_publishing_limit,
// IG Container, IG Media and the error codes of the Instagram Platform, as of
// 2026. Where two pages disagree about
// the shape of an answer, {"data":[{...}]} or the object by itself, both are
// read.
package instagram

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"postbus.dev/services/connectors"
)

// Name is the provider's name in requests, rows and routes.
const Name = "instagram"

// Config configures the connector.
type Config struct {
	Client     *connectors.Client // required
	BaseURL    string             // the graph host; default https://graph.instagram.com
	Version    string             // of the API; default v25.0
	TimeFactor float64            // multiplies every time the connector states; default 1
	Now        func() time.Time   // default time.Now

	// ClientID and ClientSecret are those of the Instagram app, which is not the
	// Meta app. Without them it publishes and cannot connect.
	ClientID     string
	ClientSecret connectors.Secret
	AuthorizeURL string // default https://www.instagram.com/oauth/authorize
	TokenURL     string // takes codes; default https://api.instagram.com/oauth/access_token
}

// Connector is Instagram. It is safe for concurrent use.
type Connector struct {
	client  *connectors.Client
	app     app
	graph   string // without a slash at the end
	base    string // graph with the version
	factor  float64
	now     func() time.Time
	options map[string]option
	errors  errorTable
	marks   marks
}

var (
	_ connectors.Publisher      = (*Connector)(nil)
	_ connectors.Validator      = (*Connector)(nil)
	_ connectors.Authorizer     = (*Connector)(nil)
	_ connectors.Importer       = (*Connector)(nil)
	_ connectors.Revoker        = (*Connector)(nil)
	_ connectors.CallbackReader = (*Connector)(nil)
	_ connectors.QuotaReader    = (*Connector)(nil)
)

// New checks the configuration and returns the connector. The error names every
// fault.
func New(cfg Config) (*Connector, error) {
	cfg.BaseURL = strings.TrimRight(cmp.Or(cfg.BaseURL, "https://graph.instagram.com"), "/")
	cfg.AuthorizeURL = cmp.Or(cfg.AuthorizeURL, "https://www.instagram.com/oauth/authorize")
	cfg.TokenURL = cmp.Or(cfg.TokenURL, "https://api.instagram.com/oauth/access_token")
	cfg.Version = cmp.Or(cfg.Version, "v25.0")
	cfg.TimeFactor = cmp.Or(cfg.TimeFactor, 1)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("configure instagram: %w", err)
	}
	return &Connector{
		client: cfg.Client, graph: cfg.BaseURL, base: cfg.BaseURL + "/" + cfg.Version, factor: cfg.TimeFactor, now: cfg.Now,
		app:     app{id: cfg.ClientID, secret: cfg.ClientSecret, authorizeURL: cfg.AuthorizeURL, tokenURL: cfg.TokenURL},
		options: optionSchema(), errors: newErrorTable(), marks: newMarks(),
	}, nil
}

func (cfg Config) check() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if cfg.Client == nil {
		fault("no client")
	}
	for _, u := range [][2]string{{"base", cfg.BaseURL}, {"authorize", cfg.AuthorizeURL}, {"token", cfg.TokenURL}} {
		if !connectors.IsHTTPURL(u[1]) {
			fault("%s URL is not an absolute http or https URL", u[0])
		}
	}
	if !regexp.MustCompile(`^v[0-9]+\.[0-9]+$`).MatchString(cfg.Version) {
		fault("version %q is not like v25.0", cfg.Version)
	}
	if cfg.TimeFactor < 0 {
		fault("time factor is negative")
	}
	if (cfg.ClientID == "") != cfg.ClientSecret.Empty() {
		fault("client id and client secret are set together, or neither is")
	}
	return errors.Join(faults...)
}

// Provider returns "instagram".
func (c *Connector) Provider() string { return Name }

func (c *Connector) scale(d time.Duration) time.Duration { return time.Duration(float64(d) * c.factor) }
