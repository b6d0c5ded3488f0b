// Package answer reads what the answers of several providers have in common.
package answer

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ID is an id that an answer gives as a string or as a number too large for a
// float.
type ID string

// UnmarshalJSON reads both forms.
func (i *ID) UnmarshalJSON(b []byte) error {
	var n json.Number
	if err := json.Unmarshal(b, &n); err == nil {
		*i = ID(strings.TrimSpace(n.String()))
		return nil
	}
	return json.Unmarshal(b, (*string)(i))
}

// Life reads an expires_in, in seconds: at most ten years, and 0 where it is not
// told or makes no sense.
func Life(n json.Number) time.Duration {
	const most = 10 * 365 * 24 * 60 * 60
	seconds, err := n.Int64()
	if err != nil || seconds < 0 {
		return 0
	}
	return time.Duration(min(seconds, most)) * time.Second
}

// Scopes are the names in a scope, with commas or spaces between them.
func Scopes(scope string) []string {
	return strings.FieldsFunc(scope, func(r rune) bool { return r == ',' || r == ' ' })
}

// Missing are the scopes that are needed and not among those granted.
func Missing(granted []string, needed ...string) (names []string) {
	for _, name := range needed {
		if !slices.Contains(granted, name) {
			names = append(names, name)
		}
	}
	return names
}

// RetryAfter is how long the header of that name asks to wait, at most a day; 0
// where it does not say so in seconds.
func RetryAfter(h http.Header) time.Duration {
	seconds, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil {
		return 0
	}
	return time.Duration(min(max(seconds, 0), 24*60*60)) * time.Second
}
