// Command gateway puts account services and publishers behind one address.
package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"postbus.dev/deploy/gateway"
)

const usage = `gateway: Hands each request to the service that answers its path.

Settings (environment variables):
  POSTBUS_HTTP_ADDR       where it listens; default 127.0.0.1:3000
  POSTBUS_ACCOUNT_URLS    the account services, as http://host:port; several with commas
                          between them, and a host may have several addresses (required)
  POSTBUS_PUBLISHER_URLS  the same of the publishers (required)
`

// grace is for requests under way at the end: one may wait 25 s for its post.
const grace = 30 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Getenv, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "gateway:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, env func(string) string, out io.Writer) error {
	if len(args) > 0 && slices.Contains([]string{"-h", "-help", "--help", "help"}, args[0]) {
		_, err := io.WriteString(out, usage)
		return err
	}
	if len(args) > 0 {
		return fmt.Errorf("it takes no arguments; its settings are environment variables\n%s", usage)
	}
	log := slog.New(slog.NewJSONHandler(out, nil))
	g, err := gateway.New(gateway.Config{Logger: log, Backends: map[string][]string{
		gateway.Account: list(env("POSTBUS_ACCOUNT_URLS")), gateway.Publisher: list(env("POSTBUS_PUBLISHER_URLS")),
	}})
	if err != nil {
		return fmt.Errorf("%w\nPOSTBUS_ACCOUNT_URLS and POSTBUS_PUBLISHER_URLS name them; gateway --help tells all settings", err)
	}
	defer g.Close()
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", cmp.Or(env("POSTBUS_HTTP_ADDR"), "127.0.0.1:3000"))
	if err != nil {
		return fmt.Errorf("%w (POSTBUS_HTTP_ADDR sets the address)", err)
	}
	log.InfoContext(ctx, "gateway listens", "addr", l.Addr().String())
	return g.Serve(ctx, l, grace)
}

// list is the parts between commas.
func list(s string) (out []string) {
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}
