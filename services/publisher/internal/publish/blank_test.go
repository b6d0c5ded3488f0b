package publish

import (
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"postbus.dev/deploy/testbed"
	"postbus.dev/migrations"
	"postbus.dev/services/connectors"
	"postbus.dev/services/publisher/internal/job"
)

// forget does what the account service does in the end when it deletes a user.
func (b *bench) forget(user uuid.UUID) {
	b.t.Helper()
	conn, err := pgx.Connect(b.t.Context(), testbed.As(b.pool.Config().ConnString(), migrations.RoleAccount))
	if err != nil {
		b.t.Fatal(err)
	}
	defer conn.Close(b.t.Context())
	if _, err := conn.Exec(b.t.Context(), `SELECT publishes_blank($1, NULL)`, [16]byte(user)); err != nil {
		b.t.Fatal(err)
	}
}

// telling counts the rows in which "secret" is to be found.
func (b *bench) telling() int64 {
	b.t.Helper()
	return b.number(`SELECT (SELECT count(*) FROM publishes p WHERE p::text LIKE '%secret%' OR p::text LIKE '%' || encode('secret', 'hex') || '%')
		+ (SELECT count(*) FROM publish_attempts a WHERE a::text LIKE '%secret%')`)
}

func TestAnAnswerAfterItsAccountWasDeletedSaysHowItEndedAndNothingElse(t *testing.T) {
	b := setup(t)
	turn := b.armed("toy")
	b.forget(turn.p.UserID)
	post := &connectors.RemotePost{ID: "7", URL: "https://example.com/secret", Caption: "secret", Metadata: []byte(`{"title":"secret"}`)}
	turn.complete(t.Context(), post, []byte("secret"), []job.Step{{Step: "commit", Outcome: "done", Message: "secret"}})
	if p := b.now(turn.p.ID); p.State != job.Completed || p.RemoteID != "7" || string(p.Result) != `{"postId": "7", "caption": "", "permalink": null, "timestamp": null}` {
		t.Errorf("%s %s with %s", p.State, p.RemoteID, p.Result)
	}
	if err := b.store.Log(t.Context(), turn.p.ID, job.Step{Step: "late_answer", Message: "secret"}); err != nil {
		t.Error(err)
	}
	other := b.armed("toy")
	b.forget(other.p.UserID)
	other.fail(t.Context(), &connectors.Error{Kind: connectors.KindReject, Code: connectors.CodeContentRejected, ProviderCode: "9/1", Message: "secret"}, "commit")
	if p := b.now(other.p.ID); p.State != job.Failed || string(p.Error) != `{"code": "CONTENT_REJECTED", "message": "deleted with the account", "providerCode": "9/1"}` {
		t.Errorf("%s with %s", p.State, p.Error)
	}
	if n := b.telling(); n != 0 {
		t.Errorf("the content is in %d rows again", n)
	}
	if n := b.number(`SELECT count(*) FROM publish_attempts`); n != 3 {
		t.Errorf("%d attempts are logged, want 3", n)
	}
}

// The account service waits ten minutes for publishers, and no longer.
func TestWhatIsLeftOfADeletedAccountEndsWithoutItsRequest(t *testing.T) {
	b := setup(t)
	for want, made := range map[job.State]func(string) *turn{job.Failed: b.accepted, job.Unconfirmed: b.armed} {
		turn := made("toy")
		b.forget(turn.p.UserID)
		p := b.now(turn.p.ID)
		for !p.NextAt.IsZero() && p.State != want { // not before the call has come to rest
			b.turn(p).run()
			p = b.now(p.ID)
		}
		if code := `"ACCOUNT_NOT_CONNECTED"`; p.State != want || want == job.Failed && !strings.Contains(string(p.Error), code) {
			t.Errorf("%s with %s, want %s", p.State, p.Error, want)
		}
	}
}

// Nobody's deletion would find it.
func TestARequestOfNobodyIsRememberedWithoutItsContent(t *testing.T) {
	b := setup(t)
	taken, err := b.run.Accept(t.Context(), Request{Source: "/test", ID: "1", Data: []byte(`{"mediaType":"TEXT","caption":"secret","title":7}`)})
	if err != nil || taken.Publish.State != job.Failed || len(taken.Publish.RequestSum) == 0 {
		t.Fatalf("%+v, %v", taken.Publish, err)
	}
	if n := b.telling(); n != 0 || len(b.now(taken.Publish.ID).ContentSum) != 0 {
		t.Errorf("the content is in %d rows", n)
	}
	again, err := b.run.Accept(t.Context(), Request{Source: "/test", ID: "1", Data: []byte(`{"mediaType":"TEXT","caption":"secret","title":7}`)})
	if err != nil || again.Stored || !again.Same {
		t.Errorf("the same again: %+v, %v", again, err)
	}
}
