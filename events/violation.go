package events

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Violation is one thing wrong with the data of an event.
type Violation struct {
	Field   string `json:"field"`   // JSON pointer into the data, such as /children/3/mediaUrl; "" is all of it
	Rule    string `json:"rule"`    // short and stable; where there is one, the JSON Schema keyword, such as maxLength
	Message string `json:"message"` // for people; never holds the value
}

// ValidationError lists everything that is wrong with the data of an event.
type ValidationError struct {
	Type       string // of the event
	Violations []Violation
}

// Error names each violation, without the values that broke the rules.
func (e *ValidationError) Error() string {
	return "invalid data of " + e.Type + ": " + Summary(e.Violations)
}

// Summary names each violation in one line.
func Summary(list []Violation) string {
	var b strings.Builder
	for i, v := range list {
		if i > 0 {
			b.WriteString("; ")
		}
		if v.Field != "" {
			b.WriteString(v.Field + ": ")
		}
		b.WriteString(v.Message)
	}
	return b.String()
}

// Violations returns what a ValidationError within err lists, or nil.
func Violations(err error) []Violation {
	if ve, ok := errors.AsType[*ValidationError](err); ok {
		return ve.Violations
	}
	return nil
}

// maxViolations bounds a report: the event that carries it has to fit on the
// bus whatever was sent to us.
const maxViolations = 100

// faults collects violations. The zero value is ready.
type faults struct {
	list []Violation
	more int // beyond maxViolations

	ignoreUnknown bool // fields that are not known are no violation
}

// add notes one violation.
func (f *faults) add(field, rule, format string, args ...any) {
	if len(f.list) == maxViolations {
		f.more++
		return
	}
	f.list = append(f.list, Violation{Field: field, Rule: rule, Message: fmt.Sprintf(format, args...)})
}

func (f *faults) addAll(field, rule string, messages []string) {
	for _, m := range messages {
		f.add(field, rule, "%s", m)
	}
}

func (f *faults) count() int { return len(f.list) + f.more }

// within tells whether the field, or something in it, has a violation.
func (f *faults) within(field string) bool {
	for _, v := range f.list {
		if v.Field == field || strings.HasPrefix(v.Field, field+"/") {
			return true
		}
	}
	return false
}

// covers tells whether the field, or something it is in, has a violation.
func (f *faults) covers(field string) bool {
	for _, v := range f.list {
		if v.Field == field || strings.HasPrefix(field, v.Field+"/") {
			return true
		}
	}
	return false
}

// merge adds those of other that f does not cover: what could not be read is not
// reported as missing a second time.
func (f *faults) merge(other faults) {
	before := faults{list: f.list}
	for _, v := range other.list {
		if !before.covers(v.Field) {
			f.add(v.Field, v.Rule, "%s", v.Message)
		}
	}
	f.more += other.more
}

// err is the *ValidationError of what was collected, or nil.
func (f *faults) err(eventType string) error {
	if len(f.list) == 0 {
		return nil
	}
	list := f.list
	if f.more > 0 {
		list = append(list[:len(list):len(list)], Violation{Rule: "maxViolations", Message: "has more violations than are listed"})
	}
	return &ValidationError{Type: eventType, Violations: list}
}

// maxPointerName bounds a name within a JSON pointer, in characters.
const maxPointerName = 64

// pointer appends a name to a JSON pointer. Names come from outside: they are
// cut and cleaned, because the pointer is stored and sent on.
func pointer(path, name string) string {
	if len(name) > 4*maxPointerName {
		name = name[:4*maxPointerName] // no more characters than these are kept
	}
	if !plain([]byte(name)) || strings.IndexByte(name, 0) >= 0 {
		name = cleanText(name)
	}
	if utf8.RuneCountInString(name) > maxPointerName {
		name = string([]rune(name)[:maxPointerName]) + "\u2026"
	}
	if strings.ContainsAny(name, "~/") {
		name = strings.ReplaceAll(strings.ReplaceAll(name, "~", "~0"), "/", "~1")
	}
	return path + "/" + name
}
