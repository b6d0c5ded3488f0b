// Command bench measures the publisher beside what this machine can do, and
// prints a table. Ctrl-C ends it and leaves nothing behind.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"postbus.dev/deploy/e2e/bench"
)

func main() {
	bench.Main() // this may be one of the measured parts
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends it at once
	if err := run(ctx); err != nil {
		if !errors.Is(err, flag.ErrHelp) && ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	cfg, err := read(os.Args[1:])
	if err != nil {
		return err
	}
	_, err = bench.Run(ctx, cfg)
	return err
}

// read reads the flags.
func read(args []string) (bench.Config, error) {
	cfg := bench.Config{Out: os.Stdout, Fetched: cmp.Or(os.Getenv("POSTBUS_DATA_DIR"), ".postbus")}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	only, settings := "", ""
	flags.StringVar(&cfg.Dir, "dir", filepath.Join(cfg.Fetched, "bench"), "`directory` for the data, on a real disk; emptied and removed")
	flags.StringVar(&cfg.Results, "results", filepath.Join("deploy", "e2e", "results", "latest.json"), "`file` for facts and figures")
	flags.IntVar(&cfg.Rounds, "rounds", 0, "`number` of rounds; default 3")
	flags.BoolVar(&cfg.Short, "short", false, "small sizes and one round: shows that it works, in 20 seconds")
	flags.IntVar(&cfg.Publishes, "n", 0, "`number` of publishes of a saturation round; default 20,000")
	flags.StringVar(&only, "only", "", "`names` of measurements, separated by commas: "+strings.Join(bench.Names(), ", "))
	flags.StringVar(&cfg.Profile, "profile", "", "an existing `directory` for the publishers' CPU and allocation profiles")
	flags.BoolVar(&cfg.Statements, "statements", false, "show what PostgreSQL's statements cost (slows them a little)")
	flags.StringVar(&settings, "postgres", "", "further `settings` of PostgreSQL, name=value, separated by commas")
	flags.BoolVar(&cfg.Keep, "keep", false, "leave the data")
	if err := flags.Parse(args); err != nil {
		return cfg, err
	}
	if flags.NArg() > 0 {
		return cfg, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	cfg.Only, cfg.Settings = list(only), list(settings)
	return cfg, nil
}

func list(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' })
}
