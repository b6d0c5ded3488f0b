package httpapi

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"postbus.dev/events"
)

// maxViolations bounds an answer: a body can hold a fault in every few bytes.
const maxViolations = 100

// ReadBody reads the body of a request as the document describes a T: what is
// documented is what is checked. The error is Invalid with every fault: text
// that is no JSON or cannot be stored, members that are unknown, missing or
// there twice, wrong types, and each rule of the schema. No value is in it.
func ReadBody[T any](a *API, raw []byte) (T, error) {
	var body T
	registry := a.huma.OpenAPI().Components.Schemas
	r := bodyReader{raw: raw, dec: json.NewDecoder(bytes.NewReader(raw)), registry: registry}
	r.dec.UseNumber()
	switch {
	case !json.Valid(raw):
		r.fault("", "json", "%s", events.NotJSON(raw))
	case !utf8.Valid(raw):
		r.fault("", "characters", "is not UTF-8")
	default:
		r.value("", registry.Schema(reflect.TypeFor[T](), true, ""))
	}
	if len(r.faults) > 0 {
		return body, Invalid(r.faults...)
	}
	if err := json.Unmarshal(raw, &body); err != nil {
		return body, Invalid(events.Violation{Rule: "type", Message: "does not have the form that is documented"})
	}
	return body, nil
}

// bodyReader walks through valid JSON and a schema at the same time.
type bodyReader struct {
	raw      []byte
	dec      *json.Decoder
	registry huma.Registry
	faults   []events.Violation
}

func (r *bodyReader) fault(field, rule, format string, args ...any) {
	if len(r.faults) < maxViolations {
		r.faults = append(r.faults, events.Violation{Field: field, Rule: rule, Message: fmt.Sprintf(format, args...)})
	}
}

// value reads the next value, which is at path and should be an s.
func (r *bodyReader) value(path string, s *huma.Schema) {
	for s.Ref != "" {
		s = r.registry.SchemaFromRef(s.Ref)
	}
	begin := r.dec.InputOffset()
	token, err := r.dec.Token()
	if err != nil {
		return // the text is valid: there is always a next token
	}
	if kind := kindOf(token); kind != s.Type && (kind != huma.TypeNumber || s.Type != huma.TypeInteger) {
		if kind != "null" || !s.Nullable {
			r.fault(path, "type", "must be %s, not %s", article(s.Type), article(kind))
		}
		r.skip(token)
		return
	}
	switch t := token.(type) {
	case json.Delim:
		if t == '{' {
			r.object(path, s)
		} else {
			r.array(path, s)
		}
	case string:
		r.characters(path, begin, t)
		r.text(path, s, t)
	case json.Number:
		r.number(path, s, t)
	}
}

// skip reads to the end of a value that began with token.
func (r *bodyReader) skip(token json.Token) {
	for depth := 0; ; {
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return
		}
		var err error
		if token, err = r.dec.Token(); err != nil {
			return
		}
	}
}

func (r *bodyReader) object(path string, s *huma.Schema) {
	seen := map[string]bool{}
	for r.dec.More() {
		token, err := r.dec.Token()
		if err != nil {
			return
		}
		name, _ := token.(string)
		member, known := s.Properties[name]
		switch {
		case seen[name]:
			r.fault(pointer(path, name), "duplicate", "is there twice")
			known = false
		case !known && s.AdditionalProperties == false:
			r.fault(pointer(path, name), "additionalProperties", "is not a known field")
		}
		seen[name] = true
		if known {
			r.value(path+"/"+name, member)
		} else if token, err = r.dec.Token(); err == nil {
			r.skip(token)
		}
	}
	_, _ = r.dec.Token()
	for _, name := range s.Required {
		if !seen[name] {
			r.fault(path+"/"+name, "required", "is missing")
		}
	}
}

func (r *bodyReader) array(path string, s *huma.Schema) {
	n := 0
	for ; r.dec.More(); n++ {
		r.value(path+"/"+strconv.Itoa(n), s.Items)
	}
	_, _ = r.dec.Token()
	if s.MinItems != nil && n < *s.MinItems {
		r.fault(path, "minItems", "must have at least %d", *s.MinItems)
	}
	if s.MaxItems != nil && n > *s.MaxItems {
		r.fault(path, "maxItems", "has more than %d items", *s.MaxItems)
	}
}

// characters refuses what no row can hold, and half of a character, which the
// decoder has replaced.
func (r *bodyReader) characters(path string, begin int64, text string) {
	written := bytes.ToLower(r.raw[begin:r.dec.InputOffset()])
	switch {
	case strings.ContainsRune(text, 0):
		r.fault(path, "characters", "holds U+0000")
	case strings.ContainsRune(text, utf8.RuneError) && !bytes.ContainsRune(written, utf8.RuneError) && !bytes.Contains(written, []byte(`\ufffd`)):
		r.fault(path, "characters", "holds half of a surrogate pair")
	}
}

func (r *bodyReader) text(path string, s *huma.Schema, text string) {
	n := utf8.RuneCountInString(text)
	switch {
	case s.MinLength != nil && n < *s.MinLength && n == 0:
		r.fault(path, "minLength", "must not be empty")
	case s.MinLength != nil && n < *s.MinLength:
		r.fault(path, "minLength", "is shorter than %d characters", *s.MinLength)
	case s.MaxLength != nil && n > *s.MaxLength:
		r.fault(path, "maxLength", "is longer than %d characters", *s.MaxLength)
	case s.Pattern != "" && !regexp.MustCompile(s.Pattern).MatchString(text):
		r.fault(path, "pattern", "must be %s", cmp.Or(s.PatternDescription, "of the documented pattern"))
	case len(s.Enum) > 0 && !slices.Contains(s.Enum, any(text)):
		r.fault(path, "enum", "must be one of %s", listed(s.Enum))
	case s.Format == "date-time" && !isInstant(text):
		r.fault(path, "format", "must be a time as in RFC 3339, with an offset")
	}
}

func listed(values []any) string {
	words := make([]string, len(values))
	for i, v := range values {
		words[i] = fmt.Sprint(v)
	}
	return strings.Join(words, ", ")
}

func isInstant(text string) bool {
	_, err := time.Parse(time.RFC3339, text)
	return err == nil
}

func (r *bodyReader) number(path string, s *huma.Schema, number json.Number) {
	value, err := number.Float64()
	if s.Type == huma.TypeInteger {
		var n int64
		n, err = number.Int64()
		value = float64(n)
	}
	switch {
	case err != nil:
		r.fault(path, "type", "must be %s", article(s.Type))
	case s.Minimum != nil && value < *s.Minimum:
		r.fault(path, "minimum", "must be at least %v", *s.Minimum)
	case s.Maximum != nil && value > *s.Maximum:
		r.fault(path, "maximum", "must be at most %.f", *s.Maximum)
	}
}

// kindOf is the JSON Schema type of a value that begins with token.
func kindOf(token json.Token) string {
	switch t := token.(type) {
	case json.Delim:
		if t == '{' {
			return huma.TypeObject
		}
		return huma.TypeArray
	case string:
		return huma.TypeString
	case json.Number:
		return huma.TypeNumber
	case bool:
		return huma.TypeBoolean
	default:
		return "null"
	}
}

func article(kind string) string {
	switch kind {
	case huma.TypeObject, huma.TypeArray, huma.TypeInteger:
		return "an " + kind
	case "null":
		return kind
	default:
		return "a " + kind
	}
}

// pointer appends a name that came from outside to a JSON pointer: cut, since it
// may be long, or a secret in the wrong place.
func pointer(path, name string) string {
	const most = 40
	if utf8.RuneCountInString(name) > most {
		name = string([]rune(name)[:most]) + "\u2026"
	}
	return path + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}
