package account

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"postbus.dev/services/internal/postgres"
	"postbus.dev/services/internal/process"
	"postbus.dev/services/internal/tenant"
)

// KeyUsage is what "account key --help" prints.
const KeyUsage = `account key create --user ID --name TEXT --scopes LIST [--expires DURATION]

Makes an API key and prints it. It is kept nowhere: this is the only time that it is shown.

  --user ID           your own id of the user whose key it is; she is created where there is none
  --name TEXT         what the key is for
  --scopes LIST       what it allows, with commas between:
                        publish    publish, and see and stop what was published
                        accounts   connect, see and disconnect accounts
                        admin      users, keys, and deciding what became of an unconfirmed publish
                        on_behalf  name another user in a call
  --expires DURATION  how long it is valid, such as 720h; without it for ever

Settings (environment variables):
  DATABASE_URL        PostgreSQL connection string (required)
  PGPASSWORD          its password, where the string has none
`

// keyLimit is how long the database may take.
const keyLimit = 30 * time.Second

// KeyCommand is "account key": it makes the first key of an installation, which
// makes all others over HTTP. The key goes to stdout, what is to be said about it
// to stderr. It returns the exit code: 2 for wrong arguments or settings.
func KeyCommand(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	if slices.ContainsFunc(args, func(a string) bool { return slices.Contains([]string{"-h", "-help", "--help", "help"}, a) }) {
		_, _ = io.WriteString(stdout, KeyUsage)
		return 0
	}
	w, err := readWish(args, getenv)
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "account key: %v\naccount key --help tells how it is used\n", err)
		return 2
	}
	ctx, cancel := context.WithTimeout(ctx, keyLimit)
	defer cancel()
	key, value, err := w.grant(ctx)
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "account key: %v\n", err)
		return 1
	}
	until := "for ever"
	if !key.ExpiresAt.IsZero() {
		until = "until " + key.ExpiresAt.UTC().Format(time.RFC3339)
	}
	_, _ = fmt.Fprintf(stderr, "key %s of user %q, valid %s; it is not shown again\n", key.ID, w.user, until)
	_, _ = fmt.Fprintln(stdout, value)
	return 0
}

// wish is a key that somebody wants.
type wish struct {
	user, name  string
	scopes      []tenant.Scope
	expires     time.Duration
	databaseURL string
}

// readWish names every fault at once.
func readWish(args []string, getenv func(string) string) (wish, error) {
	if len(args) == 0 || args[0] != "create" {
		return wish{}, errors.New(`the only command is "create"`)
	}
	var w wish
	var scopes string
	flags := flag.NewFlagSet("account key create", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&w.user, "user", "", "")
	flags.StringVar(&w.name, "name", "", "")
	flags.StringVar(&scopes, "scopes", "", "")
	flags.DurationVar(&w.expires, "expires", 0, "")
	if err := flags.Parse(args[1:]); err != nil {
		return w, err
	}
	faults := w.check(flags)
	if scopes == "" {
		faults = append(faults, fmt.Errorf("--scopes is missing: %v, with commas between those that are wanted", tenant.Scopes()))
	}
	for s := range strings.SplitSeq(scopes, ",") {
		if scopes == "" {
			break
		}
		scope := tenant.Scope(strings.TrimSpace(s))
		if !slices.Contains(tenant.Scopes(), scope) {
			faults = append(faults, fmt.Errorf("--scopes: %q is none of %v", scope, tenant.Scopes()))
		}
		w.scopes = append(w.scopes, scope)
	}
	e := process.NewEnv(getenv)
	w.databaseURL = e.Required("DATABASE_URL", "a PostgreSQL connection string")
	return w, errors.Join(append(faults, e.Err())...)
}

func (w wish) check(flags *flag.FlagSet) (faults []error) {
	if flags.NArg() > 0 {
		faults = append(faults, fmt.Errorf("%q is one argument too many", flags.Arg(0)))
	}
	if why := tenant.ValidExternalID(w.user); why != "" {
		faults = append(faults, errors.New("--user "+why))
	}
	if w.name == "" {
		faults = append(faults, errors.New("--name is missing"))
	}
	flags.Visit(func(f *flag.Flag) {
		if f.Name == "expires" && w.expires <= 0 {
			faults = append(faults, errors.New("--expires must be more than nothing; leave it out for a key that is valid for ever"))
		}
	})
	return faults
}

// grant makes the user, where there is none, and the key. It returns the value
// as text: it is about to be printed.
func (w wish) grant(ctx context.Context) (tenant.Key, string, error) {
	pool, err := postgres.Open(ctx, postgres.Config{DSN: w.databaseURL, Name: service})
	if err != nil {
		return tenant.Key{}, "", err
	}
	defer pool.Close()
	keys, err := tenant.New(tenant.Config{Pool: pool})
	if err != nil {
		return tenant.Key{}, "", err
	}
	user, err := keys.CreateUser(ctx, w.user)
	if err != nil {
		return tenant.Key{}, "", err
	}
	spec := tenant.KeySpec{UserID: user.ID, Name: w.name, Scopes: w.scopes}
	if w.expires > 0 {
		spec.ExpiresAt = time.Now().Add(w.expires)
	}
	key, value, err := keys.CreateKey(ctx, spec)
	if errors.Is(err, tenant.ErrNoUser) {
		err = errors.New("the user is being deleted")
	}
	return key, value.Reveal(), err
}
