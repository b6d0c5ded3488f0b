// Command account runs the account service, or makes an API key.
package main

import (
	"context"
	"os"

	"postbus.dev/services/account"
	"postbus.dev/services/internal/process"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "key" {
		os.Exit(account.KeyCommand(context.Background(), os.Args[2:], os.Getenv, os.Stdout, os.Stderr))
	}
	process.Main("account", account.Usage, func(ctx context.Context, getenv func(string) string) error {
		cfg, err := account.FromEnv(getenv)
		if err != nil {
			return err
		}
		return account.Run(ctx, cfg)
	})
}
