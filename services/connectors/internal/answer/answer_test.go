package answer

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"
	"time"
)

func TestAnIDIsReadAsAStringAndAsANumberOfAnySize(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]ID{
		`"abc"`: "abc", `"17"`: "17", `7300000000000000001`: "7300000000000000001", `73000000000000000000000001`: "73000000000000000000000001", `""`: "",
	} {
		var got ID
		if err := json.Unmarshal([]byte(in), &got); err != nil || got != want {
			t.Errorf("%s: %q, %v", in, got, err)
		}
	}
	for _, in := range []string{`{}`, `[]`, `true`} {
		var got ID
		if err := json.Unmarshal([]byte(in), &got); err == nil {
			t.Errorf("%s is no id, and was read as %q", in, got)
		}
	}
}

func TestALifeIsWhatIsToldWithinReason(t *testing.T) {
	t.Parallel()
	for in, want := range map[json.Number]time.Duration{
		"7200": 2 * time.Hour, "0": 0, "-5": 0, "": 0, "1e3": 0, "x": 0, "9223372036854775807": 10 * 365 * 24 * time.Hour,
	} {
		if got := Life(in); got != want {
			t.Errorf("%q: %v", in, got)
		}
	}
}

func TestScopesAreComparedByName(t *testing.T) {
	t.Parallel()
	granted := Scopes("user.info.basic, video.publish video.list,")
	if want := []string{"user.info.basic", "video.publish", "video.list"}; !slices.Equal(granted, want) {
		t.Errorf("%q", granted)
	}
	if got := Missing(granted, "video.publish", "video"); !slices.Equal(got, []string{"video"}) {
		t.Errorf("missing %q", got)
	}
	if got := Missing(nil); got != nil {
		t.Errorf("missing %q", got)
	}
}

func TestRetryAfterIsBounded(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]time.Duration{
		"": 0, "90": 90 * time.Second, "-1": 0, "soon": 0, "Wed, 21 Oct 2026 07:28:00 GMT": 0, "99999999": 24 * time.Hour, "9223372036854775807": 24 * time.Hour,
	} {
		if got := RetryAfter(http.Header{"Retry-After": {in}}); got != want {
			t.Errorf("%q: %v", in, got)
		}
	}
}
