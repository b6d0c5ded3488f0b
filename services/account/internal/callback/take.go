package callback

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/httpapi"
	"postbus.dev/services/internal/postgres"
)

// takeLimit bounds what is done about one call, whether or not its caller still
// waits.
const takeLimit = 20 * time.Second

// early is how far a provider's clock may be ahead of ours.
const early = 10 * time.Minute

// outcome is what became of a call, for logs and metrics.
type outcome string

const (
	taken      outcome = "taken"
	replayed   outcome = "replayed"
	challenged outcome = "challenged"
	forged     outcome = "forged"
	stale      outcome = "stale"
	unreadable outcome = "unreadable"
	unknown    outcome = "unknown" // no such provider or kind
	failed     outcome = "failed"  // here
)

// post answers POST /api/callbacks/{provider}/{kind}.
func (t *Taker) post(w http.ResponseWriter, r *http.Request) {
	c, o, err := t.read(r)
	switch {
	case err != nil:
		t.refuse(w, r, c, o, err)
		return
	case c.call.Challenge != "":
		t.answerChallenge(w, r, c)
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), takeLimit)
	defer cancel()
	done, err := t.store.take(ctx, c)
	if err != nil {
		t.refuse(w, r, c, failed, err)
		return
	}
	o = taken
	if done.replayed {
		o = replayed
	} else if done.events > 0 || len(done.accounts) > 0 {
		t.cfg.Wrote()
	}
	t.report(r, c, o, slog.Int("accounts", len(done.accounts)), slog.Int("events", done.events), slog.Int("skipped", done.skipped))
	t.answer(w, done.code, c.provider)
}

// challenge answers GET /api/callbacks/{provider}/webhook. It changes nothing.
func (t *Taker) challenge(w http.ResponseWriter, r *http.Request) {
	c, o, err := t.read(r)
	if err == nil && c.call.Challenge == "" {
		o, err = unreadable, errors.New("there is no challenge in it")
	}
	if err != nil {
		t.refuse(w, r, c, o, err)
		return
	}
	t.answerChallenge(w, r, c)
}

func (t *Taker) answerChallenge(w http.ResponseWriter, r *http.Request, c call) {
	t.report(r, c, challenged)
	t.pages.Guard(w.Header()) // the challenge came from outside: nothing may take it for a page
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, c.call.Challenge)
}

// call is a verified call, and the path that it came to.
type call struct {
	provider, kind string // "" for what we do not know
	call           connectors.Callback
}

// read lets the connector verify the call.
func (t *Taker) read(r *http.Request) (call, outcome, error) {
	var c call
	reader, ok := t.cfg.Connectors[r.PathValue("provider")].(connectors.CallbackReader)
	if !ok {
		return c, unknown, connectors.ErrNoCallback
	}
	c.provider = r.PathValue("provider")
	if c.kind = kindOf(r); c.kind == "" {
		return c, unknown, connectors.ErrNoCallback
	}
	body, err := io.ReadAll(r.Body) // httpapi has bounded it
	if err != nil {
		return c, unreadable, err
	}
	c.call, err = reader.ReadCallback(connectors.CallbackRequest{Kind: c.kind, Header: r.Header, Body: body, Query: r.URL.Query()})
	switch {
	case errors.Is(err, connectors.ErrForged):
		return c, forged, err
	case errors.Is(err, connectors.ErrNoCallback):
		return c, unknown, err
	case errors.Is(err, connectors.ErrNotConfigured):
		return c, failed, err
	case err != nil:
		return c, unreadable, err
	case !t.fresh(c.call):
		return c, stale, errors.New("it was made too long ago, or in the future, or does not say when")
	case c.call.ID == "" && c.call.Challenge == "":
		return c, failed, errors.New("the connector gives it no id, by which a copy is known")
	}
	return c, "", nil
}

// kindOf is the kind of the path; that of a challenge is fixed.
func kindOf(r *http.Request) string {
	if r.Method != http.MethodPost {
		return connectors.CallbackWebhook
	}
	switch kind := r.PathValue("kind"); kind {
	case connectors.CallbackDeauthorize, connectors.CallbackDeletion, connectors.CallbackWebhook:
		return kind
	}
	return ""
}

// fresh judges by our own clock, which the signature cannot move. What ends a
// connection has to say when it was made: a copy of it would be new again once its
// digest is forgotten. A copy of what is said of posts does no harm.
func (t *Taker) fresh(c connectors.Callback) bool {
	if c.IssuedAt.IsZero() {
		return c.Kind != connectors.CallbackDeauthorize && c.Kind != connectors.CallbackDeletion
	}
	age := time.Since(c.IssuedAt)
	return age < t.cfg.MaxAge && age > -early
}

// refuse says no more than has to be: who forges learns nothing.
func (t *Taker) refuse(w http.ResponseWriter, r *http.Request, c call, o outcome, err error) {
	t.report(r, c, o, slog.String("error", err.Error()))
	answer := &httpapi.Error{Err: err}
	switch o {
	case forged, stale:
		answer.Code = httpapi.CodeForbidden
	case unknown:
		answer.Code, answer.Message = httpapi.CodeNotFound, "there is nothing at this path"
	case unreadable:
		answer.Code, answer.Message = httpapi.CodeValidation, "the call cannot be read"
	default:
		answer.Code = httpapi.CodeInternal
		if postgres.IsUnavailable(err) || postgres.IsContention(err) || postgres.IsAmbiguous(err) || errors.Is(err, connectors.ErrNotConfigured) {
			answer.Code = httpapi.CodeServiceUnavailable // the provider tries again
		}
	}
	httpapi.WriteFailure(w, r, answer)
}

// deletion is what Meta asks for, and what others may read.
type deletion struct {
	URL  string `json:"url"`
	Code string `json:"confirmation_code"`
}

func deletionSchema() *huma.Schema {
	member := &huma.Schema{Type: huma.TypeString}
	return &huma.Schema{Type: huma.TypeObject, Properties: map[string]*huma.Schema{"url": member, "confirmation_code": member}}
}

// answer is an empty object where there is nothing to tell.
func (t *Taker) answer(w http.ResponseWriter, code, provider string) {
	var body any = struct{}{}
	if code != "" {
		body = deletion{URL: t.cfg.PublicURL + "/api/callbacks/" + provider + "/deletions/" + code, Code: code}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(body)
}

// report writes one line, tells the span and counts. Nothing of an unverified body is in it.
func (t *Taker) report(r *http.Request, c call, o outcome, more ...slog.Attr) {
	attrs := append([]slog.Attr{slog.String("outcome", string(o)), slog.String("provider", c.provider), slog.String("kind", c.kind)}, more...)
	level := slog.LevelInfo
	switch o {
	case forged, stale, replayed, unreadable:
		level = slog.LevelWarn
	case failed:
		level = slog.LevelError
	}
	trace.SpanFromContext(r.Context()).SetAttributes(attribute.String("postbus.callback.outcome", string(o)),
		attribute.String("postbus.provider", c.provider), attribute.String("postbus.callback.kind", c.kind))
	t.cfg.Logger.LogAttrs(r.Context(), level, "a provider called", attrs...)
	t.metrics.count(r.Context(), c, o)
}
