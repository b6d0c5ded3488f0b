package e2e

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"postbus.dev/deploy/e2e/world"
	"postbus.dev/services/connectors/sandbox/stage"
)

// hintCase is what must become of a publish that meets one thing that is known
// of Instagram: a row of its error table, or another misbehavior.
type hintCase struct {
	// test names the test that shows it, as folder.Function, where a publish end
	// to end could not: then nothing else is set.
	test string

	with   []stage.Fault // set beside the hint's own fault, so that its call is made
	client bool          // the error stops every account of the client: it plays alone
	rest   bool          // the account has to rest, which a person cuts short

	state string // completed where it is empty
	code  string // with failed
	calls int    // media_publish calls that reach the provider
	delay string // the reason that publish.delayed told; none where it is empty
}

// hintCases maps every row. Nothing is the default: a row that is missing here
// fails the test.
func hintCases() map[string]hintCase {
	posted, again := hintCase{calls: 1}, hintCase{calls: 2}
	refused := func(code string) hintCase { return hintCase{state: "failed", code: code} }
	media, content := refused("MEDIA_REJECTED"), refused("CONTENT_REJECTED")
	waits := func(reason string, calls int) hintCase { return hintCase{calls: calls, delay: reason} }
	rests := func(reason string, calls int) hintCase { return hintCase{calls: calls, delay: reason, rest: true} }
	lost := []stage.Fault{{Switch: "lost_after", Call: "media_publish", Count: 1}}
	looked := hintCase{calls: 1, with: lost}
	reauth, token := waits("reauth", 2), waits("token", 2)
	return map[string]hintCase{
		// Temporary: tried again while preparing, looked for after a commit.
		"errors/1": posted, "errors/2": posted, "errors/2 before": again, "errors/http 5xx": posted, "errors/http 5xx before": again,
		"errors/is_transient": posted, "errors/-1/2207001": posted, "errors/-1/2207001 publish": posted,
		// A new container, once the old one is proven not to be published.
		"errors/-1/2207032": posted, "errors/-1/2207053": posted, "errors/-2/2207003": posted, "errors/-2/2207020": again,
		"errors/24/2207008": again, "errors/24/2207008 after": posted, "errors/24/2207006": again, "errors/9004/2207052": posted,
		"errors/-1/2207082": posted, "errors/-1/2207077": posted,
		"errors/9007/2207027": again, "errors/506": again,
		// Limits: wait. One of the client stops every account.
		"errors/4":  {calls: 1, delay: "rate_limit", rest: true, client: true},
		"errors/17": rests("rate_limit", 1), "errors/32": rests("rate_limit", 1), "errors/613": rests("rate_limit", 1), "errors/80002": rests("rate_limit", 2),
		"errors/4/2207051": posted, "errors/4/2207051 before": rests("rate_limit", 2), "errors/368": rests("rate_limit", 2),
		"errors/9/2207042": rests("quota", 2),
		// Who asks: a refresh, a person, or no more.
		"errors/25/2207050": {state: "failed", code: "ACCOUNT_RESTRICTED", calls: 1},
		"errors/190":        token, "errors/102": token, "errors/467": token, "errors/190/467": token,
		"errors/463": reauth, "errors/190/463": reauth, "errors/190/458": reauth, "errors/190/459": reauth, "errors/190/460": reauth,
		"errors/190/464": reauth, "errors/190/492": reauth, "errors/10": reauth, "errors/200": reauth, "errors/299": reauth, "errors/3": reauth,
		// Reads prove nothing when they fail.
		"errors/100/33": posted, "errors/100/33 media": posted, "errors/100/33 list": looked,
		// What will never be taken.
		"errors/100": content, "errors/100/2207023": content, "errors/100/2207028": content, "errors/100/2207040": content,
		"errors/36004/2207010": content, "errors/1/2207057": content, "errors/100/2207081": content,
		"errors/352/2207026": media, "errors/36000/2207004": media, "errors/36001/2207005": media, "errors/36003/2207009": media,

		"hints/answer lost": posted, "hints/answer closed": posted, "hints/request lost": again, "hints/answer 4/2207051": posted, "hints/answer 500": posted,
		"hints/100/33 on reads": posted, "hints/EXPIRED": posted, "hints/ERROR": media, "hints/status without status_code": posted,
		"hints/2207042 at quota": rests("quota", 2), "hints/80002 with header": rests("rate_limit", 2), "hints/190 variants": reauth,
		"hints/list lag": {calls: 1, with: lost}, "hints/fields absent": looked, "hints/fields refused": looked,
		"hints/caption rewritten": looked, "hints/caption without @": looked, "hints/reads fail": posted, "hints/list fails": looked,
		// No single publish shows these.
		"hints/stuck":            {test: "services/connectors/instagram.TestContainerThatCameToNothingIsMadeAgain"}, // after 30 minutes
		"hints/processing delay": {test: "deploy/e2e.TestEachFaultAroundCommitOnEachKindOfPostEndsAsItMust"},        // every container there
		"hints/published state":  {test: "services/connectors/instagram.TestFindReadsTheOutcomeFromContainerAndList"},
		"hints/answer shapes":    {test: "services/connectors/sandbox/instagram.TestMeComesInBothShapesWithTwoDifferentIDs"},
		"hints/foreign posts":    {test: "services/connectors/instagram.TestOutcomeIsNeverWrongAmongStrangersPosts"},
		"hints/second publish":   {test: "deploy/e2e.TestAPublisherKilledInAnyCrashWindowLosesAndDoublesNothing"}, // makes a second post there
		// Not of a publish, but of connecting.
		"hints/code answer lost":             {test: "services/connectors/instagram.TestConnectingConformance"},
		"hints/code twice":                   {test: "services/connectors/sandbox/instagram.TestACodeIsGoodOnceForItsAppAndItsAddress"},
		"hints/permission taken off":         {test: "services/account/internal/connect.TestAGrantWithoutThePublishScopeIsRefusedAndRevoked"},
		"hints/person cancels":               {test: "services/account/internal/connect.TestAnErrorOfTheProviderEndsTheStateAndIsNotRepeated"},
		"hints/#_ after the code":            {test: "services/connectors/instagram.TestWhatInstagramAppendsIsNoPartOfTheCode"},
		"hints/personal account":             {test: "services/connectors/instagram.TestOnlyProfessionalAccountsAreConnected"},
		"hints/refresh too early":            {test: "services/connectors/sandbox/instagram.TestACodeBecomesAShortThenALongTokenThatCanBeRefreshedAfterADay"},
		"errors/101":                         {test: "services/connectors/instagram.TestARefreshThatFailsSaysWhatItMeansForTheAccount"},
		"hints/refresh refused as too early": {test: "services/connectors/instagram.TestARefreshThatFailsSaysWhatItMeansForTheAccount"},
		"hints/refresh fails after the fact": {test: "services/connectors/instagram.TestRefreshingConformance"},
		"hints/refresh answer lost":          {test: "services/connectors/instagram.TestARefreshWhoseAnswerIsLostIsTriedAgain"},
		"hints/app removed":                  {test: "services/account/internal/callback.TestARemovalDisconnectsTheAccountsThatItNames"},
		"hints/deletion asked":               {test: "services/account/internal/callback.TestADeletionErasesAndTellsWhereToLook"},
		"hints/callback forged":              {test: "services/account/internal/callback.TestCallsOfInstagram"},
		"hints/callback altered":             {test: "services/connectors/instagram.TestAForgedCallIsRefusedAndNotQuoted"},
		"hints/callback algorithm":           {test: "services/connectors/instagram.TestAForgedCallIsRefusedAndNotQuoted"},
		"hints/callback old":                 {test: "services/account/internal/callback.TestOldCallsAreRefused"},
		"hints/callback twice":               {test: "services/account/internal/callback.TestACallThatIsReplayedIsAnsweredAsBeforeAndDoesNothing"},
	}
}

// hinted is one row at play.
type hinted struct {
	hintCase
	row     string
	hint    stage.Hint
	account int
	fault   int64
	publish string
}

func TestEveryRowOfWhatIsKnownOfInstagramHasASwitchAndTheRightOutcome(t *testing.T) {
	t.Parallel()
	w := world.New(t, world.Config{Accounts: 100, Factor: 0.04})
	rows := mapRows(t, w.Sandbox.Hints()["instagram"], hintCases())
	w.Publisher(world.ProcessConfig{Recheck: 300 * time.Millisecond})
	play := func(alone bool) {
		for _, h := range rows {
			if h.test == "" && h.client == alone {
				h.begin(t, w)
			}
		}
		endAll(t, w, rows)
	}
	play(false)
	play(true)
	w.Check(len(w.Rows()))
	report(t, w, rows)
}

// mapRows holds the two tables against each other.
func mapRows(t *testing.T, hints []stage.Hint, cases map[string]hintCase) []*hinted {
	t.Helper()
	var out []*hinted
	left := maps.Clone(cases)
	for _, hint := range hints {
		row := hint.Source + "/" + hint.Row
		c, ok := cases[row]
		if !ok {
			t.Errorf("%s (%s) has no outcome here", row, hint.About)
			continue
		}
		delete(left, row)
		if c.test != "" {
			findTest(t, row, c.test)
		} else if hint.Fault == nil {
			t.Errorf("%s has no switch and no test", row)
			continue
		}
		out = append(out, &hinted{hintCase: c, row: row, hint: hint, account: len(out)})
	}
	for row := range left {
		t.Errorf("%s is not known of Instagram any more", row)
	}
	return out
}

// findTest fails where there is no such test.
func findTest(t *testing.T, row, name string) {
	t.Helper()
	folder, function, _ := strings.Cut(name, ".")
	files, err := filepath.Glob(filepath.Join("..", "..", folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if source, err := os.ReadFile(file); err == nil && strings.Contains(string(source), "\nfunc "+function+"(t *testing.T)") {
			return
		}
	}
	t.Errorf("%s: there is no test %s", row, name)
}

func (h *hinted) begin(t *testing.T, w *world.World) {
	t.Helper()
	for _, f := range h.with {
		w.Fault(h.account, f)
	}
	f := *h.hint.Fault
	f.Count = 1
	h.fault = w.Fault(h.account, f).ID
	h.publish = w.Request(h.row, world.Image(w.Accounts[h.account], fmt.Sprintf("post %d for @somebody", h.account))).String()
}

// endAll waits for what was begun; persons let accounts rest no longer.
func endAll(t *testing.T, w *world.World, hs []*hinted) {
	t.Helper()
	for deadline := time.Now().Add(120 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		rows := w.Rows()
		var open []string
		for _, h := range hs {
			switch row := rows[h.publish]; row.State {
			case "", "completed", "failed", "canceled", "unconfirmed":
				if h.publish != "" && row.State == "" {
					open = append(open, h.row+": not stored")
				}
			default:
				open = append(open, fmt.Sprintf("%s: %+v", h.row, row))
				if h.rest && row.Delay == h.delay {
					w.Exec(`DELETE FROM gates WHERE key IN ($1, 'instagram')`, w.Accounts[h.account])
				}
			}
		}
		if len(open) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d publishes have not ended:\n%s", len(open), strings.Join(open, "\n"))
		}
	}
}

// report holds every row against its outcome and prints the whole map.
func report(t *testing.T, w *world.World, hs []*hinted) {
	t.Helper()
	rows, told, faults := w.Rows(), w.Told(), w.Hits()
	var text strings.Builder
	tab := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tab, "row\tabout\tswitch\toutcome\tcalls\tdelayed")
	for _, h := range hs {
		if h.test != "" {
			fmt.Fprintf(tab, "%s\t%s\t%s\t%s\t\t\n", h.row, h.hint.About, h.hint.Builtin, h.test)
			continue
		}
		row, delays := rows[h.publish], told[h.publish].Delays()
		calls := len(w.Sandbox.Calls(stage.CallFilter{Provider: "instagram", Name: "media_publish", Account: w.Provider[h.account].ID}))
		fmt.Fprintf(tab, "%s\t%s\t%s\t%s %s\t%d\t%s\n", h.row, h.hint.About, h.hint.Fault.Switch, row.State, row.Code, calls, strings.Join(delays, ","))
		if state := cmp.Or(h.state, "completed"); row.State != state || row.Code != h.code {
			t.Errorf("%s: %s %s, want %s %s", h.row, row.State, row.Code, state, h.code)
		}
		if calls != h.calls {
			t.Errorf("%s: %d media_publish calls, want %d", h.row, calls, h.calls)
		}
		if want := slices.DeleteFunc([]string{h.delay}, func(s string) bool { return s == "" }); !slices.Equal(delays, want) {
			t.Errorf("%s: delayed by %v, want %v", h.row, delays, want)
		}
		if faults[h.fault].Hits != 1 {
			t.Errorf("%s: the fault hit %d times", h.row, faults[h.fault].Hits)
		}
	}
	_ = tab.Flush()
	t.Log("\n" + text.String())
}
