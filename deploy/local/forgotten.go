package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// A stand-in forgets with its process what a provider would still have: the
// media that publishes of an earlier run have prepared. They are prepared anew.
// What was at the stand-in for good, or may have been, stays: the publisher
// finds out by itself, and says what it found.
const prepareAnew = `
UPDATE publishes SET state = 'accepted', checkpoint = NULL, fresh_until = NULL, failures = 0, version = version + 1
WHERE state IN ('accepted', 'ready') AND checkpoint IS NOT NULL`

// forgetPrepared runs before any publisher does.
func (s *system) forgetPrepared(ctx context.Context) error {
	if s.cfg.getenv(instagramURL) != "" {
		return nil // not the stand-in
	}
	conn, err := pgx.Connect(ctx, s.dsn)
	if err != nil {
		return fmt.Errorf("prepare earlier publishes anew: %w", err)
	}
	if _, err = conn.Exec(ctx, prepareAnew); err != nil {
		err = fmt.Errorf("prepare earlier publishes anew: %w", err)
	}
	return errors.Join(err, conn.Close(ctx))
}
