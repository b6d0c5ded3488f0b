package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/trace"
)

// Config says where the database is and what a session may cost it.
type Config struct {
	DSN  string // connection string, URL or key=value; holds a password, never printed
	Name string // application_name, by which people find the sessions of a service

	MaxConns        int           // default 16
	ConnectTimeout  time.Duration // of one connection attempt; default 5 s
	MaxConnLifetime time.Duration // default 1 h

	// Limits of every session. A writing transaction that stays open holds
	// back every relay of the cluster, so that none may stay open for long.
	StatementTimeout time.Duration // default 30 s
	LockTimeout      time.Duration // default 10 s
	IdleInTxTimeout  time.Duration // default 10 s

	// Tracer makes a span of every statement where it is set. A publish costs
	// about ten statements and one trace should tell a story, so services
	// leave it nil unless somebody asks for that depth.
	Tracer trace.TracerProvider
}

// Open returns a pool whose sessions all carry the settings of c. It does not
// wait for the database: services start in any order, so that a database that
// is not there yet is an error of the first statement (IsUnavailable).
func Open(ctx context.Context, c Config) (*pgxpool.Pool, error) {
	p, err := poolConfig(c)
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.NewWithConfig(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("open connection pool: %w", err)
	}
	return pool, nil
}

func poolConfig(c Config) (*pgxpool.Config, error) {
	if c.DSN == "" {
		return nil, errors.New("open connection pool: no connection string")
	}
	p, err := pgxpool.ParseConfig(c.DSN)
	if err != nil {
		// The parser's own text quotes the string, and masks what it can
		// recognize as a password: not enough for a log.
		return nil, errors.New("open connection pool: the connection string is neither a postgres:// URL nor a list of key=value")
	}
	p.MaxConns = int32(cmp.Or(c.MaxConns, 16))
	p.MaxConnLifetime = cmp.Or(c.MaxConnLifetime, time.Hour)
	p.MaxConnLifetimeJitter = p.MaxConnLifetime / 10
	p.PingTimeout = 5 * time.Second
	p.ConnConfig.ConnectTimeout = cmp.Or(c.ConnectTimeout, 5*time.Second)
	p.AfterConnect = func(_ context.Context, conn *pgx.Conn) error {
		registerUUID(conn.TypeMap())
		return nil
	}
	for name, value := range sessionSettings(c) {
		p.ConnConfig.RuntimeParams[name] = value
	}
	if c.Tracer != nil {
		p.ConnConfig.Tracer = otelpgx.NewTracer(otelpgx.WithTracerProvider(c.Tracer))
	}
	return p, nil
}

// sessionSettings are startup parameters, so that they cost no round trip and
// no session can be without them.
//
// The planner settings: services' statements are lookups by key, or join a
// few hundred keys of an unnest with a table by its primary key, and their
// plans are prepared once per connection. A plan made while the table was
// small reads it whole, and stays when the table has grown. With three methods
// made expensive the index is used at any size; a report that wants a scan
// belongs on a connection of its own.
//
// What values a statement gets makes no difference to such a plan, so that it is
// made once and kept: left to itself, PostgreSQL plans the large ones again each
// time, which took longer than running them for one row. Planning each time
// would not have kept the table from being read whole either, as was tried.
func sessionSettings(c Config) map[string]string {
	return map[string]string{
		"application_name":                    cmp.Or(c.Name, "postbus"),
		"timezone":                            "UTC",
		"statement_timeout":                   millis(cmp.Or(c.StatementTimeout, 30*time.Second)),
		"lock_timeout":                        millis(cmp.Or(c.LockTimeout, 10*time.Second)),
		"idle_in_transaction_session_timeout": millis(cmp.Or(c.IdleInTxTimeout, 10*time.Second)),
		"plan_cache_mode":                     "force_generic_plan",
		"enable_seqscan":                      "off",
		"enable_hashjoin":                     "off",
		"enable_mergejoin":                    "off",
		"jit":                                 "off",
	}
}

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
