//go:build linux

package compose

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postbus.dev/deploy/visitor"
)

// call calls the API, or the stand-in, and returns the data of the answer.
func (s *system) call(method, url, key, body string) (data map[string]any) {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), method, url, strings.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= http.StatusBadRequest {
		s.Fatalf("%s %s: %d %s %v", method, url, resp.StatusCode, raw, err)
	}
	var answer map[string]any
	if err := json.Unmarshal(raw, &answer); err != nil {
		s.Fatalf("%s %s: %s", method, url, raw)
	}
	if inner, ok := answer["data"].(map[string]any); ok {
		return inner
	}
	return answer
}

// eventually waits until a field of what is at url has a value.
func (s *system) eventually(url, key, field, want string) map[string]any {
	s.Helper()
	for deadline := time.Now().Add(startWait); ; time.Sleep(50 * time.Millisecond) {
		got := s.call(http.MethodGet, url, key, "")
		if got[field] == want {
			return got
		}
		if time.Now().After(deadline) {
			s.Fatalf("%s: %v, want %s %s", url, got, field, want)
		}
	}
}

// once runs a command of a service to its end, as docker compose run --rm does.
func (s *system) once(name string, args ...string) string {
	s.Helper()
	p, err := s.run(name, args...)
	if err != nil {
		s.Fatal(err)
	}
	if err := p.succeeded(); err != nil {
		s.Fatal(err)
	}
	return p.out.String()
}

func TestWhatComposeStartsConnectsAnAccountAndPublishes(t *testing.T) {
	t.Parallel()
	s := up(t)
	defer http.DefaultClient.CloseIdleConnections()
	wantTopology(t, s.bus.ClientURL())
	api, stand := "http://"+s.ports["gateway"], "http://"+s.ports["sandbox"]

	// As the comment in compose.yaml says.
	key := strings.TrimSpace(s.once("account", "key", "create", "--user", "me", "--name", "first", "--scopes", "publish,accounts,admin,on_behalf"))
	link, _ := s.call(http.MethodPost, api+"/api/connect/instagram/links", key, "{}")["url"].(string)
	page, err := visitor.New(http.DefaultTransport).Connect(t.Context(), link, "demo")
	if err != nil || page.Err() != nil {
		t.Fatal(err, page.Err())
	}
	post := s.call(http.MethodPost, api+"/api/instagram/publish", key, `{"mediaType":"IMAGE","mediaUrl":"https://example.com/image.jpg","caption":"by compose"}`)
	id, _ := post["publishId"].(string)
	s.eventually(api+"/api/publishes/"+id, key, "state", "completed")
	if posts := s.call(http.MethodGet, stand+"/_sandbox/posts", "", ""); posts["total"] != 1.0 || !strings.Contains(jsonText(t, posts), "by compose") {
		t.Errorf("posted: %v", posts)
	}

	// The stand-in finds the way to the service, which is another than a browser's.
	s.call(http.MethodPost, stand+"/_sandbox/callbacks", "", `{"provider":"instagram","kind":"deauthorize","account":"demo"}`)
	accounts, _ := s.call(http.MethodGet, api+"/api/accounts", key, "")["items"].([]any)
	if len(accounts) != 1 {
		t.Fatalf("accounts: %v", accounts)
	}
	account, _ := accounts[0].(map[string]any)["accountId"].(string)
	s.eventually(api+"/api/accounts/"+account, key, "status", "disconnected")

	s.again()
	s.down()
	s.wantNoPasswords()
}

func jsonText(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// again runs what ends before the services start, as the next docker compose up
// does.
func (s *system) again() {
	s.Helper()
	path := filepath.Join(s.dir, "keys", "keyset.json")
	before, err := os.ReadFile(path)
	if err != nil {
		s.Fatal(err)
	}
	for name, c := range s.project.Services {
		if oneShot(c) {
			s.once(name, c.Command...)
		}
	}
	if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
		s.Errorf("the keyset is another one: %v", err)
	}
}

func (s *system) wantNoPasswords() {
	s.Helper()
	for _, p := range s.processes {
		if strings.Contains(p.out.String()+p.err.String(), "trial-") {
			s.Errorf("%s wrote a password", p.name)
		}
	}
}
