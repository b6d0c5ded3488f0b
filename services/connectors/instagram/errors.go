package instagram

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"postbus.dev/services/connectors"
	"postbus.dev/services/connectors/internal/answer"
)

var errNotObject = errors.New("not a JSON object")

// phase is what a call was for: the same code asks for different things.
type phase int

const (
	creating   phase = iota // makes a container: repeatable
	reading                 // decides nothing final
	publishing              // media_publish: what does not prove that nothing happened is unknown
	connecting              // tokens, and whose they are
)

// again says what Prepare does besides trying again.
type again int

const (
	same  again = iota // the same step
	fresh              // with a new container
	few                // with a new container, and not for ever: then the post is refused
)

// action is what an answer asks for.
type action struct {
	kind   connectors.Kind
	again  again
	code   string
	reason string
	scope  connectors.Scope
	wait   time.Duration
}

// judge turns an answer that is no success into the error that the runner
// understands.
func (s *session) judge(ph phase, e *apiError) (*connectors.Error, again) {
	c := s.connector
	act, text := c.errors.decide(ph, e)
	if text == "" {
		text = quotable(e.Message, s.private())
	}
	if act.code == connectors.CodeRateLimited && act.kind == connectors.KindWait {
		act.wait = cmp.Or(regain(e.Header), act.wait)
	}
	return &connectors.Error{
		Kind: act.kind, Code: act.code, Reason: act.reason, Scope: act.scope, Wait: c.scale(act.wait),
		Call: e.Call, ProviderCode: e.providerCode(), Message: text,
	}, act.again
}

// decide goes from what is certain to what is not: HTTP status, table, flag.
// The text is "" where only Meta's own could say more.
func (t errorTable) decide(ph phase, e *apiError) (action, string) {
	if e.Status >= 500 || ph == publishing && e.Status < 400 {
		return otherwise(ph, same), ""
	}
	if e.Unreadable {
		return unreadable(ph, e.Status), "unreadable answer"
	}
	row, ok := t.lookup(e.Code, e.Subcode)
	switch {
	case !ok && (e.Transient || e.Status == http.StatusUnauthorized || e.Status == http.StatusTooManyRequests):
		return unreadable(ph, e.Status), ""
	case !ok:
		return otherwise(ph, few), ""
	case e.Transient && row.prepare.kind == connectors.KindReject:
		return otherwise(ph, same), row.text // Meta itself says that it is not final
	case ph == publishing:
		return row.publish, row.text
	case ph == reading && row.prepare.kind == connectors.KindReject:
		return otherwise(ph, same), row.text
	}
	return row.prepare, row.text
}

// otherwise is the answer to what nobody knows: unknown where it may have been
// carried out, else once more.
func otherwise(ph phase, a again) action {
	if ph == publishing {
		return action{kind: connectors.KindUnknown, code: connectors.CodeUnavailable}
	}
	if ph == reading {
		a = same
	}
	return action{kind: connectors.KindRetry, again: a, code: connectors.CodeUnavailable}
}

// unreadable goes by the HTTP status alone. 401 and 429 are refusals of whoever
// asked, whatever else the answer says.
func unreadable(ph phase, status int) action {
	switch status {
	case http.StatusUnauthorized:
		return refresh()
	case http.StatusTooManyRequests:
		return limited(connectors.ScopeAccount)
	}
	return otherwise(ph, same)
}

func (e *apiError) providerCode() string {
	switch {
	case e.Unreadable:
		return fmt.Sprintf("HTTP %d", e.Status)
	case e.Subcode != 0:
		return fmt.Sprintf("%d/%d", e.Code, e.Subcode)
	}
	return strconv.Itoa(e.Code)
}

// quotable is Meta's text for what the table does not know, or "" where it
// quotes something private: Meta does repeat tokens ("Malformed access token
// EAAB..."), and what it says of a parameter may repeat a caption or a URL.
func quotable(text string, private []string) string {
	const telling = 12 // characters in a row that cannot be there by chance
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
	for _, secret := range private {
		if secret != "" && strings.Contains(text, secret) {
			return ""
		}
		for i := 0; i+telling <= len(text); i++ {
			if strings.Contains(secret, text[i:i+telling]) {
				return ""
			}
		}
	}
	runes := []rune(text)
	return string(runes[:min(len(runes), 200)])
}

// regain is how long Meta says that the limit lasts; 0 when it does not.
func regain(h http.Header) time.Duration {
	var usage map[string][]struct {
		Type    string  `json:"type"`
		Minutes float64 `json:"estimated_time_to_regain_access"`
	}
	if json.Unmarshal([]byte(h.Get("X-Business-Use-Case-Usage")), &usage) != nil {
		return answer.RetryAfter(h)
	}
	var longest time.Duration
	for _, objects := range usage {
		for _, o := range objects {
			if o.Type == Name {
				longest = max(longest, bounded(time.Duration(min(o.Minutes, 1e6)*float64(time.Minute))))
			}
		}
	}
	return longest
}

func bounded(d time.Duration) time.Duration { return min(max(d, 0), day) }
