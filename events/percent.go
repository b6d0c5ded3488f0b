package events

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// percentEncode writes an attribute value as a header value: space, double
// quote, percent and everything outside U+0021 to U+007E become the percent-
// encoded bytes of their UTF-8.
func percentEncode(s string) string {
	n := 0
	for i := range len(s) {
		if mustEncode(s[i]) {
			n++
		}
	}
	if n == 0 {
		return s
	}
	const hex = "0123456789ABCDEF"
	b := make([]byte, 0, len(s)+2*n)
	for i := range len(s) {
		if c := s[i]; mustEncode(c) {
			b = append(b, '%', hex[c>>4], hex[c&15])
		} else {
			b = append(b, c)
		}
	}
	return string(b)
}

func mustEncode(c byte) bool { return c <= ' ' || c == '"' || c == '%' || c > '~' }

var (
	errBadPercent = errors.New("has a percent sign without two hexadecimal digits")
	errBadUTF8    = errors.New("is not valid UTF-8")
	errBadQuoted  = errors.New("has a quoted string that does not end")
)

// percentDecode reads a header value: a quoted string is unquoted first, then
// one round of percent-decoding follows, of needless escapes too. What stands
// there unencoded is taken as it is, because many producers do not encode.
func percentDecode(s string) (string, error) {
	s, err := unquoteHeader(s)
	if err != nil {
		return "", err
	}
	if strings.IndexByte(s, '%') >= 0 {
		b := make([]byte, 0, len(s))
		for i := 0; i < len(s); i++ {
			if s[i] != '%' {
				b = append(b, s[i])
				continue
			}
			if i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
				return "", errBadPercent
			}
			b = append(b, byte(hex4([]byte{'0', '0', s[i+1], s[i+2]})))
			i += 2
		}
		s = string(b)
	}
	if !utf8.ValidString(s) {
		return "", errBadUTF8
	}
	return s, nil
}

// unquoteHeader reads the quoted string of RFC 7230, which earlier versions of
// the binding allowed; other values it leaves as they are.
func unquoteHeader(s string) (string, error) {
	if len(s) == 0 || s[0] != '"' {
		return s, nil
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			if i != len(s)-1 {
				return "", errBadQuoted
			}
			return b.String(), nil
		case '\\':
			if i++; i == len(s) {
				return "", errBadQuoted
			}
		}
		b.WriteByte(s[i])
	}
	return "", errBadQuoted
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}
