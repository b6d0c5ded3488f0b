package events

import (
	"bytes"
	"encoding/json"
	"iter"
	"unicode/utf8"
)

// The functions of this file walk JSON that json.Valid has accepted; they never
// look for syntax errors again. They give the raw bytes of each value, which
// encoding/json does not: it repairs what must be reported (lone surrogates,
// invalid UTF-8), folds the case of names and takes the last of two equal ones.

// members yields the raw name (with its quotes) and the raw value of each
// member of an object.
func members(object []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		for i := afterSpace(object, 1); object[i] != '}'; {
			nameEnd := afterString(object, i)
			valueStart := afterSpace(object, afterSpace(object, nameEnd)+1)
			valueEnd := afterValue(object, valueStart)
			if !yield(object[i:nameEnd], object[valueStart:valueEnd]) {
				return
			}
			if i = afterSpace(object, valueEnd); object[i] == ',' {
				i = afterSpace(object, i+1)
			}
		}
	}
}

// elements yields the index and the raw value of each element of an array.
func elements(array []byte) iter.Seq2[int, []byte] {
	return func(yield func(index int, value []byte) bool) {
		n := 0
		for i := afterSpace(array, 1); array[i] != ']'; n++ {
			end := afterValue(array, i)
			if !yield(n, array[i:end]) {
				return
			}
			if i = afterSpace(array, end); array[i] == ',' {
				i = afterSpace(array, i+1)
			}
		}
	}
}

func afterSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

func afterString(b []byte, i int) int {
	for i++; b[i] != '"'; i++ {
		if b[i] == '\\' {
			i++
		}
	}
	return i + 1
}

func afterValue(b []byte, i int) int {
	switch b[i] {
	case '"':
		return afterString(b, i)
	case '{', '[':
		return afterNested(b, i)
	}
	for i < len(b) && bytes.IndexByte([]byte(",]} \n\t\r"), b[i]) < 0 {
		i++
	}
	return i
}

func afterNested(b []byte, i int) int {
	for depth := 0; ; {
		switch b[i] {
		case '"':
			i = afterString(b, i)
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		i++
		if depth == 0 {
			return i
		}
	}
}

// plain tells whether a raw string is ASCII without any escape.
func plain(raw []byte) bool {
	for _, c := range raw {
		if c == '\\' || c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// hasNUL is the one fault of a text that is only ours: databases do not take it.
const hasNUL = "contains U+0000"

// unquote gives the value of a raw string and what a text must not hold but
// this one does.
func unquote(raw []byte) (value string, wrong []string) {
	if plain(raw) {
		return string(raw[1 : len(raw)-1]), nil
	}
	if !utf8.Valid(raw) {
		wrong = append(wrong, "is not valid UTF-8")
	}
	nul, lone := badEscapes(raw)
	if lone {
		wrong = append(wrong, "contains a lone surrogate")
	}
	if nul {
		wrong = append(wrong, hasNUL)
	}
	if err := json.Unmarshal(raw, &value); err != nil {
		wrong = append(wrong, "cannot be read")
	}
	return value, wrong
}

// badEscapes looks for \u0000 and for surrogates that are not a pair.
func badEscapes(raw []byte) (nul, lone bool) {
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		i++
		if raw[i] != 'u' {
			continue
		}
		r := hex4(raw[i+1:])
		i += 4
		switch {
		case r == 0:
			nul = true
		case r >= 0xDC00 && r <= 0xDFFF:
			lone = true
		case r >= 0xD800 && r <= 0xDBFF:
			if next := raw[i+1:]; len(next) < 6 || next[0] != '\\' || next[1] != 'u' || hex4(next[2:]) < 0xDC00 || hex4(next[2:]) > 0xDFFF {
				lone = true
				continue
			}
			i += 6
		}
	}
	return nul, lone
}

func hex4(b []byte) rune {
	var r rune
	for _, c := range b[:4] {
		switch {
		case c >= 'a':
			c -= 'a' - 10
		case c >= 'A':
			c -= 'A' - 10
		default:
			c -= '0'
		}
		r = r<<4 | rune(c)
	}
	return r
}
