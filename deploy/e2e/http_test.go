package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"postbus.dev/deploy/e2e/world"
	"postbus.dev/events"
	"postbus.dev/services/connectors/sandbox/stage"
)

// answer is the envelope of the HTTP API.
type answer struct {
	Status  int
	Header  http.Header
	Success bool
	Data    map[string]any
	Error   struct {
		Code    string
		Details map[string]any
	}
	Meta struct{ RequestID, TraceID string }
}

func call(t *testing.T, w *world.World, p *world.Process, method, path, body string, header ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+p.API()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.APIKey)
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 60 * time.Second}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{Status: resp.StatusCode, Header: resp.Header}
	if err := json.Unmarshal(raw, &a); err != nil {
		t.Fatalf("%s %s answered %d: %s", method, path, resp.StatusCode, raw)
	}
	return a
}

const image = `{"mediaType":"IMAGE","mediaUrl":"https://example.com/image.jpg","caption":%q}`

func TestAPublishOverHTTPAnswersWithThePostWhicheverProcessMadeIt(t *testing.T) {
	t.Parallel()
	w := world.New(t, world.Config{Factor: 0.02})
	one, two := w.Publisher(world.ProcessConfig{}), w.Publisher(world.ProcessConfig{})
	body := fmt.Sprintf(image, "over HTTP")
	a := call(t, w, one, "POST", "/api/instagram/publish", body, "Idempotency-Key", "k1")
	if a.Status != 200 || !a.Success || a.Data["postId"] == "" || a.Data["permalink"] == nil || a.Data["platform"] != "instagram" {
		t.Fatalf("publish: %+v", a)
	}
	if again := call(t, w, two, "POST", "/api/instagram/publish", body, "Idempotency-Key", "k1"); again.Status != 200 || again.Data["postId"] != a.Data["postId"] {
		t.Errorf("the same key and body at the other process: %+v", again)
	}
	if other := call(t, w, two, "POST", "/api/instagram/publish", fmt.Sprintf(image, "other"), "Idempotency-Key", "k1"); other.Status != 422 {
		t.Errorf("the same key with another body: %+v", other)
	}
	if posts := w.Sandbox.Posts(stage.PostFilter{Text: "over HTTP"}); len(posts) != 1 {
		t.Errorf("%d posts, want 1", len(posts))
	}
	// The account's lane may be held by either process: both answer for a publish
	// that the other one makes.
	for i, p := range []*world.Process{one, two, one, two} {
		if a := call(t, w, p, "POST", "/api/instagram/publish", fmt.Sprintf(image, fmt.Sprint("post ", i))); a.Status != 200 {
			t.Errorf("publish %d: %+v", i, a)
		}
	}
	w.Check(5)
}

func TestAPublishOverHTTPIsSeenCanceledAndCounted(t *testing.T) {
	t.Parallel()
	w := world.New(t, world.Config{Factor: 0.02})
	p := w.Publisher(world.ProcessConfig{})
	later := time.Now().Add(time.Hour).Format(time.RFC3339)
	body := fmt.Sprintf(`{"mediaType":"IMAGE","mediaUrl":"https://example.com/image.jpg","caption":"later","publishAt":%q}`, later)
	a := call(t, w, p, "POST", "/api/instagram/publish", body, "Idempotency-Key", "later")
	if a.Status != 202 || a.Header.Get("Location") == "" {
		t.Fatalf("scheduled: %+v", a)
	}
	where := a.Header.Get("Location")
	if got := call(t, w, p, "GET", where, ""); got.Status != 200 || got.Data["state"] != "accepted" {
		t.Errorf("look: %+v", got)
	}
	if got := call(t, w, p, "POST", where+"/cancel", ""); got.Status != 200 || got.Data["state"] != "canceled" {
		t.Errorf("cancel: %+v", got)
	}
	if got := call(t, w, p, "GET", "/api/publishes/"+events.PublishID("nobody", "1").String(), ""); got.Status != 404 {
		t.Errorf("an unknown publish: %+v", got)
	}
	if got := call(t, w, p, "GET", where, "", "Authorization", "Bearer pb_wrong"); got.Status != 401 {
		t.Errorf("a wrong key: %+v", got)
	}
	if got := call(t, w, p, "POST", "/api/instagram/publish", `{"mediaType":"CAROUSEL","caption":"x","children":[]}`); got.Status != 400 || got.Error.Code != "VALIDATION_ERROR" {
		t.Errorf("an invalid request: %+v", got)
	}
	limited := answer{}
	for i := 0; i < 25 && limited.Status != 429; i++ {
		limited = call(t, w, p, "POST", "/api/instagram/publish", body, "Idempotency-Key", "later")
	}
	if limited.Status != 429 || limited.Header.Get("Retry-After") == "" || limited.Error.Code != "RATE_LIMIT_EXCEEDED" {
		t.Errorf("the 21st request of a minute: %+v", limited)
	}
	w.Check(2) // what the provider's own rules refuse is stored as failed
}
