package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"postbus.dev/deploy/e2e/world"
	"postbus.dev/events"
	"postbus.dev/services/connectors/sandbox/stage"
)

// timed is a publish whose time, or whose stopping, is what matters.
type timed struct {
	name    string
	account int
	id      uuid.UUID
	begin   func(s *timed)
	steps   []timedStep // done in order, each once its condition is met

	state, code, says string
	told              []string // types of its events
	delays            []string
	calls             int // media_publish calls of its account

	w     *world.World
	p     *world.Process
	hold  stage.Fault
	faced []string // what went wrong on the way

	version int64 // when it began to wait
	before  int   // calls to the provider by then
}

// timedStep is what a person or another system does meanwhile.
type timedStep struct {
	when func(s *timed, r world.Row) bool
	do   func(s *timed)
}

func (s *timed) request(change func(*events.PublishRequested)) {
	s.requestAs(events.MediaImage, change)
}

func (s *timed) requestAs(kind string, change func(*events.PublishRequested)) {
	r := request(kind, s.w.Accounts[s.account], s.name)
	if change != nil {
		change(&r)
	}
	s.w.Request(s.name, r)
}

func (s *timed) cancel(reason string) {
	s.w.Cancel(s.name+" "+reason, events.PublishCancelRequested{RequestSource: world.Source, RequestID: s.name, Reason: reason})
}

func (s *timed) http(method, path string, want int, says string) {
	s.send(method, path, "", want, says)
}

func (s *timed) reschedule(d time.Duration, want int, says string) {
	s.send(http.MethodPatch, "", fmt.Sprintf(`{"publishAt":%q}`, in(d)), want, says)
}

func (s *timed) send(method, path, sent string, want int, says string) {
	status, body := s.p.HTTP(method, "/api/publishes/"+s.id.String()+path, sent)
	if status != want || !strings.Contains(body, says) {
		s.faced = append(s.faced, fmt.Sprintf("%s %s answers %d: %s", method, path, status, body))
	}
}

func (s *timed) callsTo(name string) []stage.Call {
	return s.w.Sandbox.Calls(stage.CallFilter{Provider: "instagram", Name: name, Account: s.w.Provider[s.account].ID})
}

// in is a time so far from now, as a request writes it.
func in(d time.Duration) string { return time.Now().Add(d).Format(time.RFC3339Nano) }

func at(d time.Duration) func(*events.PublishRequested) {
	return func(r *events.PublishRequested) { r.PublishAt = in(d) }
}

func is(state string) func(*timed, world.Row) bool {
	return func(_ *timed, r world.Row) bool { return r.State == state }
}

func delayed(reason string) func(*timed, world.Row) bool {
	return func(_ *timed, r world.Row) bool { return r.Delay == reason }
}

func timedCases() []*timed {
	scheduled := []string{"scheduled", "completed"}
	onAccount := func(status string) func(*timed) { return func(s *timed) { s.w.SetStatus(s.account, status) } }
	return []*timed{
		{name: "image prepared ahead", begin: func(s *timed) { s.request(at(9 * time.Second)) }, state: "completed", told: scheduled, calls: 1,
			steps: []timedStep{{is("ready"), (*timed).notDue}}},
		{name: "video prepared ahead", begin: func(s *timed) { s.requestAs(events.MediaVideo, at(9*time.Second)) }, state: "completed", told: scheduled, calls: 1,
			steps: []timedStep{{is("ready"), (*timed).notDue}}},
		{name: "another time zone", begin: func(s *timed) {
			s.request(func(r *events.PublishRequested) {
				r.PublishAt = time.Now().Add(5 * time.Second).In(time.FixedZone("", -7*3600)).Format(time.RFC3339Nano)
			})
		}, state: "completed", told: scheduled, calls: 1},
		{name: "canceled long before", begin: func(s *timed) { s.request(at(time.Hour)) }, state: "canceled", told: []string{"scheduled", "canceled"},
			steps: []timedStep{{is("accepted"), func(s *timed) { s.cancel("changed my mind") }}, {is("canceled"), func(s *timed) { s.cancel("once more") }}}},
		{name: "canceled over HTTP", begin: func(s *timed) { s.request(at(time.Hour)) }, state: "canceled", told: []string{"scheduled", "canceled"},
			steps: []timedStep{{is("accepted"), func(s *timed) { s.http(http.MethodPost, "/cancel", 200, `"canceled"`) }}}},
		{name: "canceled when ready", begin: func(s *timed) { s.requestAs(events.MediaVideo, at(10*time.Second)) }, state: "canceled", told: []string{"scheduled", "canceled"},
			steps: []timedStep{{is("ready"), func(s *timed) { s.cancel("just in time") }}}},
		{name: "canceled too late", begin: func(s *timed) {
			s.hold = s.w.Fault(s.account, stage.Fault{Switch: "hold_after", Call: "media_publish", Count: 1})
			s.request(nil)
		}, state: "completed", told: []string{"completed"}, calls: 1,
			steps: []timedStep{{func(s *timed, r world.Row) bool { return s.w.Hits()[s.hold.ID].Hits > 0 && !r.ArmedAt.IsZero() }, func(s *timed) {
				s.cancel("too late")
				s.http(http.MethodPost, "/cancel", 409, `"CONFLICT"`)
				s.reschedule(time.Hour, 409, `"CONFLICT"`)
				s.w.Sandbox.ClearFault(s.hold.ID)
			}}}},
		{name: "canceled before it came", begin: func(s *timed) { s.cancel("first") }, state: "canceled", told: []string{"canceled"},
			steps: []timedStep{{is("tombstone"), func(s *timed) {
				s.http(http.MethodGet, "", 404, `"NOT_FOUND"`)
				s.request(nil)
			}}}},
		{name: "canceled by its id before it came", begin: func(s *timed) {
			s.w.Cancel(s.name, events.PublishCancelRequested{PublishID: s.id.String()})
		}, state: "canceled", told: []string{"canceled"},
			steps: []timedStep{{is("tombstone"), func(s *timed) { s.request(nil) }}}},
		{name: "moved up", begin: func(s *timed) { s.request(at(time.Hour)) }, state: "completed", told: []string{"scheduled", "scheduled", "completed"}, calls: 1,
			steps: []timedStep{{is("accepted"), func(s *timed) { s.reschedule(7*time.Second, 200, `"accepted"`) }}}},
		{name: "put off when ready", begin: func(s *timed) { s.requestAs(events.MediaVideo, at(10*time.Second)) }, state: "completed",
			told: []string{"scheduled", "scheduled", "completed"}, calls: 1,
			steps: []timedStep{{is("ready"), func(s *timed) {
				s.reschedule(-time.Minute, 400, `"/publishAt"`)
				s.reschedule(12*time.Second, 200, `"times"`)
			}}}},
		{name: "expired while paused", begin: func(s *timed) {
			s.w.Pause(s.account)
			s.request(func(r *events.PublishRequested) { r.ExpiresAt = in(3 * time.Second) })
		}, state: "failed", code: "EXPIRED", says: "paused", told: []string{"delayed", "failed"}, delays: []string{"paused"}},
		{name: "paused and resumed", begin: func(s *timed) {
			s.w.Pause(s.account)
			s.request(nil)
		}, state: "completed", told: []string{"delayed", "completed"}, delays: []string{"paused"}, calls: 1,
			steps: []timedStep{{delayed("paused"), (*timed).waits}, {looked(3), (*timed).resume}}},
		{name: "another reason", begin: func(s *timed) {
			s.w.SetStatus(s.account, "reauth_required")
			s.request(nil)
		}, state: "completed", told: []string{"delayed", "delayed", "completed"}, delays: []string{"reauth", "paused"}, calls: 1,
			steps: []timedStep{
				{delayed("reauth"), func(s *timed) { s.w.Pause(s.account); s.w.SetStatus(s.account, "active") }},
				{delayed("paused"), (*timed).waits}, {looked(3), (*timed).resume},
			}},
		{name: "to be reconnected", begin: func(s *timed) {
			s.w.SetStatus(s.account, "reauth_required")
			s.request(nil)
		}, state: "completed", told: []string{"delayed", "completed"}, delays: []string{"reauth"}, calls: 1,
			steps: []timedStep{{delayed("reauth"), (*timed).waits}, {looked(3), func(s *timed) {
				s.untouched()
				s.w.NewToken(s.account, true)
			}}}},
		{name: "disconnected account", begin: func(s *timed) {
			s.w.SetStatus(s.account, "disconnected")
			s.request(nil)
		}, state: "failed", code: "ACCOUNT_NOT_CONNECTED", says: "disconnected", told: []string{"failed"}},
		{name: "disconnected before its time", begin: func(s *timed) { s.request(at(12 * time.Second)) }, state: "failed", code: "ACCOUNT_NOT_CONNECTED",
			says: "disconnecting", told: []string{"scheduled", "failed"}, steps: []timedStep{{is("accepted"), onAccount("disconnecting")}}},
		{name: "removed before its time", begin: func(s *timed) { s.request(at(12 * time.Second)) }, state: "failed", code: "ACCOUNT_NOT_CONNECTED",
			says: "removed", told: []string{"scheduled", "failed"}, steps: []timedStep{{is("accepted"), func(s *timed) {
				s.w.Exec(`DELETE FROM oauth_accounts WHERE id = $1`, s.w.Accounts[s.account])
			}}}},
	}
}

// notDue: what is ready has its time ahead and was not published.
func (s *timed) notDue() {
	if n := len(s.callsTo("media_publish")); n > 0 {
		s.faced = append(s.faced, "published when it became ready")
	}
}

// waits notes where a publish that was told to wait stands.
func (s *timed) waits() {
	s.version, s.before = s.w.Rows()[s.id.String()].Version, len(s.callsTo(""))
}

// looked: it has looked again so often, and waits for the same.
func looked(times int64) func(*timed, world.Row) bool {
	return func(s *timed, r world.Row) bool { return r.Version >= s.version+times }
}

func (s *timed) untouched() {
	if n := len(s.callsTo("")) - s.before; n > 0 {
		s.faced = append(s.faced, fmt.Sprintf("%d calls to the provider while it waits", n))
	}
}

func (s *timed) resume() {
	s.untouched()
	s.w.Resume(s.account)
}

func TestAPublishKeepsItsTimeAndStopsWhenTold(t *testing.T) {
	t.Parallel()
	cases := timedCases()
	w := world.New(t, world.Config{Accounts: len(cases) + 1, Factor: 0.05})
	p := w.Publisher(world.ProcessConfig{Recheck: 200 * time.Millisecond})
	p.API()
	for i, s := range cases {
		s.w, s.p, s.account, s.id = w, p, i, world.ID(s.name)
		s.begin(s)
	}
	together := oneAccount(w, len(cases))
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		rows := w.Rows()
		open := goOn(cases, rows)
		for _, id := range together {
			if r := rows[id.String()]; r.State != "completed" {
				open = append(open, fmt.Sprintf("together: %+v", r))
			}
		}
		if len(open) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("not ended:\n%s", strings.Join(open, "\n"))
		}
	}
	w.AwaitConsumer(20 * time.Second)
	w.Check(len(cases) + len(together))
	rows, told := w.Rows(), w.Told()
	for _, s := range cases {
		s.check(t, rows[s.id.String()], told[s.id.String()])
	}
	checkTimes(t, w, rows, cases)
}

// oneAccount schedules several posts of one account for the same moment.
func oneAccount(w *world.World, account int) (ids []uuid.UUID) {
	due := in(6 * time.Second)
	for i := range 4 {
		r := world.Image(w.Accounts[account], fmt.Sprintf("together %d", i))
		r.PublishAt = due
		ids = append(ids, w.Request(r.Caption, r))
	}
	return ids
}

// goOn does the steps whose condition is met, and names what has not ended.
func goOn(cases []*timed, rows map[string]world.Row) (open []string) {
	for _, s := range cases {
		r := rows[s.id.String()]
		if len(s.steps) > 0 && s.steps[0].when(s, r) {
			s.steps[0].do(s)
			s.steps = s.steps[1:]
		}
		if r.State != s.state || len(s.steps) > 0 {
			open = append(open, fmt.Sprintf("%s: %d steps left, %+v", s.name, len(s.steps), r))
		}
	}
	return open
}

func (s *timed) check(t *testing.T, r world.Row, told world.Told) {
	t.Helper()
	for _, wrong := range s.faced {
		t.Errorf("%s: %s", s.name, wrong)
	}
	if r.Code != s.code || !strings.Contains(r.Message, s.says) {
		t.Errorf("%s: %s %q, want %s with %q", s.name, r.Code, r.Message, s.code, s.says)
	}
	if got := told.Types(); !slices.Equal(got, s.told) {
		t.Errorf("%s: told %v, want %v", s.name, got, s.told)
	}
	if got := told.Delays(); !slices.Equal(got, s.delays) {
		t.Errorf("%s: delayed by %v, want %v", s.name, got, s.delays)
	}
	if n := len(s.callsTo("media_publish")); n != s.calls {
		t.Errorf("%s: %d media_publish calls, want %d", s.name, n, s.calls)
	}
}

// checkTimes: nothing is armed before its time by the database's clock, and
// what was prepared ahead does nothing but commit from then on.
func checkTimes(t *testing.T, w *world.World, rows map[string]world.Row, cases []*timed) {
	t.Helper()
	for id, r := range rows {
		if !r.ArmedAt.IsZero() && r.ArmedAt.Before(r.DueAt) {
			t.Errorf("publish %s was armed %s early", id, r.DueAt.Sub(r.ArmedAt))
		}
	}
	for _, s := range cases[:2] {
		due := rows[s.id.String()].DueAt
		for _, c := range s.callsTo("") {
			commit := c.Name == "media_publish"
			if early := c.Time.Before(due); commit == early {
				t.Errorf("%s: %s came %s after its time", s.name, c.Name, c.Time.Sub(due))
			}
			if commit {
				break
			}
		}
	}
	lead := time.Duration(float64(2*time.Minute) * w.Config.Factor)
	if made := cases[0].callsTo("container_create")[0].Time; made.Before(rows[cases[0].id.String()].DueAt.Add(-lead)) {
		t.Errorf("the image was prepared %s ahead, its lead is %s", rows[cases[0].id.String()].DueAt.Sub(made), lead)
	}
}
