package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"postbus.dev/deploy/e2e/world"
	"postbus.dev/events"
	"postbus.dev/services/connectors/sandbox/stage"
)

// faultCase is one thing that goes wrong around a commit, and what becomes of
// the publish that it hits.
type faultCase struct {
	name   string
	faults []stage.Fault
	// reads hit only once the first fault has, so that they hit Find and nothing
	// before it.
	reads []stage.Fault
	dead  int // so many tokens are dead before the test brings one that works
	// rest: the account has to rest for hours, which a person cuts short.
	rest bool

	state  string         // completed where it is empty
	code   string         // with failed
	calls  int            // media_publish calls of it that reached the provider
	apart  stage.Duration // provider time from the account's first such call to the next, at least
	delays []string       // reasons that publish.delayed told, in order
}

func onPublish(name string, f stage.Fault) stage.Fault {
	f.Switch, f.Call, f.Count = name, "media_publish", 1
	return f
}

func minutes(n int) stage.Duration { return stage.Duration(time.Duration(n) * time.Minute) }

// faultCases follow what Instagram's documentation and its users say of each
// answer: what may be live is looked for and never sent again blindly, what
// proves that nothing happened is tried again, what only a person can repair
// waits, and what will never be taken fails.
func faultCases() []faultCase {
	one := func(f ...stage.Fault) []stage.Fault { return f }
	none := stage.Fault{}
	hang := onPublish("hold_after", none)
	return []faultCase{
		{name: "answer lost, posted", faults: one(onPublish("lost_after", none)), calls: 1},
		{name: "answer lost, not posted", faults: one(onPublish("lost_before", none)), calls: 2},
		{name: "closed without answer, posted", faults: one(onPublish("closed_after", none)), calls: 1},
		{name: "500, posted", faults: one(onPublish("http_after", stage.Fault{Status: 500})), calls: 1},
		{name: "500, not posted", faults: one(onPublish("http_before", stage.Fault{Status: 500})), calls: 2},
		{name: "garbage for an answer", faults: one(onPublish("garbage_body", none)), calls: 1},
		{name: "answer breaks off", faults: one(onPublish("truncated_body", none)), calls: 1},
		{name: "hangs, posted", faults: one(onPublish("hang_after", stage.Fault{Delay: minutes(10)})), calls: 1},
		{name: "carried out a minute late", faults: one(onPublish("hang_before", stage.Fault{Delay: minutes(1)})), calls: 1},
		{name: "4/2207051, posted", faults: one(onPublish("action_blocked_after", none)), calls: 1, rest: true},
		{name: "4/2207051, not posted", faults: one(onPublish("action_blocked_before", none)), calls: 2, rest: true, delays: []string{"rate_limit"}},
		{name: "368, not posted", faults: one(onPublish("policy_block", none)), calls: 2, rest: true, delays: []string{"rate_limit"}},
		{name: "9007, not ready", faults: one(onPublish("not_ready", none)), calls: 2},
		{name: "container ERROR, its media refused", faults: one(stage.Fault{Switch: "container_error", Subcode: 2207026, Count: 1}), state: "failed", code: "MEDIA_REJECTED"},
		{name: "container ERROR in words", faults: one(stage.Fault{Switch: "container_error", Count: 1}), calls: 1},
		{name: "container EXPIRED", faults: one(stage.Fault{Switch: "container_expired", Count: 1}), calls: 1},
		{name: "container slow", faults: one(stage.Fault{Switch: "container_slow", Delay: minutes(2), Count: 1}), calls: 1},
		{name: "100/33 on every read", faults: one(hang), reads: one(stage.Fault{Switch: "read_100_33", Count: 4}), calls: 1},
		{name: "100/33 on the list", faults: one(onPublish("lost_after", none), stage.Fault{Switch: "read_100_33", Call: "LIST", Count: 3}), calls: 1},
		{name: "503 on every read", faults: one(hang), reads: one(
			stage.Fault{Switch: "http_before", Call: "container_read", Status: 503, Count: 3}, stage.Fault{Switch: "http_before", Call: "LIST", Status: 503, Count: 2}), calls: 1},
		{name: "80002 for a minute", faults: one(onPublish("rate_limited", stage.Fault{Delay: minutes(1)})), calls: 2, apart: minutes(1), delays: []string{"rate_limit"}},
		{name: "80002 while preparing", faults: one(stage.Fault{Switch: "rate_limited", Call: "container_create", Count: 1, Delay: minutes(1)}), calls: 1, delays: []string{"rate_limit"}},
		{name: "quota used up", faults: one(stage.Fault{Switch: "quota_full", Count: 1}), calls: 1, rest: true, delays: []string{"quota"}},
		{name: "9/2207042", faults: one(onPublish("quota_exceeded", none)), calls: 2, rest: true, delays: []string{"quota"}},
		{name: "190, until refreshed", dead: 1, calls: 1, delays: []string{"token"}},
		{name: "190, also when refreshed", dead: 2, calls: 1, delays: []string{"token"}},
		{name: "190 to the commit", faults: one(onPublish("token_dead", none)), calls: 2, delays: []string{"token"}},
		{name: "190/460, password changed", faults: one(onPublish("token_dead", stage.Fault{Subcode: 460})), calls: 2, delays: []string{"reauth"}},
		{name: "10, permission missing", faults: one(onPublish("no_permission", none)), calls: 2, delays: []string{"reauth"}},
		{name: "25/2207050, restricted", faults: one(onPublish("restricted", none)), calls: 1, state: "failed", code: "ACCOUNT_RESTRICTED"},
		{name: "EXPIRED after a lost request", faults: one(onPublish("lost_before", none), stage.Fault{Switch: "container_expired", Call: "MAIN", Delay: minutes(2), Count: 1}), calls: 2},
	}
}

var kinds = []string{events.MediaImage, events.MediaVideo, events.MediaCarousel, events.MediaStory}

func request(kind, account, name string) events.PublishRequested {
	switch kind {
	case events.MediaVideo:
		return world.Video(account, name)
	case events.MediaCarousel:
		return world.Carousel(account, name)
	case events.MediaStory:
		return world.Story(account, name)
	}
	return world.Image(account, name)
}

// scene is one case on one kind of post: an account, the publish that the fault
// hits, and others of the account that come while that is at the provider.
type scene struct {
	faultCase
	kind    string
	account int
	first   int64 // id of the first fault; 0: none
	set     []int64
	hit     string // the publish's id
	others  []string
	renewed int // tokens that the test brought
}

// place fills in what depends on the kind of post.
func place(f stage.Fault, kind string) stage.Fault {
	switch {
	case f.Call == "LIST" && kind == events.MediaStory:
		f.Call = "stories_list"
	case f.Call == "LIST":
		f.Call = "media_list"
	case f.Call == "MAIN":
		if f.Call = "container_create"; kind == events.MediaCarousel {
			f.Skip = 2 // its children
		}
	}
	return f
}

func TestEachFaultAroundCommitOnEachKindOfPostEndsAsItMust(t *testing.T) {
	t.Parallel()
	cases := faultCases()
	w := world.New(t, world.Config{Accounts: len(cases) * len(kinds), Factor: 0.04})
	var scenes []*scene
	for _, c := range cases {
		for _, kind := range kinds {
			s := &scene{faultCase: c, kind: kind, account: len(scenes)}
			scenes = append(scenes, s)
			s.begin(w)
		}
	}
	w.Publisher(world.ProcessConfig{Recheck: 300 * time.Millisecond})
	n := direct(t, w, scenes)
	w.Check(n)
	table(t, w, scenes)
}

// begin sets the faults and sends the publish that they shall hit.
func (s *scene) begin(w *world.World) {
	for i, f := range s.faults {
		set := w.Fault(s.account, place(f, s.kind))
		if s.set = append(s.set, set.ID); i == 0 {
			s.first = set.ID
		}
	}
	for _, f := range s.reads {
		f.Behind = s.first
		s.set = append(s.set, w.Fault(s.account, place(f, s.kind)).ID)
	}
	if s.dead > 0 {
		w.Sandbox.RevokeTokens(stage.TokenFilter{Provider: "instagram", Account: w.Provider[s.account].ID}, stage.Dead{Code: 190, Subcode: 467})
	}
	s.hit = s.send(w, "hit")
}

func (s *scene) send(w *world.World, role string) string {
	name := fmt.Sprintf("%d-%s-%s", s.account, strings.ToLower(s.kind), role)
	return w.Request(name, request(s.kind, w.Accounts[s.account], name)).String()
}

// direct plays all scenes to their end and returns how many publishes there
// were.
func direct(t *testing.T, w *world.World, scenes []*scene) int {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		hits, rows := w.Hits(), w.Rows()
		var open []string
		for _, s := range scenes {
			if s.play(w, rows, hits); !s.ended(rows) {
				open = append(open, fmt.Sprintf("%s on %s: hit %+v, others %+v", s.name, s.kind, rows[s.hit], s.othersOf(rows)))
			}
		}
		if len(open) == 0 {
			return len(rows)
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d scenes have not ended:\n%s", len(open), strings.Join(open, "\n"))
		}
	}
}

// play does what is up to the test: the account's other publishes come while
// the first is at the provider, persons and a refresher act.
func (s *scene) play(w *world.World, rows map[string]world.Row, hits map[int64]stage.Fault) {
	hit := hits[s.first].Hits > 0 || s.dead > 0 && rows[s.hit].Delay == "token"
	if hit && len(s.others) == 0 {
		s.others = append(s.others, s.send(w, "other"))
		if s.dead > 0 {
			for i := range 5 {
				s.others = append(s.others, s.send(w, fmt.Sprintf("other-%d", i)))
			}
		}
	}
	if s.rest && s.rests(rows) {
		w.Exec(`DELETE FROM gates WHERE scope = 'account' AND key = $1`, w.Accounts[s.account])
	}
	if s.renewed < s.dead && s.allWait(rows) && asked(w, w.Accounts[s.account]) > s.renewed {
		s.renewed++
		w.NewToken(s.account, s.renewed == s.dead)
	}
}

// allWait says whether every publish of the account waits for a token.
func (s *scene) allWait(rows map[string]world.Row) bool {
	return len(s.others) > 0 && !slices.ContainsFunc(append(s.others, s.hit), func(id string) bool { return rows[id].Delay != "token" })
}

// asked counts the token versions of an account of which a refresh was asked.
func asked(w *world.World, account string) (n int) {
	w.T.Helper()
	err := w.Pool.QueryRow(context.Background(), `SELECT count(DISTINCT convert_from(event, 'UTF8')::jsonb->>'id') FROM outbox
		WHERE subject = $1 AND convert_from(event, 'UTF8')::jsonb->>'subject' = $2`,
		events.TypeTokenRefreshRequested, account).Scan(&n)
	if err != nil {
		w.T.Fatal(err)
	}
	return n
}

// rests says whether the publish that has to has told that it waits for the
// account's rest to end: the one that was hit, or if that is live, the next.
func (s *scene) rests(rows map[string]world.Row) bool {
	id := s.hit
	if len(s.delays) == 0 && len(s.others) > 0 {
		id = s.others[0]
	}
	return rows[id].Delay == "rate_limit" || rows[id].Delay == "quota"
}

func (s *scene) othersOf(rows map[string]world.Row) []world.Row {
	var out []world.Row
	for _, id := range s.others {
		out = append(out, rows[id])
	}
	return out
}

func (s *scene) ended(rows map[string]world.Row) bool {
	final := func(id string) bool {
		switch rows[id].State {
		case "completed", "failed", "canceled", "unconfirmed":
			return true
		}
		return false
	}
	return len(s.others) > 0 && final(s.hit) && !slices.ContainsFunc(s.others, func(id string) bool { return !final(id) })
}

// table holds every scene against what it must come to, and prints all.
func table(t *testing.T, w *world.World, scenes []*scene) {
	t.Helper()
	found := findings{rows: w.Rows(), told: w.Told(), faults: w.Hits(), refreshes: refreshesAsked(t, w)}
	var text strings.Builder
	tab := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tab, "fault\tkind\toutcome\tattempts\tcalls\tdelayed\tother")
	for _, s := range scenes {
		row, calls := found.rows[s.hit], s.callsTo(w)
		fmt.Fprintf(tab, "%s\t%s\t%s %s\t%d\t%d\t%s\t%s\n", s.name, s.kind, row.State, row.Code, row.Attempt, len(calls)-len(s.others),
			strings.Join(found.told[s.hit].Delays(), ","), found.rows[s.others[0]].State)
		for _, wrong := range append(s.outcome(w, found, calls), s.surroundings(w, found)...) {
			t.Errorf("%s on %s: %s", s.name, s.kind, wrong)
		}
	}
	_ = tab.Flush()
	t.Log("\n" + text.String())
}

// findings are what was found after the play.
type findings struct {
	rows      map[string]world.Row
	told      map[string]world.Told
	faults    map[int64]stage.Fault
	refreshes map[string]int // by account
}

func (s *scene) callsTo(w *world.World) []stage.Call {
	return w.Sandbox.Calls(stage.CallFilter{Provider: "instagram", Name: "media_publish", Account: w.Provider[s.account].ID})
}

// outcome says what is wrong with what became of the publish that was hit.
func (s *scene) outcome(w *world.World, f findings, calls []stage.Call) (wrong []string) {
	row, delays, state := f.rows[s.hit], f.told[s.hit].Delays(), cmp.Or(s.state, "completed")
	if row.State != state || row.Code != s.code {
		wrong = append(wrong, fmt.Sprintf("%s %s, want %s %s", row.State, row.Code, state, s.code))
	}
	if !slices.Equal(delays, s.delays) {
		wrong = append(wrong, fmt.Sprintf("delayed by %v, want %v", delays, s.delays))
	}
	if n := len(calls) - len(s.others); n != s.calls {
		return append(wrong, fmt.Sprintf("%d media_publish calls, want %d", n, s.calls))
	}
	if least := time.Duration(float64(s.apart) * w.Config.Factor); least > 0 && calls[1].Time.Sub(calls[0].Time) < least {
		wrong = append(wrong, fmt.Sprintf("called again after %s, want %s at least", calls[1].Time.Sub(calls[0].Time), least))
	}
	return wrong
}

// surroundings says what is wrong around it.
func (s *scene) surroundings(w *world.World, f findings) (wrong []string) {
	for _, id := range s.others {
		if f.rows[id].State != "completed" {
			wrong = append(wrong, "another publish of the account is "+f.rows[id].State)
		}
		if s.rest && len(s.delays) == 0 && !slices.Equal(f.told[id].Delays(), []string{"rate_limit"}) {
			wrong = append(wrong, fmt.Sprintf("the next publish of the account was delayed by %v", f.told[id].Delays()))
		}
	}
	for _, id := range s.set {
		if f.faults[id].Hits == 0 {
			wrong = append(wrong, "the fault "+f.faults[id].Switch+" did not hit")
		}
	}
	want := s.dead // once for each that was refused
	if want == 0 && (slices.Contains(s.delays, "token") || slices.Contains(s.delays, "reauth")) {
		want = 1
	}
	if n := f.refreshes[w.Accounts[s.account]]; n != want {
		wrong = append(wrong, fmt.Sprintf("a refresh was asked for %d times, want %d", n, want))
	}
	return wrong
}

// refreshesAsked counts token.refresh_requested by account.
func refreshesAsked(t *testing.T, w *world.World) map[string]int {
	t.Helper()
	out := map[string]int{}
	for _, e := range w.History(events.StreamAccount) {
		var d events.TokenRefreshRequested
		if e.Type() != d.EventType() {
			continue
		}
		if err := json.Unmarshal(e.Data(), &d); err != nil {
			t.Fatal(err)
		}
		out[d.AccountID]++
	}
	return out
}
