// Command local is the whole system in one process, for a laptop: a private
// PostgreSQL, a NATS server with JetStream, stand-ins for the providers, and
// the services' own Run. It publishes first posts, shows them and one trace,
// says what to try next, and stays until Ctrl-C.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

const usage = `postbus: the whole system in one process.

Settings (environment variables):
  POSTBUS_HTTP_ADDR     the API; default 127.0.0.1:3000
  POSTBUS_NATS_ADDR     the NATS server; default 127.0.0.1:4222
  POSTBUS_SANDBOX_ADDR  the stand-ins for the providers; default 127.0.0.1:4010
  POSTBUS_DATA_DIR      where all data lives; default .postbus
  POSTBUS_DEMO=once     end after the first posts: 0 if all are completed, 1 if not
  POSTBUS_POSTGRES_BIN  a directory with initdb and postgres; default: found or fetched
  INSTAGRAM_*, TIKTOK_*, REDDIT_*, ONLYFANS_*
                        as of the services; default: what leads to the stand-ins
  POSTBUS_RETURN_TO     URLs, or what they begin with, that a person may be sent back to
                        after connecting; several with commas between them
  POSTBUS_LOG_LEVEL     of postbus.log in the data directory; default info
  OTEL_*                where traces and metrics go beside the terminal`

func main() { os.Exit(command(os.Args[1:], os.Getenv, os.Stdout, os.Stderr)) }

// command runs the system until a signal, and returns the exit code.
func command(args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	if len(args) > 0 {
		_, _ = fmt.Fprintln(stdout, usage)
		if args[0] == "-h" || args[0] == "--help" || args[0] == "help" {
			return 0
		}
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	cfg, err := settings(getenv)
	if err == nil {
		err = run(ctx, cfg, stdout)
	}
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil && errors.Is(err, context.Canceled) && !cfg.once:
		return 0 // as asked
	default:
		_, _ = fmt.Fprintln(stderr, "postbus:", err)
		return 1
	}
}
