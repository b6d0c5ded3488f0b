package connect

import (
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"postbus.dev/services/account/internal/page"
	"postbus.dev/services/internal/httpapi"
)

// outcome is how one way ended, for logs, spans and metrics.
type outcome string

const (
	connected       outcome = "connected"
	declined        outcome = "declined"         // the person said no
	providerRefused outcome = "provider_refused" // the provider sent an error of its own
	providerDown    outcome = "provider_down"
	codeRefused     outcome = "code_refused" // spent, expired or not ours
	restricted      outcome = "restricted"   // an account of this sort cannot be connected
	missingScope    outcome = "missing_scope"
	taken           outcome = "taken" // by another user
	disconnecting   outcome = "disconnecting"
	userGone        outcome = "user_gone"
	expired         outcome = "expired"
	linkUsed        outcome = "link_used"
	replayed        outcome = "replayed"
	foreignBrowser  outcome = "foreign_browser"
	unknownLink     outcome = "unknown_link"
	unknownState    outcome = "unknown_state"
	malformed       outcome = "malformed"
	tooMany         outcome = "too_many"
	noProvider      outcome = "no_provider"
	notConfigured   outcome = "not_configured"
	unavailable     outcome = "unavailable" // our database
	failed          outcome = "failed"      // something nobody foresaw
)

// end is one end with what is known of it.
type end struct {
	outcome   outcome
	provider  string // "" for one that there is not
	detail    string // for the person, of the connector
	err       error  // for the log
	user      uuid.UUID
	account   uuid.UUID
	returnTo  string // "" shows a page
	reconnect bool
}

// answer is what an outcome is to a browser.
type answer struct {
	status int
	code   httpapi.Code // "" is success
	title  string
	text   string
}

const again = "Go back to where you came from and start again."

// answerOf says what the person is told. It is one table, so that no two ends
// contradict each other.
func answerOf(o outcome, provider string) answer {
	switch o {
	case connected:
		return answer{200, "", "Connected", "Your " + provider + " account is connected. You can close this page."}
	case declined:
		return answer{403, httpapi.CodeCanceled, "Not connected", "You did not allow the connection at " + provider + ". Nothing was connected or stored."}
	case providerRefused:
		return answer{502, httpapi.CodeProviderUnavailable, "Not connected", provider + " ended the connection with an error. " + again}
	case providerDown:
		return answer{502, httpapi.CodeProviderUnavailable, "Not connected", provider + " does not answer as it should right now. Wait a little. " + again}
	case codeRefused:
		return answer{400, httpapi.CodeReauthRequired, "Not connected", provider + " does not accept this sign-in any more. " + again}
	case restricted:
		return answer{409, httpapi.CodeAccountRestricted, "Not connected", "This " + provider + " account cannot be connected."}
	case missingScope:
		return answer{403, httpapi.CodeMissingScope, "Not connected", "Publishing needs permissions that were not granted at " + provider + ". Nothing was stored. " + again + " Leave all permissions switched on."}
	case taken:
		return answer{409, httpapi.CodeConflict, "Not connected", "This " + provider + " account is connected for somebody else already. It has to be disconnected there first."}
	case disconnecting:
		return answer{409, httpapi.CodeConflict, "Not connected yet", "This " + provider + " account is just being disconnected. Wait ten minutes. " + again}
	case userGone:
		return answer{410, httpapi.CodeNotFound, "Not connected", "Whom this account was to be connected for is not here any more."}
	case expired:
		return answer{410, httpapi.CodeExpired, "This has expired", "It took too long. " + again}
	case linkUsed:
		return answer{410, httpapi.CodeExpired, "This link was used", "An account was connected with this link already. For another one you need a new link."}
	case replayed:
		return answer{409, httpapi.CodeConflict, "Already answered", "This sign-in was received before, and what came of it stands. Look where you came from whether your account is connected. If it is not, start again there."}
	case foreignBrowser:
		return answer{403, httpapi.CodeForbidden, "Not connected", "This sign-in was begun in another browser, or cookies are switched off. Nothing was connected. " + again}
	case unknownLink:
		return answer{404, httpapi.CodeNotFound, "This link does not work", "It may be incomplete. Ask for a new one where you got it."}
	case unknownState, malformed:
		return answer{400, httpapi.CodeValidation, "Not connected", "This address is not complete or not one of ours. " + again}
	default:
		return answerOfOurs(o, provider)
	}
}

// answerOfOurs are the ends that neither the person nor the provider made.
func answerOfOurs(o outcome, provider string) answer {
	switch o {
	case tooMany:
		return answer{429, httpapi.CodeRateLimitExceeded, "Too many attempts", "Too many connections were begun in a short time. Wait ten minutes. " + again}
	case noProvider:
		return answer{404, httpapi.CodeNotFound, "Nothing here", "There is no such provider to connect an account of."}
	case notConfigured:
		return answer{503, httpapi.CodeServiceUnavailable, "Not possible yet", "Accounts of " + provider + " cannot be connected here yet."}
	case unavailable:
		return answer{503, httpapi.CodeServiceUnavailable, "Not connected", "Something does not work here right now. Wait a little. " + again}
	default:
		return answer{500, httpapi.CodeInternal, "Not connected", "Something went wrong here. " + again}
	}
}

// finish tells the browser, the log, the span and the metrics how it ended.
func (f *Flow) finish(w http.ResponseWriter, r *http.Request, e end) {
	a := answerOf(e.outcome, e.provider)
	f.report(r, e, a)
	if e.returnTo != "" {
		f.redirect(w, backTo(e.returnTo, a.code, e.account))
		return
	}
	text := []string{a.text}
	if e.detail != "" {
		text = append(text, e.detail)
	}
	show := page.Page{Title: a.title, Text: text}
	if e.outcome == tooMany {
		w.Header().Set("Retry-After", strconv.Itoa(int(f.cfg.StateLife/time.Second)))
	}
	if a.code != "" {
		show.Reference = w.Header().Get("X-Request-Id")
	}
	f.pages.Show(w, a.status, show)
}

// redirect writes no body: the address is not repeated where it might be kept.
func (f *Flow) redirect(w http.ResponseWriter, address string) {
	f.pages.Guard(w.Header())
	w.Header().Set("Location", address)
	w.WriteHeader(http.StatusSeeOther)
}

// report writes one line. Nothing that came with the request is in it: what is
// named is known to us by then.
func (f *Flow) report(r *http.Request, e end, a answer) {
	ctx := r.Context()
	attrs := []slog.Attr{slog.String("outcome", string(e.outcome)), slog.Int("status", a.status)}
	span := []attribute.KeyValue{attribute.String("postbus.connect.outcome", string(e.outcome))}
	add := func(name, key, value string) {
		if value != "" {
			attrs, span = append(attrs, slog.String(name, value)), append(span, attribute.String(key, value))
		}
	}
	add("provider", "postbus.provider", e.provider)
	add("user", "postbus.user.id", idText(e.user))
	add("account", "postbus.account.id", idText(e.account))
	if e.outcome == connected {
		attrs = append(attrs, slog.Bool("reconnected", e.reconnect))
	}
	if e.err != nil {
		attrs = append(attrs, slog.String("error", e.err.Error()))
	}
	trace.SpanFromContext(ctx).SetAttributes(span...)
	f.cfg.Logger.LogAttrs(ctx, levelOf(e.outcome, a.status), "connecting an account ended", attrs...)
	if e.provider != "" {
		f.metrics.end(ctx, e.provider, e.outcome)
	}
}

// levelOf: an attack looks like one of the warnings, an outage like an error.
func levelOf(o outcome, status int) slog.Level {
	switch {
	case status >= http.StatusInternalServerError && o != providerRefused && o != providerDown:
		return slog.LevelError
	case o == replayed, o == foreignBrowser, o == unknownState, o == unknownLink, o == malformed, status >= http.StatusInternalServerError:
		return slog.LevelWarn
	default:
		return slog.LevelInfo
	}
}

func idText(id uuid.UUID) string {
	if id == uuid.Nil {
		return ""
	}
	return id.String()
}

// failure is an end as a program that called with a key reads it: with the status
// that its code has everywhere.
func (f *Flow) failure(e end) *httpapi.Error {
	a := answerOf(e.outcome, e.provider)
	out := &httpapi.Error{Code: a.code, Message: strings.TrimSuffix(a.text, " "+again), Err: e.err}
	if e.outcome == tooMany {
		out.RetryAfter = f.cfg.StateLife
	}
	return out
}
