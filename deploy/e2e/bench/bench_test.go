package bench

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postbus.dev/deploy/testbed"
)

func TestMain(m *testing.M) {
	Main()
	os.Exit(testbed.Main(m))
}

// fetched is the checkout's data directory, where PostgreSQL's programs may be.
func fetched(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("POSTBUS_DATA_DIR"); filepath.IsAbs(dir) {
		return dir
	}
	dir, err := filepath.Abs("../../../.postbus")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// It never judges times: machines that run tests are busy.
func TestTheShortFormMeasuresEverything(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(testbed.Dir(t), "bench")
	var out bytes.Buffer
	results := filepath.Join(testbed.Dir(t), "results.json")
	r, err := Run(t.Context(), Config{Dir: dir, Fetched: fetched(t), Out: &out, Results: results, Short: true})
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	t.Log(out.String())
	for _, key := range []string{
		"commits_per_s_1", "commits_per_s_32", "calls_per_s_do", "calls_per_s_commit", "publishes_per_s", "commits_per_publish",
		"wal_bytes_per_publish", "request_to_call_p50_ms", "request_to_call_p99_ms", "request_to_event_p50_ms", "request_to_event_p99_ms",
		"relayed_per_s", "instagram_per_s", "instagram_calls", "publishes_by_calls_do", "publishes_by_calls_commit",
	} {
		if v, ok := r.Get(key); !ok || v <= 0 {
			t.Errorf("%s: %v", key, v)
		}
	}
	// A publish takes more than four transactions where nothing is grouped.
	if v, _ := r.Get("commits_per_publish"); v > 2 {
		t.Errorf("%.2f commits per publish: writes are not grouped", v)
	}
	if v, _ := r.Get("instagram_calls"); v < 4 {
		t.Errorf("%.2f calls per Instagram image", v)
	}
	if b, err := os.ReadFile(results); err != nil || !bytes.Contains(b, []byte("publishes_per_s")) {
		t.Errorf("results: %v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its directory is left: %v", err)
	}
}

func TestARunThatIsStoppedLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(testbed.Dir(t), "bench")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &trigger{on: "publishes: ", hit: cancel}
	begun := time.Now()
	_, err := Run(ctx, Config{Dir: dir, Fetched: fetched(t), Out: out, Short: true, Only: []string{"publishes"}, Publishes: 1_000_000})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("after %s: %v", time.Since(begun), err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its directory is left: %v", err)
	}
}

// trigger calls hit when something is printed.
type trigger struct {
	on  string
	hit func()
}

func (g *trigger) Write(b []byte) (int, error) {
	if strings.Contains(string(b), g.on) {
		g.hit()
	}
	return len(b), nil
}

func TestTwoRunsDoNotShareADirectory(t *testing.T) {
	t.Parallel()
	dir := testbed.Dir(t)
	lock, err := claim(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	_, err = Run(t.Context(), Config{Dir: dir, Out: &bytes.Buffer{}, Short: true})
	if err == nil || !strings.Contains(err.Error(), "another benchmark") {
		t.Errorf("got %v", err)
	}
}

func TestAMedianLeavesDisturbedRoundsOut(t *testing.T) {
	t.Parallel()
	clean := func(v float64) Sample { return Sample{Value: v} }
	foreign := func(v float64) Sample { return Sample{Value: v, Disturbed: true} }
	for name, c := range map[string]struct {
		rounds []Sample
		want   float64
	}{
		"odd":                {[]Sample{clean(3), clean(1), clean(2)}, 2},
		"even":               {[]Sample{clean(1), clean(3)}, 2},
		"some are disturbed": {[]Sample{foreign(9), clean(1), foreign(8)}, 1},
		"all are disturbed":  {[]Sample{foreign(9), foreign(7), foreign(8)}, 8},
	} {
		f := &figures{}
		for _, s := range c.rounds {
			f.add("k", "text", "", s)
		}
		if got := f.find("k").Median; got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestAPercentileIsNotExceededByItsShare(t *testing.T) {
	t.Parallel()
	var ds []time.Duration
	for i := range 200 {
		ds = append(ds, time.Duration(200-i))
	}
	for p, want := range map[int]time.Duration{50: 100, 99: 198, 100: 200} {
		if got := percentile(ds, p); got != want {
			t.Errorf("p%d: %d, want %d", p, got, want)
		}
	}
	if got := percentile(ds[:1], 99); got != 200 {
		t.Errorf("of one: %d", got)
	}
}

func TestAnUnknownMeasurementIsNamed(t *testing.T) {
	t.Parallel()
	_, err := Run(t.Context(), Config{Dir: t.TempDir(), Out: &bytes.Buffer{}, Only: []string{"speed"}})
	if err == nil || !strings.Contains(err.Error(), `"speed"`) {
		t.Errorf("got %v", err)
	}
}
