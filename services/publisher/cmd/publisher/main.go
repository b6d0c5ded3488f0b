// Command publisher runs the publisher service.
package main

import (
	"context"

	"postbus.dev/services/internal/process"
	"postbus.dev/services/publisher"
)

func main() {
	process.Main("publisher", publisher.Usage, func(ctx context.Context, getenv func(string) string) error {
		cfg, err := publisher.FromEnv(getenv)
		if err != nil {
			return err
		}
		return publisher.Run(ctx, cfg)
	})
}
