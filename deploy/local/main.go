// Command postbus is the whole system in one process, for a laptop: a private
// PostgreSQL, a NATS server with JetStream, stand-ins for the providers, and
// the services' own Run. It publishes first posts, shows them and one trace,
// says what to try next, and stays until Ctrl-C.
package main

import (
	"context"
	"errors"
	"fmt"
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
  OTEL_*                where traces and metrics go beside the terminal`

func main() {
	if len(os.Args) > 1 {
		fmt.Println(usage)
		if os.Args[1] == "-h" || os.Args[1] == "--help" || os.Args[1] == "help" {
			return
		}
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() { // a second Ctrl-C ends the process at once
		<-ctx.Done()
		stop()
	}()
	err := run(ctx, settings(os.Getenv), os.Stdout)
	stop()
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "postbus:", err)
		os.Exit(1)
	}
}

// config is the settings.
type config struct {
	httpAddr, natsAddr, sandboxAddr string
	dataDir                         string
	once                            bool
	getenv                          func(string) string
}

func settings(getenv func(string) string) config {
	or := func(name, fallback string) string {
		if v := getenv(name); v != "" {
			return v
		}
		return fallback
	}
	return config{
		httpAddr:    or("POSTBUS_HTTP_ADDR", "127.0.0.1:3000"),
		natsAddr:    or("POSTBUS_NATS_ADDR", "127.0.0.1:4222"),
		sandboxAddr: or("POSTBUS_SANDBOX_ADDR", "127.0.0.1:4010"),
		dataDir:     or("POSTBUS_DATA_DIR", ".postbus"),
		once:        getenv("POSTBUS_DEMO") == "once",
		getenv:      getenv,
	}
}
