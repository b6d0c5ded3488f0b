package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"postbus.dev/events"
	"postbus.dev/services/internal/httpapi"
	"postbus.dev/services/internal/postgres"
	"postbus.dev/services/internal/tenant"
)

// publish answers POST /api/{provider}/publish.
func (a *API) publish(ctx context.Context, in *publishInput) (httpapi.Reply[any], error) {
	began := time.Now()
	if err := httpapi.Require(ctx, tenant.ScopePublish); err != nil {
		return httpapi.Reply[any]{}, err
	}
	r, err := a.request(ctx, in)
	if err != nil {
		return httpapi.Reply[any]{}, err
	}
	w := a.waiters.add(r.PublishID()) // before it is stored: its end may come at once
	defer a.waiters.remove(w)
	p, err := a.accept(ctx, r)
	if err != nil {
		return httpapi.Reply[any]{}, err
	}
	wait, applied := a.patience(in.prefer)
	reply, err := a.answer(ctx, a.await(ctx, w, p, began.Add(wait)))
	if err == nil && applied != "" {
		httpapi.Header(ctx).Set("Preference-Applied", applied)
	}
	return reply, err
}

// accept stores the request. It does not stop where the caller goes away: a
// request that is being written down is.
func (a *API) accept(ctx context.Context, r Request) (Publish, error) {
	own, cancel := context.WithTimeout(context.WithoutCancel(ctx), acceptLimit)
	defer cancel()
	receipt, err := a.cfg.Publishes.Accept(own, r)
	if err != nil {
		return Publish{}, notStored(r, err)
	}
	limit := httpapi.RateLimit{
		Policy: "publish", Quota: a.cfg.Quota, Window: a.cfg.Window, Remaining: receipt.Budget.Remaining, Reset: receipt.Budget.Reset,
	}
	limit.Tell(ctx)
	switch {
	case !receipt.Budget.Allowed:
		return Publish{}, limit.Exceeded()
	case !receipt.Known:
		return receipt.Publish, nil
	case !receipt.Same:
		return Publish{}, otherBody()
	}
	p, err := a.cfg.Publishes.Get(own, r.PublishID())
	if err != nil {
		return Publish{}, notStored(r, err)
	}
	return p, nil
}

// otherBody refuses a key that came with another body before. None of the codes
// of a 422 is about the request itself, so it is a validation error with that
// status.
func otherBody() *httpapi.Error {
	e := httpapi.Invalid(events.Violation{Field: "header.Idempotency-Key", Rule: "sameRequest", Message: "was used before with another body"})
	e.Status = http.StatusUnprocessableEntity
	return e
}

// notStored tells the caller how to find out: the write may have been committed
// all the same.
func notStored(r Request, err error) error {
	if refused, ok := errors.AsType[*httpapi.Error](err); ok {
		return refused // nothing was stored, and the error says why
	}
	e := &httpapi.Error{
		Code: httpapi.CodeInternal, Err: err,
		Message: "whether the request was stored is not known: repeat it with details.idempotencyKey, or look at details.publishId",
		Details: lostRequest{PublishID: r.PublishID().String(), IdempotencyKey: r.ID},
	}
	if postgres.IsUnavailable(err) || postgres.IsContention(err) || postgres.IsAmbiguous(err) {
		e.Code = httpapi.CodeServiceUnavailable
	}
	return e
}

type lostRequest struct {
	PublishID      string `json:"publishId"`
	IdempotencyKey string `json:"idempotencyKey"`
}

// patience is how long the caller waits, and what is said of that where the
// caller said something.
func (a *API) patience(prefer httpapi.Preference) (wait time.Duration, applied string) {
	if !prefer.Told {
		return a.cfg.Wait, ""
	}
	if wait = min(prefer.Wait, a.cfg.MaxWait); wait > 0 {
		return wait, "wait=" + strconv.Itoa(int(wait/time.Second))
	}
	return wait, "respond-async"
}

// await returns the publish as it is when it has an outcome, or else at the end
// of the wait. It never fails: the publish is accepted, and what was last known
// of it is an answer.
func (a *API) await(ctx context.Context, w *waiter, p Publish, until time.Time) Publish {
	if p.settled() || p.DueAt.After(until) { // what is due later cannot end in time
		return p
	}
	end := time.NewTimer(time.Until(until))
	defer end.Stop()
	for {
		select {
		case <-w.hint:
			if p = a.look(ctx, p); p.settled() {
				return p
			}
		case <-end.C:
			return a.look(ctx, p)
		case <-a.drain:
			return a.look(ctx, p)
		case <-ctx.Done():
			return p
		}
	}
}

// look reads the row, or keeps what is known where that does not work.
func (a *API) look(ctx context.Context, p Publish) Publish {
	now, err := a.cfg.Publishes.Get(ctx, p.ID)
	if err != nil {
		a.cfg.Logger.WarnContext(ctx, "read a publish that a caller waits for", "publish", p.ID, "error", err)
		return p
	}
	return now
}
