// Package instagram publishes to Instagram professional accounts through the
// Instagram API with Instagram Login.
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
// # Facts
//
// Facts about the API are those of Meta's reference pages for IG User media,
// media_publish, content_publishing_limit, IG Container, IG Media and the error
// codes of the Instagram Platform, as of 2026. Where two pages disagree about
// the shape of an answer, {"data":[{...}]} or the object by itself, both are
// read.
package instagram

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
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
}

// Connector is Instagram. It is safe for concurrent use.
type Connector struct {
	client  *connectors.Client
	base    string // with the version, without a slash at the end
	factor  float64
	now     func() time.Time
	options map[string]option
	errors  errorTable
	marks   marks
}

var (
	_ connectors.Publisher = (*Connector)(nil)
	_ connectors.Validator = (*Connector)(nil)
)

// New checks the configuration and returns the connector.
func New(cfg Config) (*Connector, error) {
	if cfg.Client == nil {
		return nil, errors.New("configure instagram: no client")
	}
	cfg.BaseURL = strings.TrimRight(cmp.Or(cfg.BaseURL, "https://graph.instagram.com"), "/")
	cfg.Version = cmp.Or(cfg.Version, "v25.0")
	cfg.TimeFactor = cmp.Or(cfg.TimeFactor, 1)
	if u, err := url.Parse(cfg.BaseURL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("configure instagram: base URL is not an absolute http or https URL")
	}
	if !regexp.MustCompile(`^v[0-9]+\.[0-9]+$`).MatchString(cfg.Version) {
		return nil, fmt.Errorf("configure instagram: version %q is not like v25.0", cfg.Version)
	}
	if cfg.TimeFactor < 0 {
		return nil, errors.New("configure instagram: time factor is negative")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Connector{
		client: cfg.Client, base: cfg.BaseURL + "/" + cfg.Version, factor: cfg.TimeFactor, now: cfg.Now,
		options: optionSchema(), errors: newErrorTable(), marks: newMarks(),
	}, nil
}

// Provider returns "instagram".
func (c *Connector) Provider() string { return Name }

func (c *Connector) scale(d time.Duration) time.Duration { return time.Duration(float64(d) * c.factor) }
