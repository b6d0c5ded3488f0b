package events

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"
)

// field binds a member of a JSON object to the place where its value goes.
// Decoding by such lists instead of struct tags is what makes unknown, repeated
// and wrongly written members visible, all of them at once, without reflection.
type field struct {
	name string
	into any // *string, **string, *bool, *int, *int64, *time.Time, *json.RawMessage or decoder
	rule need
}

// need says what a member must be beside having its type.
type need int

const (
	optional need = iota
	required      // must be there
	nonEmpty      // when it is there, not ""
	requiredNonEmpty
)

// decoder reads a value of its own shape.
type decoder interface {
	decode(path string, raw []byte, f *faults)
}

// object is data that lists its fields.
type object interface {
	fields() []field
}

// decodeData reads a whole data payload into o.
func decodeData(data []byte, o object, ignoreUnknown bool) faults {
	f := faults{ignoreUnknown: ignoreUnknown}
	if !json.Valid(data) {
		f.add("", "json", "%s", NotJSON(data))
		return f
	}
	i := afterSpace(data, 0)
	decodeObject("", data[i:afterValue(data, i)], o, &f)
	return f
}

func decodeObject(path string, raw []byte, o object, f *faults) {
	if raw[0] != '{' {
		f.add(path, "type", "must be an object, not %s", kind(raw))
		return
	}
	list := o.fields()
	var seen uint64 // a bit for each of list
	for rawName, value := range members(raw) {
		name, wrong := unquote(rawName)
		i := slices.IndexFunc(list, func(fd field) bool { return fd.name == name })
		switch {
		case len(wrong) > 0:
			f.add(pointer(path, name), "characters", "has a name that %s", wrong[0])
		case i < 0 && !f.ignoreUnknown:
			f.add(pointer(path, name), "additionalProperties", "is not a known field")
		case i < 0:
		case seen&(1<<i) != 0:
			f.add(path+"/"+name, "duplicate", "is there twice")
		default:
			seen |= 1 << i
			decodeValue(path+"/"+name, value, list[i], f)
		}
	}
	for i, fd := range list {
		if seen&(1<<i) == 0 && (fd.rule == required || fd.rule == requiredNonEmpty) {
			f.add(path+"/"+fd.name, "required", "is missing")
		}
	}
}

func decodeValue(path string, raw []byte, fd field, f *faults) {
	switch p := fd.into.(type) {
	case *string:
		decodeText(path, raw, p, fd.rule, f)
	case **string:
		if kind(raw) != "null" {
			var s string
			decodeText(path, raw, &s, fd.rule, f)
			*p = &s
		}
	case *time.Time:
		decodeInstant(path, raw, p, f)
	case *bool:
		if kind(raw) != "a boolean" {
			f.add(path, "type", "must be a boolean, not %s", kind(raw))
		}
		*p = raw[0] == 't'
	case *int:
		*p = int(decodeInteger(path, raw, strconv.IntSize, f))
	case *int64:
		*p = decodeInteger(path, raw, 64, f)
	case *json.RawMessage:
		decodeFree(path, raw, p, f)
	case decoder:
		p.decode(path, raw, f)
	}
}

func decodeText(path string, raw []byte, into *string, rule need, f *faults) {
	if raw[0] != '"' {
		f.add(path, "type", "must be a string, not %s", kind(raw))
		return
	}
	value, wrong := unquote(raw)
	f.addAll(path, "characters", wrong)
	if value == "" && (rule == nonEmpty || rule == requiredNonEmpty) {
		f.add(path, "minLength", "must not be empty")
	}
	if len(wrong) == 0 {
		*into = value
	}
}

func decodeInstant(path string, raw []byte, into *time.Time, f *faults) {
	var s string
	before := f.count()
	if decodeText(path, raw, &s, optional, f); f.count() > before {
		return
	}
	t, err := parseInstant(s)
	if err != nil {
		f.add(path, "format", "%s", err)
		return
	}
	*into = t
}

func decodeInteger(path string, raw []byte, bits int, f *faults) int64 {
	n, err := strconv.ParseInt(string(raw), 10, bits)
	if err != nil {
		f.add(path, "type", "must be an integer")
	}
	return n
}

// decodeFree keeps an object whose fields others know; its texts are checked
// all the same, because it is stored and sent on like the rest.
func decodeFree(path string, raw []byte, into *json.RawMessage, f *faults) {
	if raw[0] != '{' {
		f.add(path, "type", "must be an object, not %s", kind(raw))
		return
	}
	before := f.count()
	if checkTexts(path, raw, maxDepth, f); f.count() == before {
		*into = append(json.RawMessage(nil), raw...)
	}
}

// maxDepth bounds how deep a free object may be nested.
const maxDepth = 32

// checkTexts reports every text within raw that could not be stored or sent on,
// and every name that is there twice.
func checkTexts(path string, raw []byte, depth int, f *faults) {
	switch {
	case raw[0] == '"':
		if !plain(raw) {
			_, wrong := unquote(raw)
			f.addAll(path, "characters", wrong)
		}
	case depth == 0 && (raw[0] == '[' || raw[0] == '{'):
		f.add(path, "depth", "is nested too deeply")
	case raw[0] == '[':
		for i, v := range elements(raw) {
			checkTexts(path+"/"+strconv.Itoa(i), v, depth-1, f)
		}
	case raw[0] == '{':
		seen := map[string]bool{}
		for rawName, v := range members(raw) {
			name, wrong := unquote(rawName)
			at := pointer(path, name)
			f.addAll(at, "characters", wrong)
			if seen[name] {
				f.add(at, "duplicate", "is there twice")
			}
			seen[name] = true
			checkTexts(at, v, depth-1, f)
		}
	}
}

// kind names the JSON type of a raw value.
func kind(raw []byte) string {
	switch raw[0] {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}

// DecodeData reads the data of e into one of the structs of this package, whose
// type must be that of e. It is strict: unknown and repeated fields, wrong types
// and texts that cannot be stored are violations of the *ValidationError. Only
// where e says that it has a newer minor version are unknown fields ignored, and
// not those of a request: what it asks for beyond our knowledge would be left out.
func DecodeData(e event.Event, into Data) error {
	newerMinor, fault := checkSchema(e.Type(), e.DataSchema())
	switch {
	case e.Type() != into.EventType():
		return &MalformedError{Reason: "event type is " + quote(e.Type()) + ", not " + into.EventType()}
	case fault != "":
		return &MalformedError{Reason: fault}
	}
	o, ok := into.(object)
	if !ok {
		return &MalformedError{Reason: "no such data: " + into.EventType()}
	}
	ignoreUnknown := newerMinor && !strings.HasSuffix(e.Type(), "requested")
	f := decodeData(e.Data(), o, ignoreUnknown)
	f.merge(faults{list: Violations(into.Validate())})
	return f.err(into.EventType())
}

// quote makes a short text from outside fit for an error message.
func quote(s string) string {
	const most = 80
	if len(s) > most {
		s = s[:most] + "..."
	}
	if !utf8.ValidString(s) {
		s = "?"
	}
	return strconv.Quote(s)
}
