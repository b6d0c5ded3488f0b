package tokenrefresher

import (
	"cmp"
	"io"
	"os"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/process"
)

// Config is what a token-refresher needs to run.
type Config struct {
	DatabaseURL string // PostgreSQL
	MigrateURL  string // if set, the schema is brought up to date with it at start
	NATSURL     string
	HTTPAddr    string // host:port of the probes
	KeysetPath  string // Tink keyset that seals the tokens
	KeysetKMS   string // URI of the key that encrypts the keyset, at a key management service; "": it is in clear

	// Getenv reads the connectors' own settings, <PROVIDER>_*.
	Getenv func(name string) string

	StreamReplicas int           // copies of each stream; 1
	StreamMaxBytes int64         // of the PUBLISH stream; 1 GiB
	Poll           time.Duration // between two looks for what is due; 500 ms
	// Margin is how much longer than a provider's call an account is held: what a
	// dead process held is due again after it; 30 s.
	Margin time.Duration

	LogWriter     io.Writer               // JSON lines; os.Stdout
	SpanExporters []sdktrace.SpanExporter // beside those that OTEL_* names

	// Connectors makes connectors beside those that every service has; no setting
	// reaches it. For tests.
	Connectors func(*connectors.Client) map[string]connectors.Connector
	// TimeFactor scales the connectors' times, for tests; 1.
	TimeFactor float64
	// Failpoint is called with the name of each crash window as it is entered. No
	// setting reaches it: only a program that builds a Config by hand has it.
	Failpoint func(name string)
	// Listening is called with the address of the probes once they are answered.
	Listening func(addr string)
}

// FromEnv reads the settings that Usage lists. The error names every fault.
func FromEnv(getenv func(string) string) (Config, error) {
	e := process.NewEnv(getenv)
	cfg := Config{
		DatabaseURL:    e.Required("DATABASE_URL", "a PostgreSQL connection string"),
		MigrateURL:     e.String("POSTBUS_MIGRATE_URL", ""),
		NATSURL:        e.String("NATS_URL", "nats://127.0.0.1:4222"),
		HTTPAddr:       e.Addr("POSTBUS_HTTP_ADDR", "127.0.0.1:3000"),
		KeysetPath:     e.Required("POSTBUS_KEYSET", "the path of the Tink keyset that seals tokens"),
		KeysetKMS:      e.String("POSTBUS_KEYSET_KMS", ""),
		StreamReplicas: int(e.Int("POSTBUS_STREAM_REPLICAS", 1, 1, 5)),
		StreamMaxBytes: e.Int("POSTBUS_STREAM_MAX_BYTES", 1<<30, 1<<20, 1<<50),
		Getenv:         getenv,
	}
	return cfg, e.Err()
}

// Usage is what --help prints.
const Usage = `Keeps the tokens of connected accounts alive: refreshes them long before they expire
and when token.refresh_requested asks for it, tells which accounts a person must reconnect.

Settings (environment variables):
  DATABASE_URL              PostgreSQL connection string (required)
  PGPASSWORD                its password, where the string has none
  POSTBUS_KEYSET            path of the Tink keyset that seals tokens (required)
  POSTBUS_KEYSET_KMS        hcvault:// or aws-kms:// URI of the key that the keyset is encrypted with;
                            not set: it is in clear, mode 0600
  NATS_URL                  default nats://127.0.0.1:4222
  POSTBUS_HTTP_ADDR         where /livez, /readyz and /metrics are; default 127.0.0.1:3000
  POSTBUS_MIGRATE_URL       if set, the schema is brought up to date at start with this connection
  POSTBUS_STREAM_REPLICAS   copies of each stream; default 1, use 3 in production
  POSTBUS_STREAM_MAX_BYTES  size of the PUBLISH stream; default 1 GiB
  POSTBUS_LOG_LEVEL         debug, info, warn or error; default info
  <PROVIDER>_CLIENT_ID      of our app at a provider, the same as the account service has
  <PROVIDER>_CLIENT_SECRET  the same
  INSTAGRAM_BASE_URL        default https://graph.instagram.com
  TIKTOK_BASE_URL           default https://open.tiktokapis.com
  REDDIT_OAUTH_URL          default https://www.reddit.com/api/v1
  REDDIT_BASE_URL           default https://oauth.reddit.com
  REDDIT_USER_AGENT         platform:app:version (by /u/name)
  ONLYFANS_API_KEY          of our team at the gateway, OnlyFansAPI.com
  ONLYFANS_BASE_URL         default https://app.onlyfansapi.com
  OTEL_*                    OpenTelemetry's own: exporters, endpoint, sampler`

func (c *Config) defaults() {
	c.LogWriter = cmp.Or[io.Writer](c.LogWriter, os.Stdout)
	c.TimeFactor = cmp.Or(c.TimeFactor, 1)
	if c.Getenv == nil {
		c.Getenv = os.Getenv
	}
	if c.Failpoint == nil {
		c.Failpoint = func(string) {}
	}
	if c.Listening == nil {
		c.Listening = func(string) {}
	}
}
