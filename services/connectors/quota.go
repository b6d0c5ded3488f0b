package connectors

import (
	"context"
	"time"
)

// QuotaReader tells how many posts a provider still takes of an account, for
// people who look at it. It is one cheap call that changes nothing.
type QuotaReader interface {
	// ReadQuota asks the provider. What went wrong is an *Error, as everywhere.
	ReadQuota(ctx context.Context, a Account) (Quota, error)
}

// Quota is how many posts a provider takes of an account in any Window.
type Quota struct {
	Used   int
	Total  int
	Window time.Duration
}
