// Command account runs the account service.
package main

import (
	"context"

	"postbus.dev/services/account"
	"postbus.dev/services/internal/process"
)

func main() {
	process.Main("account", account.Usage, func(ctx context.Context, getenv func(string) string) error {
		cfg, err := account.FromEnv(getenv)
		if err != nil {
			return err
		}
		return account.Run(ctx, cfg)
	})
}
