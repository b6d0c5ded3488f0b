package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"postbus.dev/deploy/testbed/postgres"
	"postbus.dev/events"
	"postbus.dev/migrations"
)

// factor makes Instagram's processing times a thousandth of what they are.
const factor = 0.001

// stand is what publishers are measured on.
type stand struct {
	cfg      Config
	sizes    sizes
	lock     *os.File
	db       *postgres.Server
	admin    *pgxpool.Pool // of no measured database: its commits count elsewhere
	nats     *process
	sandbox  *process
	collect  *process
	nc       *nats.Conn
	js       jetstream.JetStream
	http     *http.Client
	accounts map[string][]string // our ids, by provider
	fresh    int                 // databases made
	dsn      string              // of the newest
}

// newStand starts the parts and makes a database with accounts, to be copied.
func newStand(ctx context.Context, cfg Config, sizes sizes) (_ *stand, err error) {
	s := &stand{cfg: cfg, sizes: sizes, http: &http.Client{Transport: &http.Transport{}}}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.lock, err = claim(cfg.Dir); err != nil {
		return nil, err
	}
	if s.db, err = postgres.Start(ctx, postgres.Config{
		Dir: s.postgresDir(), Durable: true, Settings: s.settings(), Search: postgres.Search{DataDir: cfg.Fetched, Progress: s.say},
	}); err != nil {
		return nil, err
	}
	if s.admin, err = pgxpool.New(ctx, s.db.DSN("postgres")); err != nil {
		return nil, fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	if s.nats, err = start(ctx, role{Part: partNATS, Dir: s.path("nats")}); err != nil {
		return nil, err
	}
	if s.sandbox, err = start(ctx, role{Part: partSandbox, Factor: factor}); err != nil {
		return nil, err
	}
	if s.collect, err = start(ctx, role{Part: partCollector}); err != nil {
		return nil, err
	}
	if s.nc, err = nats.Connect(s.nats.url, nats.MaxReconnects(-1)); err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	if s.js, err = jetstream.New(s.nc); err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	return s, s.seed(ctx)
}

func (s *stand) path(name string) string { return filepath.Join(s.cfg.Dir, name) }

func (s *stand) postgresDir() string { return s.path("postgres") }

func (s *stand) say(line string) { _, _ = fmt.Fprintln(s.cfg.Out, line) }

// settings are those of a small server: enough memory for what is measured to
// stay in it, and no checkpoint that falls into one round and not into another.
func (s *stand) settings() []string {
	list := []string{"shared_buffers=512MB", "max_wal_size=8GB", "checkpoint_timeout=1h"}
	if s.cfg.Statements {
		list = append(list, "shared_preload_libraries=pg_stat_statements", "pg_stat_statements.track_planning=on")
	}
	return append(list, s.cfg.Settings...)
}

// close stops everything and removes the data.
func (s *stand) close() (err error) {
	if s.nc != nil {
		s.nc.Close()
	}
	s.http.CloseIdleConnections()
	if s.admin != nil {
		s.admin.Close()
	}
	for _, p := range []*process{s.collect, s.sandbox, s.nats} {
		if p != nil {
			err = errors.Join(err, p.stop())
		}
	}
	if s.db != nil {
		err = errors.Join(err, s.db.Close())
	}
	if s.lock == nil {
		return err // the directory is another run's
	}
	if !s.cfg.Keep {
		err = errors.Join(err, os.RemoveAll(s.cfg.Dir))
	}
	return errors.Join(err, s.lock.Close())
}

// claim makes the directory, empty, or says that another run has it.
func claim(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make benchmark directory: %w", err)
	}
	const name = "bench.lock"
	lock, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make benchmark directory: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another benchmark runs in %s", dir), lock.Close())
	}
	left, err := os.ReadDir(dir) // by a run that was killed
	for _, f := range left {
		if f.Name() != name {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, f.Name())))
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("clear benchmark directory: %w", err), lock.Close())
	}
	return lock, nil
}

// renew makes everything as it was at the start: a copy of the seeded database,
// streams without messages, a provider that knows nothing. The checkpoint keeps
// the copy's writes out of what is measured next.
func (s *stand) renew(ctx context.Context) error {
	if s.fresh > 0 {
		if err := s.exec(ctx, fmt.Sprintf("DROP DATABASE bench_%d WITH (FORCE)", s.fresh)); err != nil {
			return err
		}
	}
	s.fresh++
	name := fmt.Sprintf("bench_%d", s.fresh)
	if err := s.exec(ctx, "CREATE DATABASE "+name+" TEMPLATE "+seeded); err != nil {
		return err
	}
	s.dsn = s.db.DSN(name)
	if err := s.exec(ctx, "CHECKPOINT"); err != nil {
		return err
	}
	if err := s.emptyStreams(ctx); err != nil {
		return err
	}
	return s.forget(ctx)
}

func (s *stand) exec(ctx context.Context, sql string) error {
	if _, err := s.admin.Exec(ctx, sql); err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	return nil
}

func (s *stand) emptyStreams(ctx context.Context) error {
	for _, st := range events.Topology(events.TopologyOptions{}) {
		if err := s.js.DeleteStream(ctx, st.Name); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			return fmt.Errorf("delete stream %s: %w", st.Name, err)
		}
		if _, err := s.js.CreateStream(ctx, st.StreamConfig); err != nil {
			return fmt.Errorf("make stream %s: %w", st.Name, err)
		}
		for _, c := range st.Consumers {
			if _, err := s.js.CreateConsumer(ctx, c.Stream, c.ConsumerConfig); err != nil {
				return fmt.Errorf("make consumer %s: %w", c.Name, err)
			}
		}
	}
	return nil
}

// forget makes the provider forget posts, calls and connections.
func (s *stand) forget(ctx context.Context) error {
	for _, path := range []string{"/bench/", "/_sandbox/posts", "/_sandbox/connections"} {
		if err := s.ask(ctx, http.MethodDelete, path, nil, nil); err != nil {
			return err
		}
	}
	return nil
}

// publisher starts a publisher on the newest database, and returns when it takes
// requests.
func (s *stand) publisher(ctx context.Context) (*process, error) {
	p, err := start(ctx, role{Part: partPublisher, Sandbox: s.sandbox.url, Factor: factor, Dir: s.cfg.Profile},
		"DATABASE_URL="+postgres.As(s.dsn, migrations.RolePublisher), "NATS_URL="+s.nats.url, "POSTBUS_KEYSET="+s.path("keyset.json"), "POSTBUS_HTTP_ADDR=127.0.0.1:0",
		"POSTBUS_LOG_LEVEL=warn",
		"OTEL_TRACES_SAMPLER=parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG=0.1",
		"OTEL_TRACES_EXPORTER=otlp", "OTEL_METRICS_EXPORTER=none", "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
		"OTEL_EXPORTER_OTLP_ENDPOINT="+s.collect.url)
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(startWait); !s.ready(ctx, p); {
		if err := errors.Join(p.running(), ctx.Err()); err != nil || time.Now().After(deadline) {
			return nil, errors.Join(errors.New("the publisher does not get ready"), err, p.stop())
		}
		time.Sleep(20 * time.Millisecond)
	}
	return p, nil
}

func (s *stand) ready(ctx context.Context, p *process) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/readyz", nil)
	if err != nil {
		return false
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return false
	}
	return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
}
