package main

import (
	"context"
	"fmt"
	"log/slog"

	"postbus.dev/migrations"
)

// migrate brings the schema up to date, as cmd/migrate does in production.
func migrate(ctx context.Context, dsn string) error {
	if _, err := migrations.Apply(ctx, dsn, slog.New(slog.DiscardHandler)); err != nil {
		return fmt.Errorf("bring the schema up to date: %w", err)
	}
	return nil
}
