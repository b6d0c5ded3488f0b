package bench

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
)

func (s *stand) resetStatements(ctx context.Context) error {
	if !s.cfg.Statements {
		return nil
	}
	if err := s.exec(ctx, "CREATE EXTENSION IF NOT EXISTS pg_stat_statements"); err != nil {
		return err
	}
	return s.exec(ctx, "SELECT pg_stat_statements_reset()")
}

// showStatements prints what the newest database's statements cost for each of n
// publishes, the dearest first.
func (s *stand) showStatements(ctx context.Context, n int) error {
	if !s.cfg.Statements {
		return nil
	}
	rows, err := s.admin.Query(ctx, `SELECT calls, rows, total_exec_time, total_plan_time, shared_blks_hit, wal_bytes::bigint, query
		FROM pg_stat_statements JOIN pg_database d ON d.oid = dbid WHERE datname = $1 ORDER BY total_exec_time DESC LIMIT 15`, fmt.Sprintf("bench_%d", s.fresh))
	if err != nil {
		return fmt.Errorf("read statements: %w", err)
	}
	defer rows.Close()
	w := tabwriter.NewWriter(s.cfg.Out, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprint(w, "\nus/publish\tto plan\tcalls\trows/call\tms/call\tpages/row\tlog bytes/publish\t\n")
	for rows.Next() {
		var calls, got, pages, bytes int64
		var ms, plan float64
		var query string
		if err := rows.Scan(&calls, &got, &ms, &plan, &pages, &bytes, &query); err != nil {
			return fmt.Errorf("read statements: %w", err)
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\t%s\t%d\t  %.100s\n", number(ms*1000/float64(n)), number(plan*1000/float64(n)), calls, got/calls, number(ms/float64(calls)),
			number(float64(pages)/float64(max(got, 1))), bytes/int64(n), strings.Join(strings.Fields(query), " "))
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read statements: %w", err)
	}
	return w.Flush()
}
