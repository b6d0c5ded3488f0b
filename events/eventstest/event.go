package eventstest

import (
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
	"pgregory.net/rapid"
)

// Event draws any event that the codec must carry: not only those of this
// contract, but every text, extension and kind of data that CloudEvents allows.
func Event(t *rapid.T) event.Event {
	e := event.New()
	e.SetID(attributeText(t, "id"))
	e.SetSource(rapid.SampledFrom([]string{"/a", "/a/b?c=d", "urn:x:a%20b", "https://shop.example/x#y", "a"}).Draw(t, "source"))
	e.SetType(attributeText(t, "type"))
	if rapid.Bool().Draw(t, "optional") {
		e.SetSubject(attributeText(t, "subject"))
		e.SetTime(Instant(t))
		e.SetDataSchema(rapid.SampledFrom([]string{"https://shop.example/s.json", "urn:y"}).Draw(t, "dataschema"))
	}
	for range rapid.IntRange(0, 4).Draw(t, "extensions") {
		name := "x" + rapid.StringMatching(`[a-z0-9]{0,10}`).Draw(t, "name")
		e.SetExtension(name, rapid.OneOf(
			rapid.Custom(func(t *rapid.T) any { return attributeText(t, "value") }),
			rapid.Custom(func(t *rapid.T) any { return rapid.Int32().Draw(t, "number") }),
			rapid.Custom(func(t *rapid.T) any { return rapid.Bool().Draw(t, "flag") }),
		).Draw(t, "extension"))
	}
	data(t, &e)
	return e
}

// data gives e JSON, text, bytes, or nothing.
func data(t *rapid.T, e *event.Event) {
	contentTypes := map[string]*rapid.Generator[[]byte]{
		"":                          rapid.Just([]byte(nil)),
		"application/json":          rapid.SampledFrom([][]byte{[]byte(`{"a": [1, 2.50, null]}`), []byte(" {} "), []byte("0"), []byte("{"), []byte("\"\xff\""), []byte(`"\ud800\u0000"`)}),
		"application/vnd.x+json":    rapid.Just([]byte(`{"<&>":"\u2028"}`)),
		"text/plain; charset=utf-8": rapid.Map(rapid.Custom(Text), func(s string) []byte { return []byte(s) }),
		"application/octet-stream":  rapid.SliceOfN(rapid.Byte(), 1, 40),
	}
	contentType := rapid.SampledFrom([]string{"", "application/json", "application/vnd.x+json", "text/plain; charset=utf-8", "application/octet-stream"}).Draw(t, "contentType")
	if contentType != "" {
		e.SetDataContentType(contentType)
	}
	if body := contentTypes[contentType].Draw(t, "data"); len(body) > 0 {
		e.DataEncoded = body
	}
}

// attributeText draws text that an attribute may hold and that is not blank.
func attributeText(t *rapid.T, label string) string {
	allowed := rapid.Rune().Filter(func(r rune) bool {
		return r >= 0x20 && (r < 0x7F || r > 0x9F) && (r < 0xD800 || r > 0xDFFF) && (r < 0xFDD0 || r > 0xFDEF) && r&0xFFFE != 0xFFFE
	})
	return rapid.StringOfN(allowed, 1, 30, -1).Filter(func(s string) bool { return strings.TrimSpace(s) != "" }).Draw(t, label)
}
