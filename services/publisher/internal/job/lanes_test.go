package job

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// crowd stores publishes of the bench's account that were due a while ago, one
// in so many of them ready.
func (b *bench) crowd(n, readyEach int) {
	b.t.Helper()
	if _, err := b.pool.Exec(b.t.Context(), `INSERT INTO publishes (id, event_source, event_id, account_id, user_id, provider, media_type, request, request_sha256, content_sha256, state, due_at, next_at, expires_at)
		SELECT gen_random_uuid(), '/test', g::text, $1, $1, 'instagram', 'IMAGE', '{}', decode(repeat('00', 32), 'hex'), decode(repeat('00', 32), 'hex'),
			CASE WHEN g % $3 = 0 THEN 'ready' ELSE 'accepted' END, at, at, now() + interval '1 day'
		FROM generate_series(1, $2) g, LATERAL (SELECT now() - interval '1 hour' + g * interval '1 millisecond' AS at) t`,
		[16]byte(b.accountID), n, readyEach); err != nil {
		b.t.Fatal(err)
	}
}

// scanned runs a prepared statement, takes it back, and counts the rows that its
// plan took from tables, those that a filter removed among them.
func scanned(t *testing.T, conn *pgx.Conn, call string) (rows float64) {
	t.Helper()
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.WithoutCancel(t.Context()))
	var plan []byte
	if err := tx.QueryRow(t.Context(), "EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE "+call, pgx.QueryExecModeSimpleProtocol).Scan(&plan); err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(plan, &out); err != nil {
		t.Fatal(err)
	}
	return fromTables(out)
}

func fromTables(plan any) (rows float64) {
	switch v := plan.(type) {
	case []any:
		for _, e := range v {
			rows += fromTables(e)
		}
	case map[string]any:
		if _, ok := v["Relation Name"]; ok {
			of := func(key string) float64 { n, _ := v[key].(float64); return n }
			rows = (of("Actual Rows") + of("Rows Removed by Filter")) * of("Actual Loops")
		}
		rows += fromTables(v["Plans"]) + fromTables(v["Plan"])
	}
	return rows
}

func TestALanesStatementsReadNoMoreThanTheyBring(t *testing.T) {
	b := setup(t)
	conn, err := b.pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	var calls []string
	for _, s := range []struct{ name, sql, args string }{
		{"claim", sqlClaim, "'%[1]s', 20000000, 2000000, 500"},
		{"hint", sqlHint, "'%[1]s', '{%[2]s}', 2000000"},
		{"load", sqlLoad, "'{%[2]s}', 2000000, %[3]d"},
		{"renew", sqlRenew, "'%[1]s', '{%[2]s}', '{1}', 20000000, 2000000"},
		{"release", sqlRelease, "'%[1]s', '{%[2]s}', '{1}', %[3]d"},
	} {
		if _, err := conn.Exec(t.Context(), "PREPARE "+s.name+" AS "+s.sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatal(s.name, err)
		}
		calls = append(calls, fmt.Sprintf(s.name+"("+s.args+")", b.a.cfg.Owner, b.accountID, LoadLimit))
	}
	first := b.stored(b.a, b.request())
	for _, call := range calls { // the plans are made now, and stay
		scanned(t, conn.Conn(), call)
	}
	b.crowd(10_000, 100)
	if _, err := b.pool.Exec(t.Context(), `INSERT INTO account_lanes (account_id, next_at) SELECT gen_random_uuid(), now() + interval '1 hour' FROM generate_series(1, 10000)`); err != nil {
		t.Fatal(err)
	}
	b.write(b.a, arm(first.Publish, first.Fence))
	for _, call := range calls {
		if got := scanned(t, conn.Conn(), call); got > 4*LoadLimit {
			t.Errorf("%s: %.0f rows were read", call, got)
		}
	}
}

func TestNoStateCrowdsOutAnother(t *testing.T) {
	b := setup(t)
	b.crowd(3*LoadLimit, 2)
	polled := b.stored(b.a, b.request())
	w := b.write(b.a, arm(polled.Publish, polled.Fence))
	confirming := &Transition{Publish: w.Publish, Lane: Free, HasNext: true}
	confirming.Publish.State = Confirming
	b.write(b.a, confirming)
	sent := b.stored(b.a, b.request())
	armed := arm(sent.Publish, sent.Fence)
	armed.NextIn = time.Hour
	b.write(b.a, armed)
	l, err := b.a.Load(t.Context(), Lane{Account: b.accountID, Fence: polled.Fence})
	if err != nil {
		t.Fatal(err)
	}
	got := map[State]int{}
	for _, p := range l.Work {
		got[p.State]++
	}
	if !l.More || !l.MoreReady || got[Accepted] != LoadLimit || got[Ready] != LoadLimit || got[Confirming] != 1 || got[Armed] != 1 {
		t.Errorf("loaded %v, more %v and %v", got, l.More, l.MoreReady)
	}
}

func TestALaneIsTakenForWhatCanStillBePrepared(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		ready  int
		claims int
	}{{"as many are ready as are prepared ahead", LoadLimit, 0}, {"one less is ready", LoadLimit - 1, 1}} {
		t.Run(tc.name, func(t *testing.T) {
			b := setup(t)
			b.crowd(tc.ready, 1)
			b.crowd(1, 2)
			first := b.stored(b.a, b.request())
			sent := arm(first.Publish, first.Fence)
			sent.NextIn = time.Hour
			b.write(b.a, sent)
			if err := b.a.Release(t.Context(), []Lane{{Account: b.accountID, Fence: first.Fence}}); err != nil {
				t.Fatal(err)
			}
			if lanes, err := b.b.Claim(t.Context(), 10); err != nil || len(lanes) != tc.claims {
				t.Errorf("%d lanes were claimed (%v), want %d", len(lanes), err, tc.claims)
			}
		})
	}
}
