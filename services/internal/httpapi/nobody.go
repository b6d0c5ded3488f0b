package httpapi

import (
	"context"
	"errors"

	"postbus.dev/services/internal/limit"
	"postbus.dev/services/internal/tenant"
)

// Nobody stands for the Keys and Budgets of an API of which only the document is
// wanted.
type Nobody struct{}

// Authenticate knows no key.
func (Nobody) Authenticate(context.Context, string) (tenant.Caller, error) {
	return tenant.Caller{}, tenant.ErrUnauthorized
}

// Use counts no calls.
func (Nobody) Use(context.Context, []limit.Ask) ([]limit.Decision, error) {
	return nil, errors.New("no calls are counted")
}
