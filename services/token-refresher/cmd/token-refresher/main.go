// Command token-refresher runs the token-refresher service.
package main

import (
	"context"

	"postbus.dev/services/internal/process"
	tokenrefresher "postbus.dev/services/token-refresher"
)

func main() {
	process.Main("token-refresher", tokenrefresher.Usage, func(ctx context.Context, getenv func(string) string) error {
		cfg, err := tokenrefresher.FromEnv(getenv)
		if err != nil {
			return err
		}
		return tokenrefresher.Run(ctx, cfg)
	})
}
