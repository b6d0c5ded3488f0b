package events_test

import (
	"testing"

	"postbus.dev/events"
)

func TestWhatIsNotJSONIsToldByItsPlaceAndNotByItsText(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                        "is not JSON: it ends too early",
		`{"a":1`:                  "is not JSON: it ends too early",
		`{"a":1,}`:                "is not JSON: line 1, column 8 is wrong",
		"{\n  \"ü\": 'secret'\n}": "is not JSON: line 2, column 8 is wrong",
		`{"a":1}{"a":1}`:          "is not JSON: line 1, column 8 is wrong",
		"this is no event":        "is not JSON: line 1, column 2 is wrong",
		"{\"a\":\n\n\"half":       "is not JSON: it ends too early",
		"\xff":                    "is not JSON: line 1, column 1 is wrong",
	} {
		if got := events.NotJSON([]byte(text)); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}
