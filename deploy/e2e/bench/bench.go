// Package bench measures the publisher from outside, as separate processes on
// one machine: NATS with sync_interval always, a durable PostgreSQL, a stand-in
// for the provider, a collector for its traces, and the publisher itself. Beside
// it, in the same run, it measures what the machine can do at all: single-row
// commits of the same PostgreSQL and bare calls of the same HTTP client. Numbers
// of two runs say little about each other; their ratios do, so every round
// measures everything once.
//
// A round that other programs disturbed is marked, not hidden. The CPU that a
// publish costs, all processes together, moves less with them than its time.
package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Config says what is measured and where.
type Config struct {
	Dir     string    // holds all data while it runs, on a real disk; emptied at the start, removed at the end
	Fetched string    // a directory for PostgreSQL's programs where the machine has none
	Out     io.Writer // progress and table
	Results string    // a file for facts and figures, JSON; "" for none
	Rounds  int       // default 3; 1 with Short
	Short   bool      // small sizes: shows that it works, its numbers mean little
	Only    []string  // names of measurements; default: all

	Publishes  int      // of one saturation round; default 20,000
	Profile    string   // a directory for the publisher's CPU and allocation profiles; "" for none
	Statements bool     // shows what PostgreSQL's statements cost
	Settings   []string // of PostgreSQL, "name=value", beside those that are always set
	Keep       bool     // leaves Dir behind
}

// measurement is one thing to measure, once a round.
type measurement struct {
	name string
	run  func(context.Context) error
}

// bench is one run.
type bench struct {
	cfg      Config
	sizes    sizes
	stand    *stand
	progress *progress
	figures  *figures
	round    int
}

// Run measures and returns what it found. When ctx ends, it stops everything it
// started and returns ctx's error.
func Run(ctx context.Context, cfg Config) (_ *Report, err error) {
	if cfg.Dir == "" || cfg.Out == nil {
		return nil, errors.New("configure benchmark: Dir and Out are required")
	}
	b := &bench{cfg: cfg, sizes: fullSizes(), figures: &figures{}}
	b.cfg.Rounds = cmp.Or(cfg.Rounds, 3)
	if cfg.Short {
		b.cfg.Rounds, b.sizes = cmp.Or(cfg.Rounds, 1), shortSizes()
	}
	b.sizes.publishes = cmp.Or(cfg.Publishes, b.sizes.publishes)
	chosen, err := b.chosen()
	if err != nil {
		return nil, err
	}
	b.progress = newProgress(cfg.Out)
	defer b.progress.close()
	b.progress.phase("start", "PostgreSQL, NATS, sandbox and collector")
	if b.stand, err = newStand(ctx, b.cfg, b.sizes); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.stand.close()) }()
	facts := b.stand.facts(ctx)
	for b.round = 1; b.round <= b.cfg.Rounds; b.round++ {
		for _, m := range chosen {
			b.progress.phase(fmt.Sprintf("round %d of %d, %s", b.round, b.cfg.Rounds, m.name), "prepare")
			if err := m.run(ctx); err != nil {
				return nil, cmp.Or(ctx.Err(), fmt.Errorf("measure %s: %w", m.name, err))
			}
		}
		b.ratios()
	}
	b.progress.close()
	return b.report(facts)
}

func (b *bench) all() []measurement {
	return []measurement{
		{"commits", b.commits},
		{"calls", b.calls},
		{"publishes", b.saturation},
		{"latency", b.latency},
		{"relay", b.relay},
		{"instagram", b.instagram},
	}
}

// Names are the measurements that Config.Only may name.
func Names() []string {
	var names []string
	for _, m := range (&bench{}).all() {
		names = append(names, m.name)
	}
	return names
}

func (b *bench) chosen() ([]measurement, error) {
	for _, name := range b.cfg.Only {
		if !slices.Contains(Names(), name) {
			return nil, fmt.Errorf("no measurement %q: there are %s", name, strings.Join(Names(), ", "))
		}
	}
	return slices.DeleteFunc(b.all(), func(m measurement) bool {
		return len(b.cfg.Only) > 0 && !slices.Contains(b.cfg.Only, m.name)
	}), nil
}

// report prints the table and writes the file.
func (b *bench) report(facts Facts) (*Report, error) {
	r := &Report{Facts: facts, Short: b.cfg.Short, Figures: b.figures.list}
	if err := r.Print(b.cfg.Out); err != nil {
		return nil, fmt.Errorf("print report: %w", err)
	}
	if b.cfg.Results == "" {
		return r, nil
	}
	if err := os.MkdirAll(filepath.Dir(b.cfg.Results), 0o755); err != nil {
		return nil, fmt.Errorf("write report: %w", err)
	}
	if err := r.write(b.cfg.Results); err != nil {
		return nil, fmt.Errorf("write report: %w", err)
	}
	_, err := fmt.Fprintf(b.cfg.Out, "\nwritten to %s\n", b.cfg.Results)
	return r, err
}
