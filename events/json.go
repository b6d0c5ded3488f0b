package events

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"
)

// MarshalJSON writes e in the JSON format of CloudEvents. JSON data is embedded
// as its bytes are; what would not come back byte for byte goes into data_base64.
func MarshalJSON(e event.Event) ([]byte, error) {
	list, err := sendable(e)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.Grow(1024 + len(e.DataEncoded))
	extensions := e.Extensions()
	separator := `{"`
	for _, at := range list {
		b.WriteString(separator + at.name + `":`)
		separator = `,"`
		switch extensions[at.name].(type) {
		case bool, int32:
			b.WriteString(at.value)
		default:
			writeText(&b, at.value)
		}
	}
	writeData(&b, e)
	b.WriteByte('}')
	return b.Bytes(), nil
}

func writeData(b *bytes.Buffer, e event.Event) {
	data := e.DataEncoded
	isJSON := jsonType(e.DataContentType())
	switch {
	case len(data) == 0:
	case !e.DataBase64 && isJSON && embeddable(data):
		b.WriteString(`,"data":`)
		b.Write(data)
	case !e.DataBase64 && !isJSON && utf8.Valid(data):
		b.WriteString(`,"data":`)
		writeText(b, string(data))
	default:
		b.WriteString(`,"data_base64":"`)
		b.WriteString(base64.StdEncoding.EncodeToString(data))
		b.WriteByte('"')
	}
}

// embeddable tells whether data is JSON that a reader of the whole finds again
// exactly: a value without space around it, in UTF-8.
func embeddable(data []byte) bool {
	return json.Valid(data) && utf8.Valid(data) && afterSpace(data, 0) == 0 && !bytes.ContainsRune([]byte(" \t\r\n"), rune(data[len(data)-1]))
}

// writeText writes valid UTF-8 as a JSON string.
func writeText(b *bytes.Buffer, s string) {
	if !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		b.WriteString(`"` + s + `"`)
		return
	}
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string into memory: neither can fail
	b.Truncate(b.Len() - 1)
}

// jsonType tells whether a content type is JSON; an absent one is.
func jsonType(contentType string) bool {
	mediaType, _, _ := strings.Cut(strings.ToLower(contentType), ";")
	mediaType = strings.TrimSpace(mediaType)
	return mediaType == "" || strings.HasSuffix(mediaType, "/json") || strings.HasSuffix(mediaType, "+json")
}

// NotJSON says from where on text is not JSON, without a character of it. It is
// for text that json.Valid has refused.
func NotJSON(text []byte) string {
	switch err := json.NewDecoder(bytes.NewReader(text)).Decode(new(json.RawMessage)); {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "is not JSON: it ends too early"
	}
	wrong, ok := errors.AsType[*json.SyntaxError](json.Unmarshal(text, new(json.RawMessage)))
	if !ok {
		return "is not JSON"
	}
	before := text[:max(wrong.Offset, 1)-1]
	line := before[bytes.LastIndexByte(before, '\n')+1:]
	return fmt.Sprintf("is not JSON: line %d, column %d is wrong", bytes.Count(before, []byte("\n"))+1, utf8.RuneCount(line)+1)
}

// UnmarshalJSON reads what MarshalJSON writes and every other event in the JSON
// format. Its error is a *MalformedError.
func UnmarshalJSON(body []byte) (event.Event, error) {
	if len(body) > 2*MaxData {
		return event.Event{}, malformed("event is longer than an event may be")
	}
	if !json.Valid(body) {
		return event.Event{}, malformed("it " + NotJSON(body))
	}
	start := afterSpace(body, 0)
	if body[start] != '{' {
		return event.Event{}, malformed("it is not a JSON object")
	}
	if !hasMember(body[start:], "specversion") { // said first: it is no event, whatever else it may be
		return event.Event{}, malformed("attribute specversion is missing")
	}
	var a attributes
	var data, data64 []byte
	for rawName, value := range members(body[start:]) {
		name, wrong := unquote(rawName)
		if len(wrong) > 0 {
			return event.Event{}, malformed("an attribute name " + wrong[0])
		}
		var err error
		switch name {
		case "data":
			err = once(&data, value)
		case "data_base64":
			err = once(&data64, value)
		default:
			err = a.setJSON(name, value)
		}
		if err != nil {
			return event.Event{}, err
		}
	}
	return a.withData(data, data64)
}

func hasMember(object []byte, name string) bool {
	for rawName := range members(object) {
		if got, _ := unquote(rawName); got == name {
			return true
		}
	}
	return false
}

func once(into *[]byte, value []byte) error {
	if *into != nil {
		return malformed("data is there twice")
	}
	*into = value
	return nil
}

// setJSON takes an attribute by its JSON value; null says that it is absent.
func (a *attributes) setJSON(name string, raw []byte) error {
	switch kind(raw) {
	case "null":
		return nil
	case "a string":
		value, wrong := unquote(raw)
		if len(wrong) > 0 {
			return malformed("attribute " + quote(name) + " " + wrong[0])
		}
		return a.set(name, value)
	case "a boolean":
		return a.set(name, raw[0] == 't')
	case "a number":
		n, err := strconv.ParseInt(string(raw), 10, 32)
		if err != nil {
			return malformed("attribute " + quote(name) + " is not an integer of 32 bits")
		}
		return a.set(name, int32(n))
	}
	return malformed("attribute " + quote(name) + " is " + kind(raw))
}

func (a *attributes) withData(data, data64 []byte) (event.Event, error) {
	if data != nil && data64 != nil {
		return event.Event{}, malformed("data and data_base64 are both there")
	}
	contentType := ""
	if a.ec.DataContentType != nil {
		contentType = *a.ec.DataContentType
	}
	var value []byte
	switch {
	case data64 != nil:
		if err := json.Unmarshal(data64, &value); err != nil || data64[0] != '"' {
			return event.Event{}, malformed("data_base64 is not base64")
		}
	case data != nil && !jsonType(contentType):
		if data[0] != '"' {
			return event.Event{}, malformed("data is not a string, which its content type needs")
		}
		text, wrong := unquote(data)
		if len(wrong) > 0 && wrong[0] != hasNUL { // bytes may be zero
			return event.Event{}, malformed("data " + wrong[0])
		}
		value = []byte(text)
	case data != nil:
		value = bytes.Clone(data)
	}
	e, err := a.event(value)
	e.DataBase64 = data64 != nil && err == nil
	return e, err
}
