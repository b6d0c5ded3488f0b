package postgres_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"postbus.dev/deploy/testbed"
	"postbus.dev/services/internal/postgres"
)

func insertNames(pool *pgxpool.Pool) func(context.Context, []string) ([]bool, error) {
	return func(ctx context.Context, names []string) ([]bool, error) {
		rows, err := pool.Query(ctx, "INSERT INTO things SELECT unnest($1::text[]) ON CONFLICT DO NOTHING RETURNING name", names)
		if err != nil {
			return nil, err
		}
		written, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return nil, err
		}
		in := map[string]bool{}
		for _, name := range written {
			in[name] = true
		}
		out := make([]bool, len(names))
		for i, name := range names {
			out[i] = in[name]
		}
		return out, nil
	}
}

func TestOneBadRowAmidFiveHundredLosesNoneOfTheOthers(t *testing.T) {
	t.Parallel()
	pool := open(t, postgres.Config{DSN: testbed.Database(t)})
	exec(t, pool, "CREATE TABLE things (name text PRIMARY KEY)")
	g, err := postgres.NewGroup(postgres.GroupConfig[string, bool]{Name: "test", Flush: insertNames(pool)})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 500 {
		wg.Go(func() {
			name := fmt.Sprint("name ", i)
			if i == 321 {
				name += "\x00"
			}
			moved, err := g.Do(t.Context(), name)
			if bad := i == 321; moved == bad || postgres.IsDataError(err) != bad {
				t.Errorf("row %d: written %t, %v", i, moved, err)
			}
		})
	}
	wg.Wait()
	g.Close()
	var n int
	if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM things").Scan(&n); err != nil || n != 499 {
		t.Fatalf("%d rows, want 499 (%v)", n, err)
	}
}
