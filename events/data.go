package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"time"
	"unicode/utf8"
)

// Data is the data of one event type.
type Data interface {
	// EventType is the type of the event that carries it.
	EventType() string
	// SchemaVersion is the version of its schema, such as "1.0".
	SchemaVersion() string
	// Validate returns a *ValidationError that lists everything wrong, or nil.
	Validate() error
}

// PublishRef says which publish an event is about. AccountID and Provider are
// "" only where an invalid or canceled request never told a usable one.
type PublishRef struct {
	PublishID     string `json:"publishId"`     // PublishID(RequestSource, RequestID)
	RequestSource string `json:"requestSource"` // CloudEvents source of the request
	RequestID     string `json:"requestId"`     // CloudEvents id of the request
	AccountID     string `json:"accountId,omitempty"`
	Provider      string `json:"provider,omitempty"`
}

func (r *PublishRef) fields() []field {
	return []field{
		{"publishId", &r.PublishID, requiredNonEmpty},
		{"requestSource", &r.RequestSource, requiredNonEmpty},
		{"requestId", &r.RequestID, requiredNonEmpty},
		{"accountId", &r.AccountID, nonEmpty},
		{"provider", &r.Provider, nonEmpty},
	}
}

// check reports what is wrong with r; a publish that got as far as its account
// names it.
func (r PublishRef) check(accountKnown bool, f *faults) {
	checkUUID(f, "/publishId", r.PublishID, true)
	checkWord(f, "/requestSource", r.RequestSource, true)
	checkWord(f, "/requestId", r.RequestID, true)
	checkUUID(f, "/accountId", r.AccountID, accountKnown)
	checkWord(f, "/provider", r.Provider, accountKnown)
}

// checkWord reports a missing word.
func checkWord(f *faults, path, value string, need bool) {
	if value == "" && need {
		f.add(path, "required", "is missing")
	}
}

// checkUUID reports what is not a UUID in its usual form of 36 characters.
func checkUUID(f *faults, path, value string, need bool) {
	if value == "" {
		checkWord(f, path, value, need)
		return
	}
	if !isUUID(value) {
		f.add(path, "format", "must be a UUID")
	}
}

func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if !strings.ContainsRune("0123456789abcdefABCDEF", rune(c)) {
				return false
			}
		}
	}
	return true
}

// checkCode reports what is not a short name of the given letters, digits and _.
func checkCode(f *faults, path, value, letters string) {
	if value == "" {
		f.add(path, "required", "is missing")
		return
	}
	if len(value) > 64 || !strings.Contains(letters, value[:1]) || strings.Trim(value, letters+"0123456789_") != "" {
		f.add(path, "pattern", "must be a name of at most 64 of the characters %s...%s, digits and _", letters[:1], letters[len(letters)-1:])
	}
}

const (
	lowerLetters = "abcdefghijklmnopqrstuvwxyz"
	upperLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

func checkInstant(f *faults, path string, t time.Time) {
	if t.IsZero() {
		f.add(path, "required", "is missing")
	}
}

func checkAtLeast(f *faults, path string, n, least int64) {
	if n < least {
		f.add(path, "minimum", "must be at least %d", least)
	}
}

// checkFree reports JSON that is there and no object.
func checkFree(f *faults, path string, raw json.RawMessage) {
	if len(raw) > 0 && (!json.Valid(raw) || raw[afterSpace(raw, 0)] != '{') {
		f.add(path, "type", "must be an object")
	}
}

// parseInstant reads an RFC 3339 time, which always has an offset. The standard
// library alone takes more than that: a comma, hours of one digit.
func parseInstant(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if err == nil && looksLikeRFC3339(s) {
		return t, nil
	}
	if _, naive := time.Parse("2006-01-02T15:04:05", s); naive == nil {
		return time.Time{}, errors.New("must have an offset, such as Z or +02:00")
	}
	return time.Time{}, errors.New("must be an RFC 3339 time with an offset")
}

// looksLikeRFC3339 checks the shape of a time whose numbers time.Parse has
// checked, except those of the offset.
func looksLikeRFC3339(s string) bool {
	const seconds, offset = "0000-00-00T00:00:00", "+00:00"
	if len(s) <= len(seconds) || !shaped(s[:len(seconds)], seconds) {
		return false
	}
	rest := s[len(seconds):]
	if rest[0] == '.' {
		rest = strings.TrimLeft(rest[1:], "0123456789")
	}
	if rest == "Z" {
		return true
	}
	return shaped(strings.Replace(rest, "-", "+", 1), offset) && rest[1:3] < "24" && rest[4:6] < "60"
}

// shaped tells whether s has a digit wherever the pattern has 0, and is else the
// same.
func shaped(s, pattern string) bool {
	if len(s) != len(pattern) {
		return false
	}
	for i := range len(s) {
		isDigit := s[i] >= '0' && s[i] <= '9'
		if pattern[i] == '0' && !isDigit || pattern[i] != '0' && s[i] != pattern[i] {
			return false
		}
	}
	return true
}

// EncodeJSON writes v as JSON that any reader takes, a jsonb column too: what
// cannot stand in a JSON text of this contract (U+0000, invalid UTF-8, lone
// surrogates, all of them possible in what a provider answers) becomes U+FFFD,
// so that no foreign text can keep an event from being sent or a row from being
// written.
func EncodeJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // URLs stay readable in "nats sub"
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	data := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	var f faults
	if checkTexts("", data, maxDepth, &f); len(f.list) == 0 {
		return data, nil
	}
	return cleanJSON(data)
}

func cleanJSON(data []byte) ([]byte, error) {
	var v any
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(cleanValue(v)); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func cleanValue(v any) any {
	switch v := v.(type) {
	case string:
		return cleanText(v)
	case []any:
		for i := range v {
			v[i] = cleanValue(v[i])
		}
	case map[string]any:
		for name, value := range v {
			delete(v, name)
			v[cleanText(name)] = cleanValue(value)
		}
	}
	return v
}

func cleanText(s string) string {
	if utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}
