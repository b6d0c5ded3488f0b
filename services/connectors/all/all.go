// Package all is the list of the connectors that this build has. A provider is
// a folder beside it and a line in New.
package all

import (
	"errors"
	"fmt"

	"postbus.dev/services/connectors"
	"postbus.dev/services/connectors/instagram"
	"postbus.dev/services/connectors/onlyfans"
	"postbus.dev/services/connectors/reddit"
	"postbus.dev/services/connectors/tiktok"
)

// Config configures every connector.
type Config struct {
	// Env reads a setting, as os.Getenv does; "" is not set. Each connector's
	// settings begin with its name: INSTAGRAM_BASE_URL, INSTAGRAM_API_VERSION.
	Env        func(string) string
	Client     *connectors.Client
	TimeFactor float64 // multiplies every time that connectors state; 0 means 1
}

// New returns the connectors by the names of their providers, or every fault in
// their settings at once.
func New(cfg Config) (map[string]connectors.Connector, error) {
	if cfg.Env == nil {
		cfg.Env = func(string) string { return "" }
	}
	list := map[string]connectors.Connector{}
	var faults []error
	for _, build := range []func(Config) (connectors.Connector, error){
		newInstagram, newTikTok, newReddit, newOnlyFans,
	} {
		p, err := build(cfg)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		list[p.Provider()] = p
	}
	if err := errors.Join(faults...); err != nil {
		return nil, fmt.Errorf("configure connectors: %w", err)
	}
	return list, nil
}

func newInstagram(cfg Config) (connectors.Connector, error) {
	return instagram.New(instagram.Config{
		Client: cfg.Client, BaseURL: cfg.Env("INSTAGRAM_BASE_URL"), Version: cfg.Env("INSTAGRAM_API_VERSION"), TimeFactor: cfg.TimeFactor,
		ClientID: cfg.Env("INSTAGRAM_CLIENT_ID"), ClientSecret: connectors.NewSecret(cfg.Env("INSTAGRAM_CLIENT_SECRET")),
		AuthorizeURL: cfg.Env("INSTAGRAM_AUTHORIZE_URL"), TokenURL: cfg.Env("INSTAGRAM_TOKEN_URL"),
	})
}

func newTikTok(cfg Config) (connectors.Connector, error) {
	return tiktok.New(tiktok.Config{
		Client: cfg.Client, BaseURL: cfg.Env("TIKTOK_BASE_URL"), AuthorizeURL: cfg.Env("TIKTOK_AUTHORIZE_URL"), TimeFactor: cfg.TimeFactor,
		ClientID: cfg.Env("TIKTOK_CLIENT_ID"), ClientSecret: connectors.NewSecret(cfg.Env("TIKTOK_CLIENT_SECRET")),
	})
}

func newOnlyFans(cfg Config) (connectors.Connector, error) {
	return onlyfans.New(onlyfans.Config{
		Client: cfg.Client, BaseURL: cfg.Env("ONLYFANS_BASE_URL"), AuthorizeURL: cfg.Env("ONLYFANS_AUTHORIZE_URL"), TimeFactor: cfg.TimeFactor,
		Key: connectors.NewSecret(cfg.Env("ONLYFANS_API_KEY")),
	})
}

func newReddit(cfg Config) (connectors.Connector, error) {
	return reddit.New(reddit.Config{
		Client: cfg.Client, BaseURL: cfg.Env("REDDIT_BASE_URL"), OAuthURL: cfg.Env("REDDIT_OAUTH_URL"), AuthorizeURL: cfg.Env("REDDIT_AUTHORIZE_URL"),
		UserAgent: cfg.Env("REDDIT_USER_AGENT"), TimeFactor: cfg.TimeFactor,
		ClientID: cfg.Env("REDDIT_CLIENT_ID"), ClientSecret: connectors.NewSecret(cfg.Env("REDDIT_CLIENT_SECRET")),
	})
}
