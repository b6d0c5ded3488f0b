package sandbox_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"postbus.dev/services/connectors/sandbox"
	"postbus.dev/services/connectors/sandbox/instagram"
	"postbus.dev/services/connectors/sandbox/stage"
)

// end stops a sandbox as its process would, in order.
func (b *bundle) end() {
	b.t.Helper()
	b.sb.Close()
	b.client.CloseIdleConnections()
	if err := b.srv.Close(); err != nil {
		b.t.Fatal(err)
	}
}

// living starts a sandbox on a state file; end it.
func living(t *testing.T, cfg sandbox.Config) *bundle {
	t.Helper()
	sb, err := sandbox.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	srv, err := sb.Serve(sandbox.ServeConfig{})
	if err != nil {
		t.Fatal(err)
	}
	return &bundle{t: t, sb: sb, srv: srv, client: srv.Client(), acct: sb.Accounts(instagram.Name)[0]}
}

// content is the file, or nil where it cannot be read.
func content(path string) (v any) {
	raw, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(raw, &v) != nil {
		return nil
	}
	return v
}

func TestAStateOutlivesItsProcess(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "sandbox.json")
	cfg := sandbox.Config{StatePath: path, Factor: patient, Profile: sandbox.Faithful}
	b := living(t, cfg)
	_, out, err := b.publish(b.ready())
	first, ok := out["id"].(string)
	if err != nil || !ok {
		t.Fatalf("%v %v", out, err)
	}
	if _, err := b.sb.Plant(instagram.Name, []byte(`{"account":"`+b.acct.ID+`","caption":"theirs","kind":"STORIES"}`)); err != nil {
		t.Fatal(err)
	}
	back, err := b.click(sandbox.Person{Account: "demo"})
	if err != nil {
		t.Fatal(err)
	}
	prepared := b.ready()
	posts := b.sb.Posts(stage.PostFilter{Foreign: true})
	calls := b.lastCall(instagram.CallContainer).N
	b.end()
	before := content(path)

	b = living(t, cfg)
	if after := content(path); before == nil || !reflect.DeepEqual(before, after) {
		t.Errorf("the state changes by a restart:\n%v\n%v", before, after)
	}
	again := b.sb.Posts(stage.PostFilter{Foreign: true})
	for i := range again { // clocks apart
		if again[i].Time.Equal(posts[i].Time) {
			again[i].Time = posts[i].Time
		}
	}
	if !reflect.DeepEqual(again, posts) {
		t.Errorf("posts: %+v, want %+v", again, posts)
	}
	_, out, err = b.publish(prepared)
	second, _ := out["id"].(string)
	if err != nil || second == "" || second == first {
		t.Errorf("what was prepared: %v %v", out, err)
	}
	if n := b.lastCall(instagram.CallPublish).N; n <= calls {
		t.Errorf("call %d after %d", n, calls)
	}
	if p := b.sb.Posts(stage.PostFilter{}); len(p) != 2 || p[1].Seq != 3 || p[1].ContainerID != prepared {
		t.Errorf("%+v", p)
	}
	_, list, err := b.graph("GET", "/me/media", map[string]any{"fields": "id,media_type,permalink"})
	data, _ := list["data"].([]any)
	if err != nil || len(data) != 2 || data[1].(map[string]any)["id"] != first || data[1].(map[string]any)["media_type"] != "IMAGE" {
		t.Errorf("%v %v", list, err)
	}
	if got := b.token(back.Query().Get("code")); got != 200 {
		t.Errorf("the code: %d", got)
	}
	if got := b.token(back.Query().Get("code")); got != 400 {
		t.Errorf("the code again: %d", got)
	}
	b.end()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	if left, _ := filepath.Glob(path + "?*"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// A process that is killed has written what was known a moment ago.
func TestAStateIsWrittenWhileTheSandboxRuns(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "sandbox.json")
	b := living(t, sandbox.Config{StatePath: path, Factor: 0.002, Profile: sandbox.Faithful})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 20 {
				if _, _, err := b.graph("POST", "/me/media", map[string]any{"image_url": "https://example.com/a.jpg", "caption": fmt.Sprintf("c%d-%d", i, j)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	deadline := time.Now().Add(20 * time.Second)
	for raw := []byte(nil); bytes.Count(raw, []byte(`"caption":"c`)) < 160; time.Sleep(5 * time.Millisecond) {
		var err error
		if raw, err = os.ReadFile(path); err != nil || !json.Valid(raw) {
			t.Fatalf("no whole file: %v", err)
		}
		if time.Now().After(deadline) {
			t.Fatal("the state is not written")
		}
	}
	killed := filepath.Join(t.TempDir(), "sandbox.json")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(killed, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	b.end()
	b = living(t, sandbox.Config{StatePath: killed, Factor: 0.002, Profile: sandbox.Faithful})
	defer b.end()
	if _, _, err := b.publish(b.ready()); err != nil || len(b.sb.Posts(stage.PostFilter{})) != 1 {
		t.Errorf("after a kill: %v", err)
	}
}

func TestWhatWasTakenAwayIsNotGivenBackByARestart(t *testing.T) {
	t.Parallel()
	cfg := sandbox.Config{StatePath: filepath.Join(t.TempDir(), "sandbox.json"), Accounts: []stage.Account{
		{Provider: "instagram", Username: "removed"}, {Provider: "instagram", Username: "late", QuotaTotal: 7},
	}}
	works := func(b *bundle, username string) bool {
		for _, a := range b.sb.Accounts("") {
			if a.Username == username {
				b.acct = a
			}
		}
		_, out, err := b.graph("GET", "/me", nil)
		return err == nil && out["error"] == nil
	}
	b := living(t, cfg)
	if !works(b, "removed") || !works(b, "late") {
		t.Error("the first tokens do not work")
	}
	b.sb.ExpireTokens(stage.TokenFilter{Account: b.acct.ID}, false)
	works(b, "removed")
	b.sb.RevokeTokens(stage.TokenFilter{Account: b.acct.ID}, stage.Dead{Code: 190, Subcode: 458})
	b.end()
	b = living(t, cfg)
	defer b.end()
	if works(b, "removed") || !works(b, "late") || b.acct.QuotaTotal != 7 || len(b.sb.Accounts("")) != 2 {
		t.Errorf("%+v", b.sb.Accounts(""))
	}
}

func TestAStateThatCannotBeReadSaysWhatToDo(t *testing.T) {
	t.Parallel()
	for want, raw := range map[string]string{
		"is damaged":              `{"version":1,`,
		"is of version 2":         `{"version":2}`,
		"is of version 0":         `{}`,
		`no provider "nonsense"`:  `{"version":1,"providers":{"nonsense":{}}}`,
		"does not fit":            `{"version":1,"providers":{"instagram":{"containers":[{"id":"1","params":{"media_type":"SONG"}}]}}}`,
		"needs a provider, an id": `{"version":1,"stage":{"accounts":[{}]}}`,
	} {
		path := filepath.Join(t.TempDir(), "sandbox.json")
		if err := os.WriteFile(path, []byte(raw), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := sandbox.New(sandbox.Config{StatePath: path})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "move it away") ||
			strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", want, err)
		}
		if left, err := os.ReadFile(path); err != nil || string(left) != raw {
			t.Errorf("%s: the file was touched", want)
		}
	}
	_, err := sandbox.New(sandbox.Config{StatePath: filepath.Join(t.TempDir(), "no", "such", "sandbox.json")})
	if err == nil || !strings.Contains(err.Error(), "write the sandbox's state") {
		t.Errorf("got %v", err)
	}
}

// Two lives with the same settings draw other numbers: a token is not given to
// two accounts.
func TestASecondLifeGivesOutNoTokenOfTheFirst(t *testing.T) {
	t.Parallel()
	cfg := sandbox.Config{StatePath: filepath.Join(t.TempDir(), "sandbox.json")}
	var values []string
	for range 2 {
		b := living(t, cfg)
		v, err := b.sb.IssueToken(stage.TokenFilter{Provider: instagram.Name, Account: b.acct.ID}, 0)
		if err != nil {
			t.Fatal(err)
		}
		values = append(values, v)
		b.end()
	}
	if values[0] == values[1] {
		t.Error("the same token twice")
	}
}
