package publisher

import (
	"cmp"
	"io"
	"os"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/httpapi"
	"postbus.dev/services/internal/process"
	"postbus.dev/services/publisher/internal/api"
)

// Config is what a publisher needs to run.
type Config struct {
	DatabaseURL string // PostgreSQL
	MigrateURL  string // if set, the schema is brought up to date with it at start
	NATSURL     string
	HTTPAddr    string // host:port of the API
	KeysetPath  string // Tink keyset that sealed the tokens
	KeysetKMS   string // URI of the key that encrypts the keyset, at a key management service; "": it is in clear

	PublishesPerUser int64          // requests for a publish over HTTP that a user has in a minute; 20
	Limits           httpapi.Limits // of all other API calls

	// Getenv reads the connectors' own settings, <PROVIDER>_*.
	Getenv func(name string) string

	StreamReplicas int           // copies of each stream; 1
	StreamMaxBytes int64         // of the PUBLISH stream; 1 GiB
	Slots          int           // provider steps at once; 1,024
	Lease          time.Duration // of an account's lane; 20 s
	Poll           time.Duration // between two looks for due work; 200 ms
	Grace          time.Duration // for running steps at shutdown; 1 min
	// Recheck is how often a publish that waits for a token, a person or an
	// operator looks again by itself; 1 min.
	Recheck time.Duration
	// Drain is how long what is at the provider may take to settle when its account
	// is disconnected; 5 min. TimeFactor scales it.
	Drain time.Duration

	LogWriter     io.Writer               // JSON lines; os.Stdout
	SpanExporters []sdktrace.SpanExporter // beside those that OTEL_* names

	// Connectors makes connectors beside those that every publisher has; no
	// setting reaches it. For benchmarks and tests.
	Connectors func(*connectors.Client) map[string]connectors.Connector
	// TimeFactor scales the connectors' times, and Drain, for tests; 1.
	TimeFactor float64
	// Failpoint is called with the name of each crash window as it is entered. No
	// setting reaches it: only a program that builds a Config by hand has it.
	Failpoint func(name string)
	// Listening is called with the API's address once it accepts requests.
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
		Limits:         httpapi.LimitsFrom(e),
		StreamReplicas: int(e.Int("POSTBUS_STREAM_REPLICAS", 1, 1, 5)),
		StreamMaxBytes: e.Int("POSTBUS_STREAM_MAX_BYTES", 1<<30, 1<<20, 1<<50),
		Slots:          int(e.Int("POSTBUS_SLOTS", 1024, 1, 100_000)),
		Getenv:         getenv,

		PublishesPerUser: e.Int("POSTBUS_PUBLISHES_PER_USER", api.DefaultQuota, 1, 1_000_000),
	}
	return cfg, e.Err()
}

// Usage is what --help prints.
const Usage = `Publishes posts: takes publish.requested from NATS and HTTP, posts with the user's
account, reports publish.completed or what happened instead.

Settings (environment variables):
  DATABASE_URL              PostgreSQL connection string (required)
  PGPASSWORD                its password, where the string has none
  POSTBUS_KEYSET            path of the Tink keyset that seals tokens (required)
  POSTBUS_KEYSET_KMS        hcvault:// or aws-kms:// URI of the key that the keyset is encrypted with;
                            not set: it is in clear, mode 0600
  NATS_URL                  default nats://127.0.0.1:4222
  POSTBUS_HTTP_ADDR         where the API listens; default 127.0.0.1:3000
  POSTBUS_MIGRATE_URL       if set, the schema is brought up to date at start with this connection
  POSTBUS_STREAM_REPLICAS   copies of each stream; default 1, use 3 in production
  POSTBUS_STREAM_MAX_BYTES  size of the PUBLISH stream; default 1 GiB
  POSTBUS_SLOTS             provider steps at once; default 1024
  POSTBUS_PUBLISHES_PER_USER requests for a publish over HTTP that a user has in a minute; default 20
` + httpapi.LimitsUsage + `
  POSTBUS_LOG_LEVEL         debug, info, warn or error; default info
  INSTAGRAM_BASE_URL        default https://graph.instagram.com
  TIKTOK_BASE_URL           default https://open.tiktokapis.com
  REDDIT_BASE_URL           default https://oauth.reddit.com
  REDDIT_USER_AGENT         platform:app:version (by /u/name)
  ONLYFANS_BASE_URL         default https://app.onlyfansapi.com
  OTEL_*                    OpenTelemetry's own: exporters, endpoint, sampler`

// grace is what stopping takes beside the running steps: requests in progress,
// the consumer's handlers, the last spans.
const grace = 30 * time.Second

func (c *Config) defaults() {
	c.Grace = cmp.Or(c.Grace, time.Minute)
	c.LogWriter = cmp.Or[io.Writer](c.LogWriter, os.Stdout)
	c.TimeFactor = cmp.Or(c.TimeFactor, 1)
	c.Slots = cmp.Or(c.Slots, 1024)
	c.PublishesPerUser = cmp.Or(c.PublishesPerUser, api.DefaultQuota)
	c.Drain = time.Duration(float64(cmp.Or(c.Drain, 5*time.Minute)) * c.TimeFactor)
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
