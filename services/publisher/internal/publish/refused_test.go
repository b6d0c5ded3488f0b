package publish

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"postbus.dev/services/connectors"
	"postbus.dev/services/publisher/internal/job"
)

// exec changes the tables, which their owner may.
func (b *bench) exec(sql string) {
	b.t.Helper()
	conn, err := pgx.Connect(b.t.Context(), b.dsn)
	if err != nil {
		b.t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(b.t.Context()))
	if _, err := conn.Exec(b.t.Context(), sql); err != nil {
		b.t.Fatal(err)
	}
}

// told are the events of a publish in the outbox, type and body.
func (b *bench) told(id uuid.UUID) map[string]string {
	b.t.Helper()
	rows, err := b.pool.Query(b.t.Context(), `SELECT subject, convert_from(event, 'UTF8') FROM outbox WHERE convert_from(event, 'UTF8')::jsonb ->> 'subject' = $1`, id.String())
	if err != nil {
		b.t.Fatal(err)
	}
	defer rows.Close()
	out := map[string]string{}
	for rows.Next() {
		var subject, body string
		if err := rows.Scan(&subject, &body); err != nil {
			b.t.Fatal(err)
		}
		if out[subject] != "" {
			b.t.Errorf("%s was told twice", subject)
		}
		out[subject] = body
	}
	return out
}

// bad is in all that the tests' constraints refuse.
const bad = "unforeseen"

const (
	noBadResult     = `ALTER TABLE publishes ADD CONSTRAINT t CHECK (coalesce(result::text, '') !~ 'unforeseen')`
	noBadError      = `ALTER TABLE publishes ADD CONSTRAINT t CHECK (coalesce(error::text, '') !~ 'unforeseen')`
	noBadCheckpoint = `ALTER TABLE publishes ADD CONSTRAINT t CHECK (position('unforeseen'::bytea IN coalesce(checkpoint, '')) = 0)`
	noBadLog        = `ALTER TABLE publish_attempts ADD CONSTRAINT t CHECK (message !~ 'unforeseen')`
	noCompleted     = `ALTER TABLE publishes ADD CONSTRAINT t CHECK (state <> 'completed')`
	noFailed        = `ALTER TABLE publishes ADD CONSTRAINT t CHECK (state <> 'failed')`
)

func rejected() *connectors.Error {
	return &connectors.Error{Kind: connectors.KindReject, Code: connectors.CodeMediaRejected, Message: bad}
}

func TestWhatTheDatabaseRefusesOfAPublishEndsAsFarAsItIsKnown(t *testing.T) {
	t.Parallel()
	badCheckpoint := connectors.Checkpoint(`{"note":"` + bad + `"}`)
	for _, tc := range []struct {
		name   string
		refuse string
		armed  bool
		act    func(*turn)
		state  job.State
		remote string
		event  string // that is told, or none
		holds  string // by the event
	}{
		{"a live post whose description is refused is completed with its id", noBadResult, true, func(t *turn) {
			t.complete(t.l.ctx, &connectors.RemotePost{ID: "17", Caption: bad}, nil, nil)
		}, job.Completed, "17", "publish.completed", `"postId":"17"`},
		{"a live post at a time that cannot be written is completed with its id", "", true, func(t *turn) {
			t.complete(t.l.ctx, &connectors.RemotePost{ID: "17", Timestamp: time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)}, nil, nil)
		}, job.Completed, "17", "publish.completed", `"postId":"17"`},
		{"a live post that cannot be stored at all is unconfirmed", noCompleted, true, func(t *turn) {
			t.complete(t.l.ctx, &connectors.RemotePost{ID: "17"}, nil, nil)
		}, job.Unconfirmed, "", "publish.unconfirmed", "the provider says that the post is live"},
		{"a rejection whose words are refused has failed", noBadError, true, func(t *turn) {
			t.fail(t.l.ctx, rejected(), "commit")
		}, job.Failed, "", "publish.failed", `"code":"INTERNAL_ERROR"`},
		{"a rejection that cannot be stored at all is unconfirmed", noFailed, true, func(t *turn) {
			t.fail(t.l.ctx, rejected(), "commit")
		}, job.Unconfirmed, "", "publish.unconfirmed", "the provider says that there is no post"},
		{"an accepted post whose checkpoint is refused is looked for", noBadCheckpoint, true, func(t *turn) {
			t.accepted(t.l.ctx, connectors.Step{Next: connectors.Accepted, Checkpoint: badCheckpoint, Post: &connectors.RemotePost{ID: "17"}})
		}, job.Unknown, "", "", ""},
		{"a refusal of the provider whose words are refused is tried again", noBadLog, true, func(t *turn) {
			t.disarm(t.l.ctx, &connectors.Error{Kind: connectors.KindRetry, Message: bad})
		}, job.Ready, "", "", ""},
		{"a proof of absence whose checkpoint is refused has failed", noBadCheckpoint, true, func(t *turn) {
			t.absent(t.l.ctx, connectors.Found{Verdict: connectors.Absent, Checkpoint: badCheckpoint})
		}, job.Failed, "", "publish.failed", `"code":"INTERNAL_ERROR"`},
		{"a look whose checkpoint is refused is followed by the next", noBadCheckpoint, true, func(t *turn) {
			t.lookAgain(t.l.ctx, connectors.Found{Checkpoint: badCheckpoint, Evidence: bad})
		}, job.Unknown, "", "", ""},
		{"evidence that is refused is reported without it", noBadError, true, func(t *turn) {
			t.unclear(t.l.ctx, connectors.Found{Evidence: bad})
		}, job.Unconfirmed, "", "publish.unconfirmed", "did not say what became of the post"},
		{"a preparation whose checkpoint is refused has failed", noBadCheckpoint, false, func(t *turn) {
			t.p.DueAt = t.p.DueAt.Add(time.Hour)
			t.prepare(t.l.ctx)
		}, job.Failed, "", "publish.failed", `"code":"INTERNAL_ERROR"`},
		{"a commit that cannot be armed has failed", noBadCheckpoint, false, func(t *turn) {
			t.prepare(t.l.ctx)
		}, job.Failed, "", "publish.failed", `"code":"INTERNAL_ERROR"`},
		{"a failure before the commit whose words are refused has failed", noBadError, false, func(t *turn) {
			t.stopped(t.l.ctx, "prepare", rejected())
		}, job.Failed, "", "publish.failed", `"code":"INTERNAL_ERROR"`},
		{"an error whose words are refused is waited for", noBadLog, false, func(t *turn) {
			t.stopped(t.l.ctx, "prepare", &connectors.Error{Kind: connectors.KindRetry, Message: bad})
		}, job.Accepted, "", "", ""},
		{"a wait whose reason cannot be told goes on untold", "", false, func(t *turn) {
			t.park(t.l.ctx, "Closed by hand", time.Minute, "")
		}, job.Accepted, "", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := setup(t)
			b.toy.note = bad
			turn := b.accepted("toy")
			if tc.armed {
				turn = b.armed("toy")
			}
			if err := turn.open(); err != nil {
				t.Fatal(err)
			}
			before := turn.p
			b.exec(tc.refuse)
			tc.act(turn)
			p := b.now(before.ID)
			if p.State != tc.state || p.Version != before.Version+1 || p.RemoteID != tc.remote {
				t.Errorf("%s with remote id %q in version %d, want %s with %q in %d", p.State, p.RemoteID, p.Version, tc.state, tc.remote, before.Version+1)
			}
			if strings.Contains(string(p.Error)+string(p.Checkpoint)+string(p.Result), bad) {
				t.Errorf("it holds what was refused: %s %s %s", p.Error, p.Checkpoint, p.Result)
			}
			told := b.told(p.ID)
			if (len(told) > 0) != (tc.event != "") || !strings.Contains(told[tc.event], tc.holds) || strings.Contains(told[tc.event], bad) {
				t.Errorf("told %v", told)
			}
			if n := b.refusals(); n == 0 {
				t.Error("no alarm")
			}
			if posts := b.toy.posted(); len(posts) > 0 {
				t.Errorf("posted %v", posts)
			}
		})
	}
}

func TestALivePostThatCannotBeStoredIsUnconfirmedOnceItsCallHasRested(t *testing.T) {
	b := setup(t)
	b.exec(noCompleted)
	b.toy.timing.Commit, b.toy.timing.Settle = 3*time.Second, time.Second
	ids := b.crowd(uuid.Must(uuid.NewV7()), 2)
	b.start()
	b.wait("both are unconfirmed", func() bool {
		if n := b.number(`SELECT count(*) FROM publishes WHERE state = 'unconfirmed' AND unconfirmed_at < quiet_at`); n > 0 {
			t.Fatal("reported before the call had come to rest")
		}
		return b.number(`SELECT count(*) FROM publishes WHERE state = 'unconfirmed'`) == 2
	})
	if posts := b.toy.posted(); len(posts) != 2 {
		t.Errorf("posted %v for %v", posts, ids)
	}
}

func TestAPublishOfWhichNothingCanBeStoredRestsAndGoesOnWhenItCan(t *testing.T) {
	b := setup(t)
	b.run.cfg.Recheck = 2 * time.Second
	ids := b.crowd(uuid.Must(uuid.NewV7()), 1)
	b.exec(`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no' USING ERRCODE = 'check_violation', CONSTRAINT = 't'; END $$`)
	b.exec(`CREATE TRIGGER t BEFORE UPDATE ON publishes FOR EACH ROW WHEN (OLD.state = 'armed') EXECUTE FUNCTION refuse()`)
	b.start()
	b.wait("its answer is refused", func() bool { return b.refusals() > 0 })
	first := time.Now()
	b.wait("it was tried, taken over, and tried again", func() bool { return b.refusals() > 6 })
	if rested := time.Since(first); rested < b.run.cfg.Recheck {
		t.Errorf("tried again after %v", rested)
	}
	b.exec(`DROP TRIGGER t ON publishes`)
	b.wait("it is completed", func() bool { return b.number(`SELECT count(*) FROM publishes WHERE state = 'completed'`) == 1 })
	if posts := b.toy.posted(); len(posts) != 1 {
		t.Errorf("posted %v for %v", posts, ids)
	}
}
