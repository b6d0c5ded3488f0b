package connect

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"postbus.dev/events"
	"postbus.dev/services/connectors"
	"postbus.dev/services/internal/httpapi"
)

// maxQuery bounds the query of what a browser opens here.
const maxQuery = 8 << 10

// Register adds the operations. Those of the zero Flow are good for the document
// alone.
func (f *Flow) Register(a *httpapi.API) {
	f.registerLinks(a)
	f.registerStart(a)
	f.registerCallback(a)
}

func (f *Flow) registerStart(a *httpapi.API) {
	httpapi.Handle(a, huma.Operation{
		OperationID: "connect", Method: http.MethodGet, Path: "/api/connect/{provider}", Summary: "Connect an account",
		Description: "Sends a browser to the provider, with a cookie that has to be there when it comes back. " +
			"By a link, or by the API key of a caller who is the user or may act for her.",
		Security: httpapi.OptionalKey(),
		Parameters: []*huma.Param{
			inPath("provider", "The provider to connect an account of"),
			inQuery("link", "Of a link that was made for this browser. What follows comes with a key alone"),
			inQuery("userId", "Your own id of the user. Without it: the user of the API key. Another one needs the scope on_behalf"),
			inQuery("returnTo", "Where the browser is sent afterwards, as for a link"),
		},
		Responses: pages(map[int]string{
			303: "Location is a page of the provider", 400: "The address is malformed", 404: "The link or the provider is not known",
			410: "The link has expired, was used or is for nobody any more", 429: "Too many connections were begun",
			500: "Something went wrong", 502: "The provider does not answer", 503: "The provider is not set up, or something is away",
		}),
	}, []httpapi.Code{httpapi.CodeMissingScope, httpapi.CodeNotFound, httpapi.CodeConflict, httpapi.CodeRateLimitExceeded,
		httpapi.CodeServiceUnavailable, httpapi.CodeProviderUnavailable}, f.start)
}

// start answers GET /api/connect/{provider}. HEAD only looks.
func (f *Flow) start(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead {
		f.pages.Guard(w.Header())
		return
	}
	q, err := readQuery(r.URL, "link", "userId", "returnTo")
	switch {
	case err == nil && q["link"] != "":
		f.startByLink(w, r, q)
	case httpapi.CallerOf(r.Context()).ExternalID != "":
		f.startByKey(w, r, q, err)
	case strings.Contains(r.Header.Get("Accept"), "text/html"):
		f.finish(w, r, end{outcome: unknownLink, provider: f.known(r), err: err})
	default:
		httpapi.WriteFailure(w, r, &httpapi.Error{Code: httpapi.CodeUnauthorized, Message: "open a connect link, or send an API key"})
	}
}

// known is the provider of the path, or "" where there is none of that name: it
// came from outside.
func (f *Flow) known(r *http.Request) string {
	provider := r.PathValue("provider")
	if _, ok := f.authorizer(provider); !ok {
		return ""
	}
	return provider
}

// startByLink answers a person.
func (f *Flow) startByLink(w http.ResponseWriter, r *http.Request, q map[string]string) {
	provider := f.known(r)
	token, ok := hashOf(q["link"])
	switch {
	case provider == "":
		f.finish(w, r, end{outcome: noProvider})
		return
	case !ok:
		f.finish(w, r, end{outcome: unknownLink, provider: provider})
		return
	case q["userId"] != "" || q["returnTo"] != "": // the link says both
		f.finish(w, r, end{outcome: malformed, provider: provider})
		return
	}
	b, err := f.store.link(r.Context(), token, provider)
	if err == nil {
		var address string
		if address, err = f.begin(w, r, b); err == nil {
			f.redirect(w, address)
			return
		}
	}
	f.finish(w, r, end{outcome: notBegun(err), provider: provider, user: b.user, err: err})
}

// startByKey answers a program.
func (f *Flow) startByKey(w http.ResponseWriter, r *http.Request, q map[string]string, err error) {
	if err != nil {
		httpapi.WriteFailure(w, r, httpapi.Invalid(events.Violation{Field: "query", Rule: "format", Message: err.Error()}))
		return
	}
	b, err := f.asked(r.Context(), r.PathValue("provider"), "query.", linkBody{UserID: q["userId"], ReturnTo: q["returnTo"]})
	if err != nil {
		httpapi.WriteFailure(w, r, err)
		return
	}
	address, err := f.begin(w, r, b)
	if err != nil {
		e := end{outcome: notBegun(err), provider: b.provider, user: b.user, err: err}
		f.report(r, e, answerOf(e.outcome, e.provider))
		httpapi.WriteFailure(w, r, f.failure(e))
		return
	}
	f.redirect(w, address)
}

// begin makes a state, gives the browser its cookie and returns where to send it.
func (f *Flow) begin(w http.ResponseWriter, r *http.Request, b beginning) (string, error) {
	ctx := r.Context()
	auth, _ := f.authorizer(b.provider)
	state, cookie := newToken(), newToken()
	stateSum, _ := hashOf(state)
	cookieSum, _ := hashOf(cookie)
	ask := connectors.AuthorizeRequest{State: state, RedirectURI: f.redirectURI(b.provider)}
	var verifier connectors.Secret
	if auth.PKCE() {
		verifier = connectors.NewSecret(newToken())
		ask.Challenge = challenge(verifier)
	}
	if err := f.store.addState(ctx, stateSum, cookieSum, b, verifier, f.cfg.StateLife); err != nil {
		return "", err
	}
	address, err := f.authorizeURL(ctx, auth, ask)
	if err != nil {
		return "", err
	}
	f.cookies.set(w, stateSum, cookie)
	f.metrics.start(ctx, b.provider)
	f.cfg.Logger.InfoContext(ctx, "connecting an account begins", "provider", b.provider, "user", b.user, "by_link", b.link != nil)
	return address, nil
}

func (f *Flow) authorizeURL(ctx context.Context, auth connectors.Authorizer, ask connectors.AuthorizeRequest) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, providerLimit)
	defer cancel()
	return auth.AuthorizeURL(ctx, ask)
}

// notBegun is the outcome of an error on the way to the provider.
func notBegun(err error) outcome {
	var e *connectors.Error
	switch {
	case errors.Is(err, errUnknown), errors.Is(err, errProvider):
		return unknownLink
	case errors.Is(err, errUsed):
		return linkUsed
	case errors.Is(err, errExpired):
		return expired
	case errors.Is(err, errUserDeleting):
		return userGone
	case errors.Is(err, errTooMany):
		return tooMany
	case errors.Is(err, connectors.ErrNotConfigured):
		return notConfigured
	case errors.As(err, &e):
		return providerDown
	default:
		return ours(err)
	}
}

// readQuery returns the parameters with these names. Each may be there once: of
// two it would be a guess which one counts. Others are nobody's business, since
// what passes links on appends to them.
func readQuery(u *url.URL, names ...string) (map[string]string, error) {
	if len(u.RawQuery) > maxQuery {
		return nil, errors.New("the query is too long")
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errors.New("the query is malformed") // the parser's own text quotes it
	}
	out := map[string]string{}
	for _, name := range names {
		values := q[name]
		switch {
		case len(values) > 1:
			return nil, errors.New("a parameter is there more than once")
		case len(values) == 1 && (!utf8.ValidString(values[0]) || strings.ContainsRune(values[0], 0)):
			return nil, errors.New("a parameter is not text")
		case len(values) == 1:
			out[name] = values[0]
		}
	}
	return out, nil
}
