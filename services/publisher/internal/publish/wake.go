package publish

import (
	"context"

	"github.com/google/uuid"
)

// Connected takes an account.connected: its publishes may be armed, and those
// that wait for a token or a person look at once.
func (r *Runner) Connected(ctx context.Context, account uuid.UUID, version int64) error {
	owner, err := r.store.Connected(ctx, account, version)
	return r.woken(owner, err)
}

// Changed takes news of an account's tokens: what waits for them looks at once.
func (r *Runner) Changed(ctx context.Context, account uuid.UUID, version int64) error {
	owner, err := r.store.Changed(ctx, account, version)
	return r.woken(owner, err)
}

// Notified takes what a provider said of something that it calls by this handle.
// It is a reason to look, and no more.
func (r *Runner) Notified(ctx context.Context, account uuid.UUID, handle string) error {
	owner, err := r.store.Notified(ctx, account, handle)
	return r.woken(owner, err)
}

func (r *Runner) woken(owner uuid.UUID, err error) error {
	if err != nil {
		return err
	}
	r.Poke()
	if owner != uuid.Nil {
		r.cfg.PokeOwner(owner)
	}
	return nil
}
