package connect

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/httpapi"
	"postbus.dev/services/internal/oauthaccount"
	"postbus.dev/services/internal/postgres"
)

const (
	providerLimit = 60 * time.Second // for all calls of one step; each has a limit of its own
	writeLimit    = 15 * time.Second // to store a grant, or to find a state
	maxCode       = 4 << 10
)

func (f *Flow) registerCallback(a *httpapi.API) {
	httpapi.Handle(a, huma.Operation{
		OperationID: "connect-callback", Method: http.MethodGet, Path: "/api/connect/{provider}/callback", Summary: "Come back from a provider",
		Description: "Where a provider sends the browser back to: its address is to be registered there. " +
			"It answers with a page, or, where an address to return to was given, by sending the browser there.",
		Security: httpapi.Public(),
		Parameters: []*huma.Param{
			inPath("provider", "The provider that sends the browser"), inQuery("state", "What the browser was sent away with"),
			inQuery("code", "What the provider gives for the tokens"), inQuery("error", "Why there is none"),
		},
		Responses: pages(map[int]string{
			200: "The account is connected", 303: "Location is the address to return to, with how it ended", 400: "The address, or the code, is not good",
			403: "Another browser began this, the person declined, or permissions are missing", 404: "There is no such provider",
			409: "The account belongs to another user or is being disconnected, or this was received before", 410: "It took too long, or is for nobody any more",
			500: "Something went wrong", 502: "The provider failed", 503: "Something is away",
		}),
	}, nil, f.callback)
}

// callback answers GET /api/connect/{provider}/callback. HEAD only looks.
func (f *Flow) callback(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead {
		f.pages.Guard(w.Header())
		return
	}
	f.finish(w, r, f.comeBack(w, r))
}

// comeBack runs to its end even if the browser goes away: what a provider gave
// must not be lost half-way.
func (f *Flow) comeBack(w http.ResponseWriter, r *http.Request) end {
	ctx := context.WithoutCancel(r.Context())
	provider := f.known(r)
	if provider == "" {
		return end{outcome: noProvider}
	}
	q, err := readQuery(r.URL, "state", "code", "error")
	if err != nil || len(q["code"]) > maxCode || (q["code"] != "" && q["error"] != "") {
		return end{outcome: malformed, provider: provider, err: err}
	}
	state, ok := hashOf(q["state"])
	if !ok {
		return end{outcome: unknownState, provider: provider}
	}
	browser, _ := f.cookies.of(r, state) // without one it is the browser of no state
	b, verifier, err := f.consume(ctx, state, browser, provider)
	if err != nil {
		return notConsumed(b, err)
	}
	f.cookies.clear(w, state)
	e := f.settle(ctx, b, q, verifier)
	e.provider, e.user, e.returnTo = provider, b.user, b.returnTo
	return e
}

func (f *Flow) consume(ctx context.Context, state, browser hash, provider string) (beginning, connectors.Secret, error) {
	ctx, cancel := context.WithTimeout(ctx, writeLimit)
	defer cancel()
	return f.store.consume(ctx, state, browser, provider)
}

// notConsumed sends nobody anywhere unless it is the browser that began.
func notConsumed(b beginning, err error) end {
	e := end{provider: b.provider, user: b.user, err: err}
	switch {
	case errors.Is(err, errUnknown), errors.Is(err, errProvider):
		e.outcome = unknownState
	case errors.Is(err, errUsed):
		e.outcome = replayed
	case errors.Is(err, errBrowser):
		e.outcome = foreignBrowser
	case errors.Is(err, errExpired):
		e.outcome, e.returnTo = expired, b.returnTo
	case errors.Is(err, errLinkUsed):
		e.outcome, e.returnTo = linkUsed, b.returnTo
	case errors.Is(err, errUserDeleting):
		e.outcome, e.returnTo = userGone, b.returnTo
	default:
		e.outcome = ours(err)
	}
	return e
}

// settle turns what the provider sent into an account.
func (f *Flow) settle(ctx context.Context, b beginning, q map[string]string, verifier connectors.Secret) end {
	switch q["error"] {
	case "":
	case "access_denied":
		return end{outcome: declined}
	case "server_error", "temporarily_unavailable":
		return end{outcome: providerDown, err: errors.New(q["error"])}
	default:
		return end{outcome: providerRefused, err: refusal(q["error"])}
	}
	grant, err := f.exchange(ctx, b.provider, connectors.Exchange{
		Code: connectors.NewSecret(q["code"]), State: q["state"], RedirectURI: f.redirectURI(b.provider), Verifier: verifier,
	})
	if err != nil {
		return notExchanged(err)
	}
	if len(grant.Missing) > 0 {
		f.discard(ctx, b, grant)
		return end{outcome: missingScope, detail: "Missing: " + strings.Join(grant.Missing, ", "),
			err: fmt.Errorf("missing scopes: %s", strings.Join(grant.Missing, ", "))}
	}
	return f.keep(ctx, b, grant)
}

// refusal repeats a provider's error only if it looks like the word that OAuth
// has there.
func refusal(word string) error {
	odd := func(r rune) bool { return (r < 'a' || r > 'z') && r != '_' }
	if len(word) > 64 || strings.ContainsFunc(word, odd) {
		word = "an error that is no word"
	}
	return errors.New(word)
}

// exchange spends the code. It is called once for each state.
func (f *Flow) exchange(ctx context.Context, provider string, x connectors.Exchange) (connectors.Grant, error) {
	ctx, span := f.tracer.Start(ctx, "connect exchange")
	defer span.End()
	ctx, cancel := context.WithTimeout(ctx, providerLimit)
	defer cancel()
	auth, _ := f.authorizer(provider)
	return auth.Exchange(ctx, x)
}

func notExchanged(err error) end {
	var e *connectors.Error
	switch {
	case errors.Is(err, connectors.ErrNotConfigured):
		return end{outcome: notConfigured, err: err}
	case !errors.As(err, &e):
		return end{outcome: failed, err: err}
	case e.Kind != connectors.KindReject:
		return end{outcome: providerDown, err: err}
	}
	switch e.Code {
	case connectors.CodeReauthRequired:
		return end{outcome: codeRefused, err: err}
	case connectors.CodeAccountRestricted:
		return end{outcome: restricted, detail: e.Message, err: err}
	default:
		return end{outcome: providerRefused, err: err}
	}
}

// keep writes the account.
func (f *Flow) keep(ctx context.Context, b beginning, grant connectors.Grant) end {
	c, err := f.write(ctx, oauthaccount.Granted(b.user, b.provider, grant, time.Now()))
	switch {
	case errors.Is(err, oauthaccount.ErrTaken):
		return end{outcome: taken, err: err}
	case errors.Is(err, oauthaccount.ErrDisconnecting):
		return end{outcome: disconnecting, err: err}
	case errors.Is(err, oauthaccount.ErrUserGone):
		f.discard(ctx, b, grant)
		return end{outcome: userGone, err: err}
	case err != nil:
		return end{outcome: ours(err), err: err}
	}
	if b.link != nil {
		if err := f.endLink(ctx, *b.link); err != nil { // the account is connected all the same, and the link expires
			f.cfg.Logger.WarnContext(ctx, "end a connect link that was used", "error", err)
		}
	}
	return end{outcome: connected, account: c.Account.ID, reconnect: c.Reconnected}
}

func (f *Flow) endLink(ctx context.Context, token hash) error {
	ctx, cancel := context.WithTimeout(ctx, writeLimit)
	defer cancel()
	return f.store.useLink(ctx, token)
}

// write tries again while the database is away for a moment: the code is spent,
// and some providers have ended the tokens before these by now. Where a commit's
// answer was lost, the second try is a reconnect.
func (f *Flow) write(ctx context.Context, n oauthaccount.New) (oauthaccount.Connected, error) {
	ctx, cancel := context.WithTimeout(ctx, writeLimit)
	defer cancel()
	for wait := 100 * time.Millisecond; ; wait *= 2 {
		c, err := f.cfg.Accounts.Connect(ctx, n)
		if err == nil || ours(err) != unavailable {
			return c, err
		}
		select {
		case <-ctx.Done():
			return c, err
		case <-time.After(wait):
		}
	}
}

// ours is the outcome of an error of our own.
func ours(err error) outcome {
	if postgres.IsUnavailable(err) || postgres.IsContention(err) || postgres.IsAmbiguous(err) {
		return unavailable
	}
	return failed
}

// discard revokes a grant that is not kept, as well as that goes. One of an
// account that is connected here stays: providers end all grants of an account
// to an app at once, and the working one would go with it.
func (f *Flow) discard(ctx context.Context, b beginning, g connectors.Grant) {
	revoker, ok := f.cfg.Connectors[b.provider].(connectors.Revoker)
	keys := connectors.AccountKeys(g.ProviderAccountID, g.Metadata)
	if !ok || len(keys) == 0 || g.AccessToken.Empty() {
		return
	}
	ctx, span := f.tracer.Start(ctx, "connect revoke")
	defer span.End()
	ctx, cancel := context.WithTimeout(ctx, providerLimit)
	defer cancel()
	there, err := f.cfg.Accounts.Find(ctx, b.provider, keys)
	for _, a := range there {
		if a.Status != oauthaccount.Disconnected {
			return
		}
	}
	if err == nil {
		err = revoker.Revoke(ctx, connectors.Account{
			UserID: b.user.String(), Provider: b.provider, ProviderAccountID: g.ProviderAccountID, Username: g.Username,
			AccessToken: g.AccessToken, TokenType: g.TokenType, Scope: g.Scope, Metadata: g.Metadata,
		}, g.RefreshToken)
	}
	if err != nil {
		f.cfg.Logger.WarnContext(ctx, "revoke a grant that is not kept", "provider", b.provider, "user", b.user, "error", err)
	}
}
