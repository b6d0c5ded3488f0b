package events

import (
	"mime"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
)

// The bounds of an event. Everything beyond them is malformed: what is read has
// to fit into rows, headers and the events that tell of it.
const (
	MaxData          = 1 << 20 // bytes of data, or of a structured event
	MaxID            = 1_024   // bytes of id, source, type and subject
	MaxAttribute     = 8 << 10 // bytes of any other attribute
	MaxAttributes    = 64      // attributes of one event
	maxAttributeName = 64      // bytes of an attribute's name
)

// MalformedError says why something is not an event that we can read. Unlike a
// ValidationError, nobody can be told: there may be no source and no id.
type MalformedError struct {
	Reason string // for people; names attributes, holds no data
}

// Error is the reason.
func (e *MalformedError) Error() string { return "malformed event: " + e.Reason }

func malformed(reason string) error { return &MalformedError{Reason: reason} }

// attributes collects the context attributes of one event.
type attributes struct {
	specVersion string
	ec          event.EventContextV1
	names       []string // those set
}

// set takes one attribute in its decoded form: a string, or a bool or int32 in
// the JSON format.
func (a *attributes) set(name string, value any) error {
	if !attributeName(name) {
		return malformed("attribute name " + quote(name) + " is not one of 1 to 64 lower-case letters and digits")
	}
	if slices.Contains(a.names, name) {
		return malformed("attribute " + name + " is there twice")
	}
	if a.names = append(a.names, name); len(a.names) > MaxAttributes {
		return malformed("more attributes than an event may have")
	}
	text, isText := value.(string)
	why := ""
	switch {
	case isText && badText(name, text) != "":
		why = badText(name, text)
	case !coreAttribute(name):
		a.setExtension(name, value)
	case !isText:
		why = "is not a string"
	default:
		why = a.setCore(name, text)
	}
	if why != "" {
		return malformed("attribute " + name + " " + why)
	}
	return nil
}

func (a *attributes) setExtension(name string, value any) {
	if a.ec.Extensions == nil {
		a.ec.Extensions = make(map[string]any, 8)
	}
	a.ec.Extensions[name] = value
}

func attributeName(s string) bool {
	if s == "" || len(s) > maxAttributeName || s == "data" { // the JSON format has "data" for the data
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

func coreAttribute(name string) bool {
	switch name {
	case "specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema":
		return true
	}
	return false
}

// badText judges the value of any attribute.
func badText(name, value string) (why string) {
	most := MaxAttribute
	switch name {
	case "id", "source", "type", "subject":
		most = MaxID
	}
	switch {
	case len(value) > most:
		return "is too long"
	case !utf8.ValidString(value):
		return "is not valid UTF-8"
	case strings.IndexFunc(value, disallowed) >= 0:
		return "has a character that CloudEvents does not allow"
	}
	return ""
}

// disallowed tells control characters and noncharacters, which the type system
// of CloudEvents excludes from strings.
func disallowed(r rune) bool {
	return r < 0x20 || r >= 0x7F && r <= 0x9F || r >= 0xFDD0 && r <= 0xFDEF || r&0xFFFE == 0xFFFE
}

func (a *attributes) setCore(name, value string) (why string) {
	if strings.TrimSpace(value) == "" {
		return "is empty"
	}
	switch name {
	case "specversion":
		a.specVersion = value
	case "id":
		a.ec.ID = value
	case "type":
		a.ec.Type = value
	case "subject":
		a.ec.Subject = &value
	case "datacontenttype":
		a.ec.DataContentType = &value
		return badMediaType(value)
	case "source":
		u, why := parseURI(value)
		a.ec.Source = types.URIRef{URL: u}
		return why
	case "dataschema":
		u, why := parseURI(value)
		if why == "" && !u.IsAbs() {
			why = "is not an absolute URI"
		}
		a.ec.DataSchema = &types.URI{URL: u}
		return why
	case "time":
		t, err := parseInstant(value)
		if err != nil {
			return err.Error()
		}
		a.ec.Time = &types.Timestamp{Time: t}
	}
	return ""
}

func badMediaType(s string) (why string) {
	if s == event.ApplicationJSON {
		return ""
	}
	if _, _, err := mime.ParseMediaType(s); err != nil {
		return "is not a media type"
	}
	return ""
}

// parseURI refuses what would not come back as it was written: the source is
// half of an event's identity, and two spellings of it must never become one.
func parseURI(s string) (u url.URL, why string) {
	p, err := url.Parse(s)
	if err != nil {
		return u, "is not a URI reference"
	}
	if p.String() != s {
		return u, "is not a URI reference in its usual form, such as " + quote(p.String())
	}
	return *p, ""
}

// event puts the attributes and the data together and judges the whole.
func (a *attributes) event(data []byte) (event.Event, error) {
	for _, name := range []string{"specversion", "id", "source", "type"} {
		if !slices.Contains(a.names, name) {
			return event.Event{}, malformed("attribute " + name + " is missing")
		}
	}
	if a.specVersion != event.CloudEventsVersionV1 {
		return event.Event{}, malformed("specversion is not 1.0")
	}
	if len(data) > MaxData {
		return event.Event{}, malformed("data is longer than an event may have")
	}
	e := event.Event{Context: &a.ec}
	if len(data) > 0 {
		e.DataEncoded = data
	}
	if _, fault := checkSchema(e.Type(), e.DataSchema()); fault != "" {
		return event.Event{}, malformed(fault)
	}
	return e, nil
}

// attribute is one attribute in its canonical string form.
type attribute struct{ name, value string }

// listAttributes lists the attributes of e, those of CloudEvents itself first and
// the extensions by name.
func listAttributes(e event.Event) ([]attribute, error) {
	if e.Context == nil || e.SpecVersion() != event.CloudEventsVersionV1 {
		return nil, malformed("it is not a CloudEvent of version 1.0")
	}
	list := make([]attribute, 0, 16)
	list = append(list, attribute{"specversion", e.SpecVersion()}, attribute{"id", e.ID()}, attribute{"source", e.Source()}, attribute{"type", e.Type()})
	for _, at := range [...]attribute{{"subject", e.Subject()}, {"datacontenttype", e.DataContentType()}, {"dataschema", e.DataSchema()}} {
		if at.value != "" {
			list = append(list, at)
		}
	}
	if t := e.Time(); !t.IsZero() {
		list = append(list, attribute{"time", formatInstant(t)})
	}
	extensions := e.Extensions()
	for _, name := range sortedNames(extensions) {
		value, err := types.Format(extensions[name])
		if err != nil {
			return nil, malformed("attribute " + quote(name) + " has no string form")
		}
		list = append(list, attribute{name, value})
	}
	return list, nil
}

// sendable lists the attributes of e and refuses an event that nobody could read
// again.
func sendable(e event.Event) ([]attribute, error) {
	list, err := listAttributes(e)
	if err != nil {
		return nil, err
	}
	var a attributes
	for _, at := range list {
		if err := a.set(at.name, at.value); err != nil {
			return nil, err
		}
	}
	_, err = a.event(e.DataEncoded)
	return list, err
}

func sortedNames(m map[string]any) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func formatInstant(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
