package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"postbus.dev/events"
)

// leaks are the ways of a secret to each place that the canary looks at, as it is
// read there.
func leaks(secret string) map[string]string {
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Error("a call failed", "error", fmt.Errorf("GET /me?access_token=%s: 400", secret))
	event, err := events.New(events.Meta{Source: "/test", Subject: "1"}, events.AccountConnected{
		AccountOwner:      events.AccountOwner{AccountRef: events.AccountRef{AccountID: "019ac000-0000-7000-8000-000000000001", Provider: "p"}, UserID: "u"},
		ProviderAccountID: "1", Username: secret,
	})
	if err != nil {
		panic(err)
	}
	wire, err := events.MarshalJSON(event)
	if err != nil {
		panic(err)
	}
	body, _ := json.Marshal(map[string]any{"error": map[string]string{"message": "refused " + secret}})
	headers := http.Header{"Location": {"https://example.com/?code=" + url.QueryEscape(secret)}}
	return map[string]string{
		"a log line":            log.String(),
		"a span":                "\x0a\x0cauth.token\x12\x22\x0a\x20" + secret + "\x1a\x02",
		"a metric's label":      `calls_total{token="` + secret + `"} 1`,
		"an event":              string(wire),
		"an event in the table": "outbox (...,\"\\\\x" + hex.EncodeToString(wire) + "\")",
		"a text column":         "publish_attempts (1,commit,\"" + secret + "\")",
		"a bytea column":        "oauth_accounts (1,\"\\\\x" + hex.EncodeToString([]byte(secret)) + "\")",
		"an answer's body":      fmt.Sprintf("%d %v\n%s\n", 400, http.Header{}, body),
		"an answer's header":    fmt.Sprintf("%d %v\n%s\n", 303, headers, ""),
		"basic authentication":  "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("client-id:"+secret)),
		"two of them":           base64.URLEncoding.EncodeToString([]byte("a " + secret + ":" + secret + " b")),
		"a path":                "/oauth/" + url.PathEscape(secret) + "/revoke",
		"hex in capitals":       strings.ToUpper(hex.EncodeToString([]byte(secret))),
	}
}

func TestTheCanaryKnowsASecretInEveryPlaceAndSpelling(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{"IGAAplain0123456789token", "odd/+=&<\"secret\">% of 2026", strings.Repeat("x", shortest), "pb_" + strings.Repeat("k-_", 9)} {
		other := secret[:8] + "~" + secret[9:]
		f := newFinder(map[string]string{secret: "token", other: "another"}, sought)
		for place, text := range leaks(secret) {
			if got := f.in(text); len(got) != 1 || got[0] != "token" {
				t.Errorf("%q in %s: found %v in %s", secret, place, got, text)
			}
		}
		for place, text := range leaks(strings.Replace(other, "~", "!", 1)) {
			if got := f.in(text); len(got) != 0 {
				t.Errorf("another text than %q in %s: found %v", secret, place, got)
			}
		}
	}
}

func TestWhatIsTooShortToBeASecretIsNotLookedFor(t *testing.T) {
	t.Parallel()
	c := &canary{secrets: map[string]string{}}
	c.add("code", strings.Repeat("x", shortest-1))
	c.add("code", strings.Repeat("x", shortest))
	c.add("again", strings.Repeat("x", shortest))
	if len(c.secrets) != 1 || c.secrets[strings.Repeat("x", shortest)] != "code" {
		t.Error(c.secrets)
	}
}
