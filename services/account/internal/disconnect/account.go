package disconnect

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/oauthaccount"
)

// takeOut ends one account. What stops it in between is made good by the next
// claim of the row.
func (j *Job) takeOut(ctx context.Context, l oauthaccount.Leaving) {
	ctx, span := j.tracer.Start(ctx, "disconnect "+l.Provider, trace.WithAttributes(
		attribute.String("postbus.account_id", l.ID.String()), attribute.String("postbus.reason", l.DisconnectReason),
	))
	defer span.End()
	j.cfg.Failpoint("disconnect.claimed")
	revoked, err := j.revoke(ctx, l)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		j.log.WarnContext(ctx, "revoke account at its provider", "account", l.ID, "provider", l.Provider, "error", err)
	}
	j.cfg.Failpoint("disconnect.revoked")
	switch err := j.cfg.Accounts.FinishDisconnect(ctx, l, revoked); {
	case errors.Is(err, oauthaccount.ErrChanged):
		j.log.InfoContext(ctx, "account has changed while it was being disconnected", "account", l.ID)
		return
	case err != nil:
		span.SetStatus(codes.Error, "not finished")
		j.log.WarnContext(ctx, "finish disconnecting account", "account", l.ID, "error", err)
		return
	}
	j.cfg.Failpoint("disconnect.finished")
	j.metrics.finish(ctx, l, revoked)
	j.log.InfoContext(ctx, "account disconnected", "account", l.ID, "provider", l.Provider, "reason", l.DisconnectReason,
		"revoked", revoked, "drained", l.Drained, "erased", l.Erase)
}

// revoke asks the provider a few times to take the tokens no more. The error says
// why it did not, where it was asked.
func (j *Job) revoke(ctx context.Context, l oauthaccount.Leaving) (bool, error) {
	r, ok := j.cfg.Connectors[l.Provider].(connectors.Revoker)
	if !ok {
		return false, nil
	}
	a, refresh, err := l.Open()
	if err != nil {
		return false, fmt.Errorf("open tokens: %w", err)
	}
	if a.AccessToken.Empty() && refresh.Empty() {
		return false, nil // shredded by an earlier disconnect
	}
	ctx, cancel := context.WithTimeout(ctx, j.cfg.Revoking)
	defer cancel()
	for n, wait := 1, j.cfg.Backoff; ; n, wait = n+1, 2*wait {
		if err = r.Revoke(ctx, a, refresh); err == nil {
			return true, nil
		}
		again, rest := mayTryAgain(err)
		if !again || n == j.cfg.Tries || !pause(ctx, max(wait, rest)) {
			return false, err
		}
	}
}

// mayTryAgain says whether another try may do better, and when the provider will
// hear of it.
func mayTryAgain(err error) (bool, time.Duration) {
	e := connectors.AsError(err)
	switch e.Kind {
	case connectors.KindUnknown, connectors.KindRetry, connectors.KindWait:
		return true, e.Wait
	default:
		return false, 0
	}
}

// pause waits for d. It is false where ctx ends before that.
func pause(ctx context.Context, d time.Duration) bool {
	if end, ok := ctx.Deadline(); ok && time.Until(end) < d {
		return false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
