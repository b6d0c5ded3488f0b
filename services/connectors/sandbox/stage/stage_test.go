package stage_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"postbus.dev/services/connectors/sandbox/stage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a provider with two calls and one switch that changes its state.
type fake struct{}

func (fake) Name() string                                    { return "fake" }
func (fake) Handler() http.Handler                           { return http.NotFoundHandler() }
func (fake) Account(a stage.Account) (stage.Account, error)  { return a, nil }
func (fake) Calls() []string                                 { return []string{"read", "write"} }
func (fake) Hints() []stage.Hint                             { return nil }
func (fake) Settings(string, stage.Client) map[string]string { return nil }
func (fake) Switches() []stage.Switch {
	return []stage.Switch{{Name: "moody", Provider: "fake", Calls: []string{"read"}, About: "it is moody"}}
}

func newStage(t *testing.T) *stage.Stage {
	t.Helper()
	st, err := stage.New(stage.Config{})
	if err != nil {
		t.Fatal(err)
	}
	st.Faults.Register(fake{})
	return st
}

// play makes a call and returns the status; done says whether it was carried out.
func play(st *stage.Stage, call, account string) (status int, done bool) {
	w := httptest.NewRecorder()
	st.Play(w, httptest.NewRequest("POST", "/x", nil), stage.Act{
		Provider: "fake", Call: call, Account: account,
		Do: func(int64) stage.Answer {
			done = true
			return stage.Answer{Status: 201, Body: []byte("ok")}
		},
	})
	return w.Code, done
}

func set(t *testing.T, st *stage.Stage, f stage.Fault) stage.Fault {
	t.Helper()
	f, err := st.Faults.Add(f)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestACallWithoutFaultsIsCarriedOutAndLogged(t *testing.T) {
	t.Parallel()
	st := newStage(t)
	if status, done := play(st, "write", "a"); status != 201 || !done {
		t.Errorf("status %d, done %v", status, done)
	}
	calls := st.Calls.List(stage.CallFilter{Name: "write", Account: "a"})
	if len(calls) != 1 || calls[0].Status != 201 || !calls[0].Executed || calls[0].Open || calls[0].N != 1 {
		t.Errorf("log: %+v", calls)
	}
}

func TestAFaultHitsOnlyWhatItNames(t *testing.T) {
	t.Parallel()
	st := newStage(t)
	set(t, st, stage.Fault{Switch: "http_before", Status: 503, Provider: "fake", Account: "a", Call: "write"})
	for _, c := range []struct {
		call, account string
		want          int
	}{{"write", "a", 503}, {"write", "b", 201}, {"read", "a", 201}} {
		if status, done := play(st, c.call, c.account); status != c.want || done != (c.want == 201) {
			t.Errorf("%+v: status %d, done %v", c, status, done)
		}
	}
	set(t, st, stage.Fault{Switch: "http_before", Provider: "other"})
	if status, _ := play(st, "read", "a"); status != 201 {
		t.Errorf("a fault of another provider hit: %d", status)
	}
}

func TestAFaultSkipsThenHitsItsCount(t *testing.T) {
	t.Parallel()
	st := newStage(t)
	set(t, st, stage.Fault{Switch: "http_after", Skip: 2, Count: 3})
	var seen []int
	for range 7 {
		status, done := play(st, "write", "a")
		if !done {
			t.Error("not carried out")
		}
		seen = append(seen, status)
	}
	for i, want := range []int{201, 201, 500, 500, 500, 201, 201} {
		if seen[i] != want {
			t.Fatalf("%v", seen)
		}
	}
	if f := st.Faults.List(); len(f) != 1 || f[0].Hits != 3 {
		t.Errorf("faults: %+v", f)
	}
}

func TestAFaultBehindAnotherWaitsForItsHit(t *testing.T) {
	t.Parallel()
	st := newStage(t)
	first := set(t, st, stage.Fault{Switch: "http_before", Status: 503, Call: "write", Count: 1})
	set(t, st, stage.Fault{Switch: "http_before", Status: 500, Call: "read", Behind: first.ID})
	for i, c := range []struct {
		call string
		want int
	}{{"read", 201}, {"write", 503}, {"read", 500}} {
		if status, _ := play(st, c.call, "a"); status != c.want {
			t.Errorf("call %d: status %d, want %d", i, status, c.want)
		}
	}
	if _, err := st.Faults.Add(stage.Fault{Switch: "http_before", Behind: 99}); err == nil {
		t.Error("a fault behind none was taken")
	}
}

func TestAProbabilityIsDrawnFromItsSeed(t *testing.T) {
	t.Parallel()
	run := func() (pattern string) {
		st := newStage(t)
		set(t, st, stage.Fault{Switch: "http_before", Probability: 0.3, Seed: 7})
		for range 200 {
			status, _ := play(st, "write", "a")
			pattern += map[bool]string{true: "x", false: "."}[status == 500]
		}
		return pattern
	}
	first, second := run(), run()
	if first != second {
		t.Error("the same seed gave another pattern")
	}
	if n := strings.Count(first, "x"); n < 30 || n > 90 {
		t.Errorf("%d of 200 at 0.3", n)
	}
}

func TestFaultsOfStateAndOfAnswersDoNotTakeEachOther(t *testing.T) {
	t.Parallel()
	st := newStage(t)
	set(t, st, stage.Fault{Switch: "moody", Count: 1})
	if status, _ := play(st, "read", "a"); status != 201 {
		t.Errorf("a state switch changed an answer: %d", status)
	}
	if _, on := st.Faults.State("moody", "fake", "write", "a"); on {
		t.Error("it hits a call that it is not made for")
	}
	if _, on := st.Faults.State("moody", "fake", "read", "a"); !on {
		t.Error("it does not hit")
	}
	if _, on := st.Faults.State("moody", "fake", "read", "a"); on {
		t.Error("it hits twice")
	}
}

func TestAMistakeInAFaultIsAnError(t *testing.T) {
	t.Parallel()
	st := newStage(t)
	for _, f := range []stage.Fault{
		{Switch: "nonsense"}, {Switch: "moody", Provider: "other"}, {Switch: "lost_after", Call: "nonsense"},
		{Switch: "lost_after", Probability: 2}, {Switch: "lost_after", Count: -1}, {Switch: "hang_after", Delay: -1},
	} {
		if _, err := st.Faults.Add(f); err == nil {
			t.Errorf("%+v was taken", f)
		}
	}
}

func TestClearingEndsFaults(t *testing.T) {
	t.Parallel()
	st := newStage(t)
	one := set(t, st, stage.Fault{Switch: "http_before", Call: "read"})
	set(t, st, stage.Fault{Switch: "http_before", Call: "write"})
	if n := st.Faults.Clear(one.ID); n != 1 {
		t.Errorf("cleared %d", n)
	}
	if status, _ := play(st, "read", ""); status != 201 {
		t.Errorf("still on: %d", status)
	}
	if status, _ := play(st, "write", ""); status != 500 {
		t.Errorf("the other is off: %d", status)
	}
	if n := st.Faults.Clear(0); n != 1 || len(st.Faults.List()) != 0 {
		t.Errorf("cleared %d, left %v", n, st.Faults.List())
	}
}

func TestDelaysAreTheProvidersTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st, err := stage.New(stage.Config{Factor: 0.01})
		if err != nil {
			t.Fatal(err)
		}
		set(t, st, stage.Fault{Switch: "hang_before", Delay: stage.Duration(100 * time.Second), Count: 1})
		start := time.Now()
		if status, _ := play(st, "write", ""); status != 201 || time.Since(start) != time.Second {
			t.Errorf("status %d after %v", status, time.Since(start))
		}
		for range 100 {
			if d := st.Between(time.Second, 5*time.Second); d < 10*time.Millisecond || d > 50*time.Millisecond {
				t.Fatalf("drew %v", d)
			}
		}
	})
}

func TestAHeldCallIsCarriedOutWhenTheFaultIsCleared(t *testing.T) {
	t.Parallel()
	for name, early := range map[string]bool{"hold_before": false, "hold_after": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				st := newStage(t)
				f := set(t, st, stage.Fault{Switch: name, Count: 1})
				status := make(chan int)
				go func() {
					s, _ := play(st, "write", "a")
					status <- s
				}()
				synctest.Wait()
				call := st.Calls.List(stage.CallFilter{})[0]
				if !call.Open || call.Executed != early || call.Switch != name {
					t.Errorf("while it is held: %+v", call)
				}
				if held := st.Faults.List(); held[0].Waiting != 1 {
					t.Errorf("%+v", held)
				}
				st.Faults.Clear(f.ID)
				if s := <-status; s != 201 {
					t.Errorf("status %d", s)
				}
			})
		})
	}
}

func TestIDsAreNewInTheNextRunToo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		seen := map[string]bool{}
		for range 2 {
			st := newStage(t)
			for range 1000 {
				id := st.NextID("179")
				if seen[id] || len(id) != 17 {
					t.Fatalf("id %s", id)
				}
				seen[id] = true
			}
			time.Sleep(time.Second)
		}
	})
}

func TestTheLedgerKeepsTheNewestAndCountsAll(t *testing.T) {
	t.Parallel()
	st, err := stage.New(stage.Config{KeepPosts: 3, KeepCalls: 3})
	if err != nil {
		t.Fatal(err)
	}
	for range 7 {
		st.Ledger.Add(stage.Post{Provider: "fake", Account: "a"})
		play(st, "write", "a")
	}
	posts := st.Ledger.List(stage.PostFilter{})
	if len(posts) != 3 || posts[0].Seq != 5 || posts[2].Seq != 7 || st.Ledger.Total() != 7 {
		t.Errorf("%+v of %d", posts, st.Ledger.Total())
	}
	if calls := st.Calls.List(stage.CallFilter{}); len(calls) != 3 || calls[0].N != 5 || st.Calls.Total() != 7 {
		t.Errorf("%+v of %d", calls, st.Calls.Total())
	}
	if got := st.Ledger.List(stage.PostFilter{After: 5, Limit: 1}); len(got) != 1 || got[0].Seq != 7 {
		t.Errorf("%+v", got)
	}
	st.Ledger.Clear()
	if p := st.Ledger.Add(stage.Post{}); p.Seq != 8 || len(st.Ledger.List(stage.PostFilter{})) != 1 {
		t.Errorf("after clearing: %+v", p)
	}
}

func TestADurationIsTextOrSeconds(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]time.Duration{`"1m30s"`: 90 * time.Second, `1.5`: 1500 * time.Millisecond, `0`: 0} {
		var d stage.Duration
		if err := json.Unmarshal([]byte(in), &d); err != nil || time.Duration(d) != want {
			t.Errorf("%s: %v, %v", in, time.Duration(d), err)
		}
	}
	for _, in := range []string{`"soon"`, `{}`} {
		if err := json.Unmarshal([]byte(in), new(stage.Duration)); err == nil {
			t.Errorf("%s was taken", in)
		}
	}
	if out, err := json.Marshal(stage.Duration(90 * time.Second)); err != nil || string(out) != `"1m30s"` {
		t.Errorf("%s, %v", out, err)
	}
}

func TestAConfigThatMakesNoSenseIsRefused(t *testing.T) {
	t.Parallel()
	for _, cfg := range []stage.Config{{Factor: -1}, {KeepPosts: -1}, {KeepCalls: -1}} {
		if _, err := stage.New(cfg); err == nil {
			t.Errorf("%+v was taken", cfg)
		}
	}
}

func TestATokenIsChangedByItsValueAndAGrantAsAWhole(t *testing.T) {
	t.Parallel()
	st := newStage(t)
	for _, tk := range []stage.Token{
		{Value: "a1", Provider: "fake", Grant: "a", Kind: "access"}, {Value: "a2", Provider: "fake", Grant: "a", Kind: "refresh"},
		{Value: "b1", Provider: "fake", Grant: "b"}, {Value: "c1", Provider: "fake"},
	} {
		st.Accounts.Issue(tk)
	}
	before := st.Changes()
	spend := func(tk *stage.Token) { tk.Spent++ }
	if st.Accounts.Update("other", "a1", spend) || st.Accounts.Update("fake", "zz", spend) || st.Changes() != before {
		t.Error("changed a token that is not there")
	}
	if tk, _ := st.Accounts.Token("fake", "a1"); !st.Accounts.Update("fake", "a1", spend) || tk.Spent != 0 || st.Changes() == before {
		t.Errorf("%+v, %d changes", tk, st.Changes()-before)
	}
	if tk, _ := st.Accounts.Token("fake", "a1"); tk.Spent != 1 {
		t.Errorf("%+v", tk)
	}
	if n := st.Accounts.Change(stage.TokenFilter{Grant: "a"}, func(tk *stage.Token) { tk.Dead = &stage.Dead{} }); n != 2 {
		t.Errorf("changed %d", n)
	}
	if tk, _ := st.Accounts.Token("fake", "b1"); tk.Dead != nil {
		t.Error("a token of another grant was changed")
	}
}
