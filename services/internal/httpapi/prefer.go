package httpapi

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"postbus.dev/events"
)

// Preference is what a Prefer header (RFC 7240) asks about waiting.
type Preference struct {
	Wait time.Duration
	Told bool // wait or respond-async was there
}

// ParsePrefer reads wait=N (seconds) and respond-async. What it does not
// understand it ignores, as the RFC asks: a preference is no condition. Of two
// equal names the first counts.
func ParsePrefer(h http.Header) Preference {
	var wait, async Preference
	for _, line := range h.Values("Prefer") {
		for item := range strings.SplitSeq(line, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(cutParameters(item)), "=")
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "wait":
				n, err := strconv.ParseUint(strings.Trim(strings.TrimSpace(value), `"`), 10, 31)
				if err == nil && !wait.Told {
					wait = Preference{Wait: time.Duration(n) * time.Second, Told: true}
				}
			case "respond-async":
				async = Preference{Told: true}
			}
		}
	}
	if wait.Told {
		return wait
	}
	return async
}

func cutParameters(item string) string {
	s, _, _ := strings.Cut(item, ";")
	return s
}

// MaxKeyLength is the most characters that an Idempotency-Key may have.
const MaxKeyLength = 255

// IdempotencyKey reads the header of that name: a quoted string, as
// draft-ietf-httpapi-idempotency-key-header has it, or the bare text that most
// callers send. Both forms of a text are one key. Without the header it is "".
func IdempotencyKey(h http.Header) (string, *events.Violation) {
	const field = "header.Idempotency-Key"
	values := h.Values("Idempotency-Key")
	if len(values) == 0 {
		return "", nil
	}
	if len(values) > 1 {
		return "", &events.Violation{Field: field, Rule: "single", Message: "is there more than once"}
	}
	key, ok := parseKey(strings.Trim(values[0], " \t"))
	switch {
	case !ok:
		return "", &events.Violation{Field: field, Rule: "format", Message: "must be printable ASCII without spaces, or a quoted string"}
	case key == "":
		return "", &events.Violation{Field: field, Rule: "minLength", Message: "is empty"}
	case len(key) > MaxKeyLength:
		return "", &events.Violation{Field: field, Rule: "maxLength", Message: "is longer than 255 characters"}
	}
	return key, nil
}

func parseKey(s string) (string, bool) {
	if !strings.HasPrefix(s, `"`) {
		odd := func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == ',' }
		return s, !strings.ContainsFunc(s, odd)
	}
	if len(s) < 2 || !strings.HasSuffix(s, `"`) {
		return "", false
	}
	return unquote(s[1 : len(s)-1])
}

// unquote reads the inside of an sf-string (RFC 9651): printable ASCII in which
// a backslash stands before a quote or a backslash, and only there.
func unquote(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\' && i+1 < len(s) && (s[i+1] == '"' || s[i+1] == '\\'):
			i++
			c = s[i]
		case c == '\\' || c == '"' || c < ' ' || c > '~':
			return "", false
		}
		b.WriteByte(c)
	}
	return b.String(), true
}
