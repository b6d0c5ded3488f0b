package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// Exit codes. 130 is what shells say of a program that Ctrl-C ended.
const (
	exitOK        = 0
	exitError     = 1
	exitUsage     = 2 // wrong arguments or settings: starting again does not help
	exitForced    = 130
	signalsToWait = 2
)

// Main runs a service and exits. usage is what --help prints: one sentence and
// the settings. SIGINT and SIGTERM end run's context; a second one ends the
// process at once, whatever run is still waiting for.
func Main(name, usage string, run func(ctx context.Context, getenv func(name string) string) error) {
	signals := make(chan os.Signal, signalsToWait)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	os.Exit(program{
		name: name, usage: usage, run: run, args: os.Args[1:], getenv: os.Getenv,
		stdout: os.Stdout, stderr: os.Stderr, signals: signals, exit: os.Exit,
	}.main())
}

type program struct {
	name, usage    string
	run            func(ctx context.Context, getenv func(name string) string) error
	args           []string
	getenv         func(name string) string
	stdout, stderr io.Writer
	signals        <-chan os.Signal
	exit           func(code int)
}

func (p program) main() int {
	if len(p.args) > 0 {
		return p.help()
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		p.watch(cancel, ended)
	}()
	err := p.run(ctx, p.getenv)
	asked := ctx.Err() != nil
	close(ended)
	<-watching
	cancel()
	return p.code(err, asked)
}

func (p program) help() int {
	text := fmt.Sprintf("%s: %s\n", p.name, strings.TrimSpace(p.usage))
	switch p.args[0] {
	case "-h", "-help", "--help", "help":
		_, _ = io.WriteString(p.stdout, text)
		return exitOK
	}
	_, _ = fmt.Fprintf(p.stderr, "%s takes no arguments; its settings are environment variables\n%s", p.name, text)
	return exitUsage
}

// watch ends the context at the first signal and the process at the second.
func (p program) watch(cancel context.CancelFunc, ended <-chan struct{}) {
	for n := 1; ; n++ {
		select {
		case <-ended:
			return
		case s := <-p.signals:
			if n == signalsToWait {
				_, _ = fmt.Fprintf(p.stderr, "%s: %v again: ending at once\n", p.name, s)
				p.exit(exitForced)
				return
			}
			cancel()
		}
	}
}

func (p program) code(err error, asked bool) int {
	var settings *EnvError
	switch {
	case err == nil, asked && errors.Is(err, context.Canceled):
		return exitOK
	case errors.As(err, &settings):
		_, _ = fmt.Fprintf(p.stderr, "%s: %v\n%s --help tells all settings\n", p.name, err, p.name)
		return exitUsage
	default:
		_, _ = fmt.Fprintf(p.stderr, "%s: %v\n", p.name, err)
		return exitError
	}
}
