package account

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"postbus.dev/services/internal/oauthaccount"
	"postbus.dev/services/internal/postgres"
	"postbus.dev/services/internal/process"
	"postbus.dev/services/internal/secret"
)

// KeysetUsage is what "account keyset --help" prints.
const KeysetUsage = `account keyset new | rotate | add | promote | reseal | prune

Keeps the keys that seal tokens. To rotate them while all services run:

  account keyset rotate    a new key seals from now on, the old ones still open
  account keyset reseal    every token is sealed anew with it
  account keyset prune     the old keys are removed

  new      makes the file with one key; refuses to replace one
  ensure   the same, and is content with one that is there: for a step before every start
  rotate   add and promote in one, where all services read this very file
  add      adds a key that only opens: for services that read copies of the file,
           bring the file to all of them before promote
  promote  the key that was added last seals from now on
  reseal   seals anew what other keys sealed, and looks again until nothing is left
  prune    removes all keys but the one that seals; refuses while a token of theirs is
           left. Do it 10 minutes after the rotation: somebody who is at a provider's
           page right then would have to begin anew. Look at /readyz of every process
           before it: one whose check "keyset" fails cannot read the file as it is now,
           and seals with an old key. Its tokens are refused by the database from the
           prune on. None is lost, but nobody can connect an account there until the
           file can be read.

Settings (environment variables):
  POSTBUS_KEYSET      path of the keyset (required)
  POSTBUS_KEYSET_KMS  hcvault:// or aws-kms:// URI of the key that it is encrypted with; not
                      set: it is in clear, mode 0600
  DATABASE_URL        PostgreSQL connection string (reseal and prune)
  PGPASSWORD          its password, where the string has none
`

// keyset is the command with its settings.
type keyset struct {
	file        secret.Keyset
	databaseURL string
	out         io.Writer
}

// KeysetCommand is "account keyset". It returns the exit code: 2 for wrong
// arguments or settings.
func KeysetCommand(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	if slices.ContainsFunc(args, func(a string) bool { return slices.Contains([]string{"-h", "-help", "--help", "help"}, a) }) {
		_, _ = io.WriteString(stdout, KeysetUsage)
		return 0
	}
	k, f, err := readKeyset(args, getenv, stdout)
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "account keyset: %v\naccount keyset --help tells how it is used\n", err)
		return 2
	}
	if err := f(k, ctx); err != nil {
		_, _ = fmt.Fprintf(stderr, "account keyset: %v\n", err)
		return 1
	}
	return 0
}

func readKeyset(args []string, getenv func(string) string, out io.Writer) (keyset, func(keyset, context.Context) error, error) {
	e := process.NewEnv(getenv)
	k := keyset{out: out, file: secret.Keyset{
		Path: e.Required("POSTBUS_KEYSET", "the path of the Tink keyset that seals tokens"), KMS: e.String("POSTBUS_KEYSET_KMS", ""),
	}}
	commands := map[string]func(keyset, context.Context) error{
		"new": keyset.create, "ensure": keyset.ensure, "rotate": keyset.rotate, "add": keyset.add, "promote": keyset.promote, "reseal": keyset.reseal, "prune": keyset.prune,
	}
	if len(args) != 1 || commands[args[0]] == nil {
		return k, nil, errors.Join(errors.New("one command is needed: new, ensure, rotate, add, promote, reseal or prune"), e.Err())
	}
	if args[0] == "reseal" || args[0] == "prune" {
		k.databaseURL = e.Required("DATABASE_URL", "a PostgreSQL connection string")
	}
	return k, commands[args[0]], e.Err()
}

func (k keyset) say(format string, args ...any) { _, _ = fmt.Fprintf(k.out, format+"\n", args...) }

func (k keyset) create(ctx context.Context) error {
	if err := k.file.Create(ctx); err != nil {
		return err
	}
	k.say("made %s with one key", k.file.Path)
	return nil
}

func (k keyset) ensure(ctx context.Context) error {
	err := k.create(ctx)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if _, err := k.file.Read(ctx); err != nil {
		return err
	}
	k.say("%s is there", k.file.Path)
	return nil
}

func (k keyset) add(ctx context.Context) error {
	id, err := k.file.Add(ctx)
	if err != nil {
		return err
	}
	k.say("added key %d: it opens, and seals once it is promoted", id)
	return nil
}

func (k keyset) promote(ctx context.Context) error {
	id, err := k.file.Promote(ctx)
	if err != nil {
		return err
	}
	k.say("key %d seals from now on", id)
	return nil
}

func (k keyset) rotate(ctx context.Context) error {
	if err := k.add(ctx); err != nil {
		return err
	}
	return k.promote(ctx)
}

// store opens the database for one command.
func (k keyset) store(ctx context.Context, sealer *secret.Sealer) (*oauthaccount.Store, func(), error) {
	pool, err := postgres.Open(ctx, postgres.Config{DSN: k.databaseURL, Name: service})
	if err != nil {
		return nil, nil, err
	}
	s, err := oauthaccount.NewStore(oauthaccount.StoreConfig{Pool: pool, Sealer: sealer})
	if err != nil {
		pool.Close()
		return nil, nil, err
	}
	return s, pool.Close, nil
}

// reseal looks again after the time for which a service may go on sealing with
// an old key.
func (k keyset) reseal(ctx context.Context) error {
	sealer, err := secret.LoadSealer(k.file)
	if err != nil {
		return err
	}
	s, done, err := k.store(ctx, sealer)
	if err != nil {
		return err
	}
	defer done()
	for {
		r, err := s.Reseal(ctx, func(n int) { k.say("%d accounts sealed anew", n) })
		if err != nil {
			return err
		}
		if len(r.Unopened) > 0 {
			return fmt.Errorf("no key of %s opens the tokens of %d accounts, such as %s: add the keyset that sealed them, or have them reconnected",
				k.file.Path, len(r.Unopened), r.Unopened[0])
		}
		k.say("looking again in %s", settle)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(settle):
		}
		left, err := s.SealedOtherwise(ctx)
		if err != nil {
			return err
		}
		if left == 0 {
			k.say("nothing is left that another key sealed")
			return nil
		}
	}
}

const settle = secret.Stale + time.Second

func (k keyset) prune(ctx context.Context) error {
	sealer, err := secret.LoadSealer(k.file)
	if err != nil {
		return err
	}
	s, done, err := k.store(ctx, sealer)
	if err != nil {
		return err
	}
	defer done()
	n, err := k.file.Prune(ctx, func(stays []byte, old [][]byte) error {
		left, err := s.Retire(ctx, stays, old)
		if err == nil && left > 0 {
			err = fmt.Errorf("%d accounts have a token that another key sealed: run account keyset reseal first", left)
		}
		return err
	})
	if err != nil {
		return err
	}
	k.say("removed %d keys", n)
	return nil
}
