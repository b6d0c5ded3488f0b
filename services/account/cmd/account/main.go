// Command account runs the account service, makes an API key, or keeps the keys
// that seal tokens.
package main

import (
	"context"
	"os"

	"postbus.dev/services/account"
	"postbus.dev/services/internal/process"
)

func main() {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "key":
			os.Exit(account.KeyCommand(context.Background(), os.Args[2:], os.Getenv, os.Stdout, os.Stderr))
		case "keyset":
			os.Exit(account.KeysetCommand(context.Background(), os.Args[2:], os.Getenv, os.Stdout, os.Stderr))
		}
	}
	process.Main("account", account.Usage, func(ctx context.Context, getenv func(string) string) error {
		cfg, err := account.FromEnv(getenv)
		if err != nil {
			return err
		}
		return account.Run(ctx, cfg)
	})
}
