// Package callback takes what providers send us by themselves: that a person
// removed our app, that a person's data shall be deleted, that something happened
// to a post.
//
// A call is believed when the provider's connector has verified its signature,
// and acted on once: what was signed leaves a digest, in the transaction of what
// is done about it. A copy is answered as the first one was, and does nothing. A
// call that was made long ago is refused, and so is one that ends a connection and
// does not say when; digests are kept for longer than that, so that no copy of
// such a call is ever new again.
//
// Nobody learns from an answer whether an account is connected here.
package callback

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"

	"postbus.dev/services/account/internal/page"
	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/httpapi"
	"postbus.dev/services/internal/oauthaccount"
)

// Config says what callbacks are taken with.
type Config struct {
	Pool       *pgxpool.Pool                   // required
	Accounts   Accounts                        // required
	Connectors map[string]connectors.Connector // by provider; those that are CallbackReaders can call
	Service    string                          // whose outbox events go to; required
	Wrote      func()                          // called after events were appended; may be nil
	PublicURL  string                          // what browsers see of this API

	// MaxAge is how long ago a call may have been made; default 7 days: some
	// providers try for three. It has to be less than the 90 days that digests are
	// kept.
	MaxAge time.Duration

	Logger *slog.Logger         // default discards
	Meter  metric.MeterProvider // default none
}

// Accounts is what callbacks need of the accounts; *oauthaccount.Store is it.
type Accounts interface {
	// DisconnectIn begins to disconnect the selected accounts, in a transaction of
	// the caller's.
	DisconnectIn(ctx context.Context, tx pgx.Tx, sel oauthaccount.Select, reason string, erase bool) ([]oauthaccount.Account, error)
	// Find returns the provider's accounts that one of the keys names.
	Find(ctx context.Context, provider string, keys []string) ([]oauthaccount.Account, error)
	// EraseFormerIn asks for the same of those that the keys named before another
	// user connected them.
	EraseFormerIn(ctx context.Context, tx pgx.Tx, provider string, keys []string) ([]uuid.UUID, error)
	// Left counts those that are not erased yet.
	Left(ctx context.Context, ids [][16]byte) (int, error)
}

// Taker takes callbacks. It is safe for concurrent use.
type Taker struct {
	cfg     Config
	store   store
	pages   *page.Pages
	metrics *metrics
}

// New returns a Taker. Register adds its operations to an API, Run is to run
// beside it.
func New(cfg Config) (*Taker, error) {
	cfg.MaxAge = cmp.Or(cfg.MaxAge, 7*24*time.Hour)
	switch {
	case cfg.Pool == nil || cfg.Accounts == nil || cfg.Service == "" || cfg.PublicURL == "":
		return nil, errors.New("make taker of callbacks: Pool, Accounts, Service and PublicURL are required")
	case cfg.MaxAge >= kept:
		return nil, errors.New("make taker of callbacks: calls may be no older than digests are kept")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Wrote == nil {
		cfg.Wrote = func() {}
	}
	if cfg.Meter == nil {
		cfg.Meter = metricnoop.NewMeterProvider()
	}
	m, err := newMetrics(cfg.Meter)
	if err != nil {
		return nil, err
	}
	cfg.PublicURL = strings.TrimSuffix(cfg.PublicURL, "/")
	return &Taker{cfg: cfg, store: store{pool: cfg.Pool, accounts: cfg.Accounts, service: cfg.Service}, pages: page.New(), metrics: m}, nil
}

// Register adds the operations. Those of the zero Taker are good for the document
// alone.
func (t *Taker) Register(a *httpapi.API) {
	httpapi.Handle(a, huma.Operation{
		OperationID: "provider-callback", Method: http.MethodPost, Path: "/api/callbacks/{provider}/{kind}", Summary: "For providers: something happened",
		Description: "deauthorize: a person removed our app. deletion: a person's data shall be deleted. webhook: something about a post. " +
			"The provider's signature has to be right. A call that was taken before is answered as it was then.",
		Security:   httpapi.Public(),
		Parameters: []*huma.Param{inPath("provider"), inPath("kind")},
		RequestBody: &huma.RequestBody{Content: map[string]*huma.MediaType{
			"application/json": {}, "application/x-www-form-urlencoded": {},
		}},
		Responses: map[string]*huma.Response{
			"200": {Description: "Taken. With deletion: what the person is told", Headers: noStore(), Content: map[string]*huma.MediaType{"application/json": {Schema: deletionSchema()}}},
		},
	}, []httpapi.Code{httpapi.CodeForbidden, httpapi.CodeNotFound, httpapi.CodeServiceUnavailable}, t.post)
	httpapi.Handle(a, huma.Operation{
		OperationID: "provider-challenge", Method: http.MethodGet, Path: "/api/callbacks/{provider}/webhook", Summary: "For providers: is this address yours?",
		Security:   httpapi.Public(),
		Parameters: []*huma.Param{inPath("provider")},
		Responses: map[string]*huma.Response{
			"200": {Description: "The challenge", Headers: noStore(), Content: map[string]*huma.MediaType{"text/plain": {}}},
		},
	}, []httpapi.Code{httpapi.CodeForbidden, httpapi.CodeNotFound, httpapi.CodeServiceUnavailable}, t.challenge)
	t.registerDeletions(a)
}

func inPath(name string) *huma.Param {
	return &huma.Param{Name: name, In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString}}
}

func noStore() map[string]*huma.Param {
	return map[string]*huma.Param{"Cache-Control": httpapi.NoStore(true)}
}

// Run forgets what is older than digests are kept, until ctx ends.
func (t *Taker) Run(ctx context.Context) error {
	tick := time.NewTicker(6 * time.Hour)
	defer tick.Stop()
	for {
		if err := t.store.sweep(ctx); err != nil && ctx.Err() == nil {
			t.cfg.Logger.WarnContext(ctx, "forget old callbacks", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
