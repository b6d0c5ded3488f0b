package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"postbus.dev/deploy/e2e/bench/onecall"
)

// written is what PostgreSQL did so far.
type written struct {
	commits  int64 // transactions that ended well, those that only read included
	writes   int64 // transactions that wrote
	syncs    int64 // flushes of the log
	logBytes int64
}

// written reads it. Sessions tell of their commits late, at the latest when
// they end: so a publisher is measured from before its start until after its
// end, and pays for both.
func (s *stand) written(ctx context.Context) (w written, err error) {
	err = s.admin.QueryRow(ctx, `SELECT (SELECT xact_commit FROM pg_stat_database WHERE datname = $1),
		pg_snapshot_xmax(pg_current_snapshot())::text::bigint, (SELECT wal_sync FROM pg_stat_wal), pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint`, fmt.Sprintf("bench_%d", s.fresh)).Scan(&w.commits, &w.writes, &w.syncs, &w.logBytes)
	if err != nil {
		return w, fmt.Errorf("read statistics of PostgreSQL: %w", err)
	}
	return w, nil
}

// saturation measures how many requests that wait in the stream become
// publish.completed on it, in a second.
func (b *bench) saturation(ctx context.Context) error {
	n := b.sizes.publishes
	used, wrote, err := b.burst(ctx, n, b.stand.accounts[onecall.Name])
	if err != nil {
		return err
	}
	if err := b.postedOnce(ctx, n); err != nil {
		return err
	}
	rate := float64(n) / used.elapsed.Seconds()
	each := func(v int64) float64 { return float64(v) / float64(n) }
	b.add(used, "publishes_per_s", "publishes/s, end to end", "/s", rate)
	b.costs(used, "publish", n)
	b.add(used, "commits_per_publish", "commits per publish (at most 0.05)", "", each(wrote.commits))
	b.add(used, "writing_commits_per_publish", "  of them with a write", "", each(wrote.writes))
	b.add(used, "fsyncs_per_publish", "flushes of the log per publish", "", each(wrote.syncs))
	b.add(used, "wal_bytes_per_publish", "log bytes per publish", "B", each(wrote.logBytes))
	return nil
}

// burst starts a publisher on n requests that wait for it, and waits for their
// ends.
func (b *bench) burst(ctx context.Context, n int, accounts []string) (used spent, wrote written, err error) {
	s := b.stand
	if err := s.renew(ctx); err != nil {
		return used, wrote, err
	}
	if err := s.preload(ctx, n, accounts); err != nil {
		return used, wrote, err
	}
	before, err := s.written(ctx)
	if err != nil {
		return used, wrote, err
	}
	if err := s.resetStatements(ctx); err != nil {
		return used, wrote, err
	}
	start := s.usage(nil)
	p, err := s.publisher(ctx)
	if err != nil {
		return used, wrote, err
	}
	ended, err := b.completed(ctx, p, n)
	used = start.until(s.usage(p))
	if err = errors.Join(err, p.stop()); err != nil {
		return used, wrote, err
	}
	began, err := s.firstAccepted(ctx)
	if err != nil {
		return used, wrote, err
	}
	used.elapsed = ended.Sub(began)
	after, err := s.written(ctx)
	if err != nil {
		return used, wrote, err
	}
	wrote = written{after.commits - before.commits, after.writes - before.writes, after.syncs - before.syncs, after.logBytes - before.logBytes}
	return used, wrote, s.showStatements(ctx, n)
}

// firstAccepted is when the first request was stored: the clock of a burst
// starts there, so that it does not count how long a process takes to start.
// PostgreSQL and the stream are on one machine.
func (s *stand) firstAccepted(ctx context.Context) (at time.Time, err error) {
	conn, err := pgx.Connect(ctx, s.dsn)
	if err != nil {
		return at, fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if err := conn.QueryRow(ctx, `SELECT min(accepted_at) FROM publishes`).Scan(&at); err != nil {
		return at, fmt.Errorf("read first publish: %w", err)
	}
	return at, nil
}

// costs adds what one of n things cost in CPU, by part.
func (b *bench) costs(used spent, of string, n int) {
	all, parts := used.each(n)
	key := "cpu_us_per_" + strings.ReplaceAll(of, " ", "_")
	b.add(used, key, "CPU per "+of, "us", all)
	for _, name := range []string{partPublisher, partPostgres, partNATS, partSandbox, partCollector} {
		b.add(used, key+"_"+name, "  of it "+name, "us", parts[name])
	}
}
