package instagram

import (
	"cmp"
	"encoding/json"
	"net/http"

	"postbus.dev/services/connectors"
)

// refused is what an answer means to a person who is connecting an account.
type refused struct {
	kind connectors.Kind
	code string
	text string // "" where Meta's own is to be shown
}

// codeRows is the table of the envelope with error_type. Its code is the HTTP
// status again, so that it does not tell a spent code from a wrong address or
// secret: the person begins anew, and Meta's text says which it was.
func codeRows() map[int]refused {
	again := refused{connectors.KindReject, connectors.CodeReauthRequired, ""}
	client := refused{connectors.KindReject, connectors.CodeInternal, appRefused}
	return map[int]refused{
		http.StatusBadRequest: again, http.StatusUnauthorized: client, http.StatusForbidden: client,
		http.StatusTooManyRequests: {connectors.KindRetry, connectors.CodeRateLimited, "too many calls"},
	}
}

// connectRows says what the kinds of the error table come to here, where
// nothing waits, nothing is refreshed and no post is refused.
func connectRows() map[connectors.Kind]refused {
	return map[connectors.Kind]refused{
		connectors.KindRetry:       {kind: connectors.KindRetry},
		connectors.KindWait:        {kind: connectors.KindRetry},
		connectors.KindRefresh:     {connectors.KindReject, connectors.CodeReauthRequired, "the token is not good any more"},
		connectors.KindReauthorize: {connectors.KindReject, connectors.CodeReauthRequired, ""},
		connectors.KindReject:      {kind: connectors.KindReject},
	}
}

const appRefused = "Instagram refuses our client id or secret"

// refusesApp: our app is unknown or disabled ("Error validating application"),
// whoever's token it is. The code is an old one of Meta's and on no page of this
// API.
func (e *apiError) refusesApp() bool { return !e.Unreadable && !e.OAuth && e.Code == 101 }

// readOAuth reads an answer of the code endpoint. Its errors have an envelope
// of their own, beside the Graph API's.
func readOAuth(resp *connectors.Response, out any) *apiError {
	failure := read(resp, out)
	var e struct {
		Type    string      `json:"error_type"`
		Code    json.Number `json:"code"`
		Message string      `json:"error_message"`
	}
	if resp.Status >= http.StatusInternalServerError || json.Unmarshal(resp.Body, &e) != nil || e.Type == "" {
		return failure
	}
	return &apiError{Status: resp.Status, Code: number(e.Code), Message: e.Message, OAuth: true, Header: resp.Header, Call: resp.Call}
}

// failed is the error of a call that went wrong: it was not answered, or
// refused.
func (k *connection) failed(failure *apiError, err error) error {
	if err != nil {
		return err
	}
	return k.refusal(failure)
}

// refusal turns an answer that is no success into the error of Exchange and
// Import.
func (k *connection) refusal(e *apiError) *connectors.Error {
	act, text := k.errors.decide(connecting, e)
	r := connectRows()[act.kind]
	if row, ok := codeRows()[e.Code]; e.OAuth {
		r, text = row, row.text
		if !ok {
			r = refused{connectors.KindReject, connectors.CodeReauthRequired, ""}
		}
	}
	if e.refusesApp() {
		r = refused{connectors.KindReject, connectors.CodeInternal, appRefused}
	}
	out := &connectors.Error{
		Kind: r.kind, Code: cmp.Or(r.code, act.code), Call: e.Call, ProviderCode: e.providerCode(),
		Message: cmp.Or(r.text, text, quotable(e.Message, k.private)),
	}
	switch out.Code {
	case connectors.CodeContentRejected, connectors.CodeMediaRejected:
		out.Code = connectors.CodeInternal // a parameter of ours
	case connectors.CodeRateLimited:
		out.Wait = k.scale(cmp.Or(regain(e.Header), act.wait, limitWait))
	}
	return out
}

// lacksPermission: who asks is known, and may not.
func (e *apiError) lacksPermission() bool {
	return !e.Unreadable && (e.Code == 3 || e.Code == 10 || e.Code >= 200 && e.Code <= 299)
}
