package connectors

import (
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// Secret holds a token or key. Every way of printing it gives "[redacted]";
// Reveal is the only way to its value. The value sits behind a pointer because
// fmt does not ask the methods of a value in an unexported field: it prints an
// address there.
type Secret struct{ value *string }

// NewSecret wraps a value.
func NewSecret(value string) Secret { return Secret{&value} }

// Reveal returns the value, for the one place that sends or seals it.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// Empty says whether there is no value.
func (s Secret) Empty() bool { return s.Reveal() == "" }

// Format prints "[redacted]" for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// String prints "[redacted]".
func (s Secret) String() string { return redacted }

// MarshalText prints "[redacted]", for JSON and everything that asks for text.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue prints "[redacted]" in slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }
