package publisher

import (
	"context"
	"log/slog"
	"time"

	"postbus.dev/services/internal/limit"
	"postbus.dev/services/publisher/internal/api"
)

// sweepBudgets forgets what idle keys used: a key in use cleans up after itself.
func sweepBudgets(budgets *limit.Budgets, log *slog.Logger) func(context.Context) error {
	return func(ctx context.Context) error {
		t := time.NewTicker(time.Hour)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-t.C:
			}
			if _, err := budgets.Sweep(ctx, 2*api.DefaultWindow+time.Hour); err != nil && ctx.Err() == nil {
				log.WarnContext(ctx, "forget used budgets", "error", err)
			}
		}
	}
}
