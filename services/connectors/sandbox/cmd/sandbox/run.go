package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"postbus.dev/services/connectors/sandbox"
)

// config is what flags and environment say; a flag wins.
type config struct {
	serve   sandbox.ServeConfig
	sandbox sandbox.Config
}

func run(ctx context.Context, args []string, env func(string) string, out io.Writer) error {
	cfg, err := read(args, env, out)
	if err != nil {
		return err
	}
	s, err := sandbox.New(cfg.sandbox)
	if err != nil {
		return err
	}
	srv, err := s.Serve(cfg.serve)
	if err != nil {
		s.Close()
		return fmt.Errorf("serve: %w; POSTBUS_SANDBOX_ADDR or --addr names another address", err)
	}
	announce(out, s, srv)
	<-ctx.Done()
	s.Close()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return srv.Shutdown(ctx)
}

func read(args []string, env func(string) string, out io.Writer) (config, error) {
	var cfg config
	flags := flag.NewFlagSet("sandbox", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.Usage = func() {
		_, _ = io.WriteString(out, "sandbox serves stand-ins for the providers.\n\n"+
			"Each flag may also be set in the environment: --ca-file is POSTBUS_SANDBOX_CA_FILE.\n\n")
		flags.PrintDefaults()
	}
	profile := ""
	flags.StringVar(&cfg.serve.Addr, "addr", "127.0.0.1:4010", "`address` to listen on")
	flags.BoolVar(&cfg.serve.TLS, "tls", false, "serve HTTPS with a certificate of an own, new CA")
	flags.StringVar(&cfg.serve.CAFile, "ca-file", "", "with --tls: `file` for the CA's certificate, to be given to others as SSL_CERT_FILE")
	flags.StringVar(&profile, "profile", string(sandbox.Hostile), "hostile or faithful: how the stand-ins behave where no fault is set")
	flags.Float64Var(&cfg.sandbox.Factor, "factor", 1, "multiplies every duration of the providers: 0.01 makes a minute 0.6 s")
	flags.Uint64Var(&cfg.sandbox.Seed, "seed", 0, "of everything drawn at random; 0 is 1, and with --state another each time")
	flags.StringVar(&cfg.sandbox.StatePath, "state", "", "`file` that keeps accounts, tokens and posts for the next start; default: all is forgotten")
	flags.StringVar(&cfg.sandbox.PublicURL, "public-url", "", "`URL` at which browsers and the providers reach the Postbus whose app is registered; "+
		"default http://localhost:3000, which the providers do not call")
	flags.StringVar(&cfg.sandbox.CallURL, "call-url", "", "`URL` at which the providers reach it, if not at --public-url")
	if err := flags.Parse(args); err != nil {
		return cfg, err
	}
	if err := fromEnv(flags, env); err != nil {
		return cfg, err
	}
	if flags.NArg() > 0 {
		return cfg, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	cfg.sandbox.Profile = sandbox.Profile(profile)
	return cfg, nil
}

// fromEnv sets the flags that the command line does not name.
func fromEnv(flags *flag.FlagSet, env func(string) string) error {
	given := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	var err error
	flags.VisitAll(func(f *flag.Flag) {
		name := "POSTBUS_SANDBOX_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		value := env(name)
		if value == "" || given[f.Name] {
			return
		}
		if setErr := f.Value.Set(value); setErr != nil {
			err = cmp.Or(err, fmt.Errorf("%s=%s: %w", name, strconv.Quote(value), setErr))
		}
	})
	return err
}

// announce says what is served, with an account that can be used.
func announce(out io.Writer, s *sandbox.Sandbox, srv *sandbox.Server) {
	_, _ = fmt.Fprintf(out, "sandbox on %s (what it can do: GET %s/)\n", srv.URL, srv.URL)
	for _, c := range s.Clients("") {
		_, _ = fmt.Fprintf(out, "  %s client %s, secret %s, for %s\n", c.Provider, c.ID, c.Secret, strings.Join(c.RedirectURIs, " "))
	}
	for _, a := range s.Accounts("") {
		_, _ = fmt.Fprintf(out, "  %s account %q: id %s, token %s\n", a.Provider, a.Username, a.ID, a.Token)
	}
}
