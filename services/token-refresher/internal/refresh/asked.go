package refresh

import (
	"context"
	"sync"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"
)

// askers knows in which traces refreshes were asked for: a refresh is part of the
// trace of whoever waits for it. Where another process claims the account, it
// begins a trace of its own.
type askers struct {
	mu sync.Mutex
	of map[uuid.UUID]trace.SpanContext
}

// mostAskers bounds what is kept of accounts that others have claimed.
const mostAskers = 10_000

func (a *askers) add(ctx context.Context, account uuid.UUID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.of == nil || len(a.of) >= mostAskers {
		a.of = map[uuid.UUID]trace.SpanContext{}
	}
	a.of[account] = trace.SpanContextFromContext(ctx)
}

// take returns ctx with the trace of whoever asked for the account.
func (a *askers) take(ctx context.Context, account uuid.UUID) context.Context {
	a.mu.Lock()
	defer a.mu.Unlock()
	asked := a.of[account]
	delete(a.of, account)
	return trace.ContextWithSpanContext(ctx, asked)
}
