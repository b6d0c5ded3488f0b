package sandbox_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postbus.dev/services/connectors/sandbox"
	"postbus.dev/services/connectors/sandbox/instagram"
	"postbus.dev/services/connectors/sandbox/stage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bundle is a sandbox over the network, with one account.
type bundle struct {
	t      *testing.T
	sb     *sandbox.Sandbox
	srv    *sandbox.Server
	client *http.Client
	acct   stage.Account
}

func setup(t *testing.T, cfg sandbox.Config, serve sandbox.ServeConfig) *bundle {
	t.Helper()
	if cfg.Factor == 0 {
		cfg.Factor = 0.0005
	}
	sb, err := sandbox.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	srv, err := sb.Serve(serve)
	if err != nil {
		t.Fatal(err)
	}
	client := srv.Client()
	t.Cleanup(func() {
		sb.Close()
		client.CloseIdleConnections()
		if err := srv.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return &bundle{t: t, sb: sb, srv: srv, client: client, acct: sb.Accounts(instagram.Name)[0]}
}

// send makes a request; body is JSON unless it is nil.
func (b *bundle) send(method, path string, body any) (int, map[string]any, error) {
	b.t.Helper()
	var in io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			b.t.Fatal(err)
		}
		in = bytes.NewReader(raw)
	}
	r, err := http.NewRequest(method, b.srv.URL+path, in)
	if err != nil {
		b.t.Fatal(err)
	}
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := b.client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return resp.StatusCode, nil, err
	}
	var out map[string]any
	if err := json.Unmarshal(raw, &out); err != nil {
		return resp.StatusCode, nil, fmt.Errorf("no JSON: %w", err)
	}
	return resp.StatusCode, out, nil
}

// must makes a request of the control API that has to succeed.
func (b *bundle) must(method, path string, body any) map[string]any {
	b.t.Helper()
	status, out, err := b.send(method, path, body)
	if err != nil || status != 200 {
		b.t.Fatalf("%s %s: %d %v %v", method, path, status, out, err)
	}
	return out
}

func (b *bundle) graph(method, path string, params map[string]any) (int, map[string]any, error) {
	b.t.Helper()
	if method == "GET" {
		q := url.Values{"access_token": {b.acct.Token}}
		for k, v := range params {
			q.Set(k, fmt.Sprint(v))
		}
		return b.send(method, "/instagram/v25.0"+path+"?"+q.Encode(), nil)
	}
	p := map[string]any{"access_token": b.acct.Token}
	for k, v := range params {
		p[k] = v
	}
	return b.send(method, "/instagram/v25.0"+path, p)
}

// ready makes an image container and waits until it is FINISHED.
func (b *bundle) ready() string {
	b.t.Helper()
	_, out, err := b.graph("POST", "/me/media", map[string]any{"image_url": "https://example.com/a.jpg", "caption": "hi"})
	id, ok := out["id"].(string)
	if err != nil || !ok {
		b.t.Fatalf("create: %v %v", out, err)
	}
	for range 500 {
		_, out, err := b.graph("GET", "/"+id, map[string]any{"fields": "status_code"})
		if err == nil && out["status_code"] == "FINISHED" {
			return id
		}
		time.Sleep(2 * time.Millisecond)
	}
	b.t.Fatal("container does not become FINISHED")
	return ""
}

func (b *bundle) publish(id string) (int, map[string]any, error) {
	b.t.Helper()
	return b.graph("POST", "/me/media_publish", map[string]any{"creation_id": id})
}

func (b *bundle) lastCall(name string) stage.Call {
	b.t.Helper()
	for range 500 {
		calls := b.sb.Calls(stage.CallFilter{Name: name, Limit: 1})
		if len(calls) == 1 && !calls[0].Open {
			return calls[0]
		}
		time.Sleep(2 * time.Millisecond)
	}
	b.t.Fatalf("no finished call %s", name)
	return stage.Call{}
}

func TestCommonFaultsOnThePublish(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		fault  stage.Fault
		posted bool
		status int // 0: no answer
		broken bool
	}{
		{stage.Fault{Switch: "lost_before"}, false, 0, true},
		{stage.Fault{Switch: "lost_after"}, true, 0, true},
		{stage.Fault{Switch: "closed_before"}, false, 0, true},
		{stage.Fault{Switch: "closed_after"}, true, 0, true},
		{stage.Fault{Switch: "http_before"}, false, 500, true},
		{stage.Fault{Switch: "http_after", Status: 502}, true, 502, true},
		{stage.Fault{Switch: "garbage_body"}, true, 200, true},
		{stage.Fault{Switch: "empty_body"}, true, 200, true},
		{stage.Fault{Switch: "empty_object"}, true, 200, false},
		{stage.Fault{Switch: "truncated_body"}, true, 200, true},
		{stage.Fault{Switch: "huge_body", Bytes: 3 << 20}, true, 200, true},
		{stage.Fault{Switch: "trickle", Delay: stage.Duration(10 * time.Second)}, true, 200, false},
		{stage.Fault{Switch: "hang_before", Delay: stage.Duration(time.Minute)}, true, 200, false},
		{stage.Fault{Switch: "hang_after", Delay: stage.Duration(time.Minute)}, true, 200, false},
		{stage.Fault{Switch: "action_blocked_after"}, true, 400, false},
		{stage.Fault{Switch: "action_blocked_before"}, false, 400, false},
	} {
		for _, tls := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s tls=%v", c.fault.Switch, tls), func(t *testing.T) {
				t.Parallel()
				b := setup(t, sandbox.Config{}, sandbox.ServeConfig{TLS: tls})
				id := b.ready()
				f := c.fault
				f.Call, f.Count = instagram.CallPublish, 1
				if _, err := b.sb.SetFault(f); err != nil {
					t.Fatal(err)
				}
				status, out, err := b.publish(id)
				if status != c.status || (err != nil) != c.broken {
					t.Errorf("status %d, %v, %v", status, out, err)
				}
				if posted := len(b.sb.Posts(stage.PostFilter{})) == 1; posted != c.posted {
					t.Errorf("posted: %v", posted)
				}
				if call := b.lastCall(instagram.CallPublish); call.Executed != c.posted || call.Switch != f.Switch {
					t.Errorf("log: %+v", call)
				}
			})
		}
	}
}

func TestALostAnswerIsAReset(t *testing.T) {
	t.Parallel()
	b := setup(t, sandbox.Config{}, sandbox.ServeConfig{})
	id := b.ready()
	if _, err := b.sb.SetFault(stage.Fault{Switch: "lost_after", Call: instagram.CallPublish}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.publish(id); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("want a reset: %v", err)
	}
}

func TestARedirectIsOnlyAnAnswer(t *testing.T) {
	t.Parallel()
	b := setup(t, sandbox.Config{}, sandbox.ServeConfig{})
	id := b.ready()
	b.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if _, err := b.sb.SetFault(stage.Fault{Switch: "redirect", Call: instagram.CallPublish, Status: 307}); err != nil {
		t.Fatal(err)
	}
	if status, _, _ := b.publish(id); status != 307 || len(b.sb.Posts(stage.PostFilter{})) != 0 {
		t.Errorf("status %d, %d posts", status, len(b.sb.Posts(stage.PostFilter{})))
	}
}

func TestACallIsCarriedOutThoughItsCallerHasGone(t *testing.T) {
	t.Parallel()
	b := setup(t, sandbox.Config{Profile: sandbox.Faithful}, sandbox.ServeConfig{})
	id := b.ready()
	f := b.must("POST", "/_sandbox/faults", map[string]any{"switch": "hold_before", "call": "media_publish", "count": 1})
	b.client.Timeout = 50 * time.Millisecond
	if _, _, err := b.publish(id); err == nil {
		t.Fatal("the held call was answered")
	}
	b.client.Timeout = 0
	if n := len(b.sb.Posts(stage.PostFilter{})); n != 0 {
		t.Fatalf("%d posts while it is held", n)
	}
	b.must("DELETE", fmt.Sprintf("/_sandbox/faults/%v", f["id"]), nil)
	if call := b.lastCall(instagram.CallPublish); !call.Executed || len(b.sb.Posts(stage.PostFilter{})) != 1 {
		t.Errorf("%+v, posts %v", call, b.sb.Posts(stage.PostFilter{}))
	}
}

func TestALateCallIsCarriedOutThoughItsCallerHasGone(t *testing.T) {
	t.Parallel()
	b := setup(t, sandbox.Config{Factor: 0.005}, sandbox.ServeConfig{})
	id := b.ready()
	late := stage.Fault{Switch: "hang_before", Call: instagram.CallPublish, Delay: stage.Duration(time.Minute)} // 300 ms here
	if _, err := b.sb.SetFault(late); err != nil {
		t.Fatal(err)
	}
	b.client.Timeout = 50 * time.Millisecond
	if _, _, err := b.publish(id); err == nil {
		t.Fatal("the late call was answered")
	}
	if n := len(b.sb.Posts(stage.PostFilter{})); n != 0 {
		t.Fatalf("%d posts already", n)
	}
	if call := b.lastCall(instagram.CallPublish); !call.Executed || len(b.sb.Posts(stage.PostFilter{})) != 1 {
		t.Errorf("%+v, posts %v", call, b.sb.Posts(stage.PostFilter{}))
	}
}

func TestClosingDropsWhatIsHeld(t *testing.T) {
	t.Parallel()
	b := setup(t, sandbox.Config{}, sandbox.ServeConfig{})
	id := b.ready()
	if _, err := b.sb.SetFault(stage.Fault{Switch: "hold_before", Call: instagram.CallPublish}); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		_, _, err := b.publish(id)
		done <- err
	}()
	for b.sb.Faults()[0].Waiting == 0 {
		time.Sleep(time.Millisecond)
	}
	b.sb.Close()
	if err := <-done; err == nil || len(b.sb.Posts(stage.PostFilter{})) != 0 {
		t.Errorf("%v, %d posts", err, len(b.sb.Posts(stage.PostFilter{})))
	}
}

// subject is the path and parameters of a call, for each name.
func (b *bundle) subject(call, container, media string) (method, path string, params map[string]any) {
	switch call {
	case instagram.CallCreate:
		return "POST", "/me/media", map[string]any{"image_url": "https://example.com/a.jpg"}
	case instagram.CallPublish:
		return "POST", "/me/media_publish", map[string]any{"creation_id": container}
	case instagram.CallContainer:
		return "GET", "/" + container, map[string]any{"fields": "status_code"}
	case instagram.CallMedia:
		return "GET", "/" + media, map[string]any{"fields": "permalink"}
	case instagram.CallList:
		return "GET", "/me/media", map[string]any{"fields": "caption"}
	case instagram.CallRefresh:
		return "GET", "/refresh_access_token", map[string]any{"grant_type": "ig_refresh_token"}
	default:
		b.t.Fatalf("no subject for %s", call)
		return "", "", nil
	}
}

func TestEveryRowOfTheTableIsPlayed(t *testing.T) {
	t.Parallel()
	old := stage.Account{Provider: instagram.Name, Username: "demo", TokenAge: stage.Duration(48 * time.Hour)} // to be refreshed
	b := setup(t, sandbox.Config{Accounts: []stage.Account{old}}, sandbox.ServeConfig{})
	_, out, err := b.publish(b.ready())
	media, ok := out["id"].(string)
	if err != nil || !ok {
		t.Fatalf("publish: %v %v", out, err)
	}
	seen := map[string]bool{}
	for _, h := range b.sb.Hints()[instagram.Name] {
		if key := h.Source + " " + h.Row; h.Row == "" || h.About == "" || seen[key] {
			t.Errorf("row %q is empty or twice", key)
		} else {
			seen[key] = true
		}
		if h.Fault == nil && h.Builtin == "" {
			t.Errorf("%s: nothing plays it", h.Row)
		}
		if h.Fault == nil {
			continue
		}
		container := b.ready()
		f := b.must("POST", "/_sandbox/faults", h.Fault)
		if h.Expect != nil {
			b.expect(h, container, media)
		}
		b.must("DELETE", fmt.Sprintf("/_sandbox/faults/%v", f["id"]), nil)
	}
	if len(seen) < 70 {
		t.Errorf("only %d rows", len(seen))
	}
}

func (b *bundle) expect(h stage.Hint, container, media string) {
	b.t.Helper()
	method, path, params := b.subject(h.Expect.Call, container, media)
	before := len(b.sb.Posts(stage.PostFilter{}))
	status, out, _ := b.graph(method, path, params)
	if status != h.Expect.Status {
		b.t.Errorf("%s: status %d, want %d: %v", h.Row, status, h.Expect.Status, out)
	}
	if call := b.lastCall(h.Expect.Call); call.Executed != h.Expect.Executed {
		b.t.Errorf("%s: executed %v", h.Row, call.Executed)
	}
	made := len(b.sb.Posts(stage.PostFilter{})) - before
	if want := h.Expect.Call == instagram.CallPublish && h.Expect.Executed; (made == 1) != want {
		b.t.Errorf("%s: made %d posts", h.Row, made)
	}
	code := ""
	if e, ok := out["error"].(map[string]any); ok {
		code = fmt.Sprint(e["code"])
		if s, ok := e["error_subcode"]; ok && s != 0.0 {
			code += fmt.Sprintf("/%.0f", s)
		}
	}
	if code != h.Expect.Code {
		b.t.Errorf("%s: code %s, want %s", h.Row, code, h.Expect.Code)
	}
}

func TestTheControlAPI(t *testing.T) {
	t.Parallel()
	b := setup(t, sandbox.Config{}, sandbox.ServeConfig{})
	made := b.must("POST", "/_sandbox/accounts", map[string]any{"provider": "instagram", "username": "team", "count": 3, "quotaTotal": 5})
	list := made["accounts"].([]any)
	third := list[2].(map[string]any)
	if len(list) != 3 || third["username"] != "team3" || third["token"] == "" || third["id"] == third["appId"] {
		t.Fatalf("%v", made)
	}
	if _, _, err := b.publish(b.ready()); err != nil {
		t.Fatal(err)
	}
	posts := b.must("GET", "/_sandbox/posts?provider=instagram&account="+b.acct.ID, nil)
	first := posts["posts"].([]any)[0].(map[string]any)
	for _, name := range []string{"provider", "account", "mediaType", "text", "time", "id", "permalink", "containerId", "children"} {
		if _, ok := first[name]; !ok {
			t.Errorf("no %s in %v", name, first)
		}
	}
	if posts["total"] != 1.0 {
		t.Errorf("%v", posts)
	}
	if got := b.must("GET", "/_sandbox/posts?account=1", nil)["posts"].([]any); len(got) != 0 {
		t.Errorf("%v", got)
	}
	planted := b.must("POST", "/_sandbox/posts/foreign", map[string]any{"provider": "instagram", "account": b.acct.ID, "caption": "theirs"})
	if planted["foreign"] != true || b.must("GET", "/_sandbox/posts", nil)["total"] != 1.0 {
		t.Errorf("%v", planted)
	}
	b.must("DELETE", "/_sandbox/posts", nil)
	if got := b.must("GET", "/_sandbox/posts", nil); got["total"] != 0.0 {
		t.Errorf("%v", got)
	}
	if got := b.must("PATCH", "/_sandbox/behavior/instagram", map[string]any{"quota": 7}); got["quota"] != 7.0 || got["strict"] != true {
		t.Errorf("%v", got)
	}
	for _, sw := range b.must("GET", "/_sandbox/switches", nil)["switches"].([]any) {
		if s := sw.(map[string]any); s["name"] == "" || s["about"] == "" {
			t.Errorf("a switch without name or description: %v", s)
		}
	}
	for _, c := range []struct{ method, path, body string }{
		{"POST", "/_sandbox/faults", `{"switch":"nonsense"}`}, {"POST", "/_sandbox/faults", `{"switch":"lost_after","cal":"x"}`},
		{"POST", "/_sandbox/accounts", `{"provider":"nonsense"}`}, {"POST", "/_sandbox/accounts", `{"provider":"instagram","count":-1}`},
		{"PATCH", "/_sandbox/behavior/nonsense", `{}`}, {"GET", "/_sandbox/posts?limit=x", ``}, {"DELETE", "/_sandbox/faults/x", ``},
		{"POST", "/_sandbox/posts/foreign", `{"provider":"nonsense"}`}, {"POST", "/_sandbox/tokens", `{"provider":"instagram","account":"1"}`},
		{"POST", "/_sandbox/tokens/expire", `{"provider":"instagram","account":"nobody"}`}, {"POST", "/_sandbox/tokens/revoke", `{"account":"nobody"}`},
	} {
		r, err := http.NewRequest(c.method, b.srv.URL+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := b.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		raw, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != 400 || !bytes.Contains(raw, []byte(`"error"`)) {
			t.Errorf("%+v: %d %s", c, resp.StatusCode, raw)
		}
	}
}

func TestTokensAreEndedAndMadeOverTheControlAPI(t *testing.T) {
	t.Parallel()
	b := setup(t, sandbox.Config{Profile: sandbox.Faithful, Factor: 1}, sandbox.ServeConfig{})
	who := map[string]any{"provider": "instagram", "account": b.acct.ID}
	code := func() any {
		_, out, err := b.graph("GET", "/me", nil)
		if err != nil {
			t.Fatal(err)
		}
		e, _ := out["error"].(map[string]any)
		return e["error_subcode"]
	}
	if b.must("POST", "/_sandbox/tokens/revoke", map[string]any{"account": b.acct.ID, "subcode": 460})["revoked"] != 1.0 || code() != 460.0 {
		t.Errorf("revoked: %v", code())
	}
	b.must("POST", "/_sandbox/tokens/revoke", who) // no reason: good again
	if got := code(); got != nil {
		t.Errorf("restored: %v", got)
	}
	if b.must("POST", "/_sandbox/tokens/expire", who)["expired"] != 1.0 || code() != 463.0 {
		t.Errorf("expired: %v", code())
	}
	byName := map[string]any{"provider": "instagram", "account": b.acct.Username, "refreshable": true}
	if b.must("POST", "/_sandbox/tokens/expire", byName)["expired"] != 1.0 || code() == 463.0 {
		t.Errorf("expired, refreshable: %v", code())
	}
	b.acct.Token = b.must("POST", "/_sandbox/tokens", who)["token"].(string)
	if got := code(); got != nil {
		t.Errorf("new token: %v", got)
	}
	raw, err := json.Marshal(b.must("GET", "/_sandbox/tokens", nil))
	if err != nil || bytes.Contains(raw, []byte(b.acct.Token)) {
		t.Errorf("the list of tokens shows them: %s %v", raw, err)
	}
}

func TestTheCallLogHoldsNoSecret(t *testing.T) {
	t.Parallel()
	b := setup(t, sandbox.Config{}, sandbox.ServeConfig{})
	b.ready()
	raw, err := json.Marshal(b.must("GET", "/_sandbox/calls?name=container_read", nil))
	if err != nil || bytes.Contains(raw, []byte(b.acct.Token)) {
		t.Errorf("%s %v", raw, err)
	}
	if !bytes.Contains(raw, []byte(`"access_token"`)) || !bytes.Contains(raw, []byte(`"path":"/v25.0/178`)) {
		t.Errorf("%s", raw)
	}
}

func TestOverTLSTheByteLogTellsHandshakeAndRequestApart(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "ca.pem")
	b := setup(t, sandbox.Config{}, sandbox.ServeConfig{TLS: true, CAFile: file})
	if pem, err := os.ReadFile(file); err != nil || !bytes.HasPrefix(pem, []byte("-----BEGIN CERTIFICATE-----")) {
		t.Fatalf("%s %v", pem, err)
	}
	idle := dialTLS(t, b.srv)
	b.must("GET", "/_sandbox/accounts", nil)
	for range 500 { // the server may still be at the end of the handshake
		if c := b.sb.Connections(); !c[0].Handshaken.IsZero() {
			break
		}
		time.Sleep(time.Millisecond)
	}
	for _, c := range b.sb.Connections() {
		mine := c.Remote == idle.LocalAddr().String()
		if c.Handshaken.IsZero() || c.RawBytes == 0 || mine != (c.AppBytes == 0) {
			t.Errorf("mine %v: %+v", mine, c)
		}
		if !mine && (c.FirstApp.Before(c.Handshaken) || c.RawBytes <= c.AppBytes || len(c.App) == 0) {
			t.Errorf("%+v", c)
		}
	}
	calls, conns := b.sb.Calls(stage.CallFilter{}), b.must("GET", "/_sandbox/connections", nil)["connections"].([]any)
	if len(calls) != 0 || len(conns) != 2 {
		t.Errorf("%d calls, %d connections", len(calls), len(conns))
	}
	b.ready()
	if c := b.lastCall(instagram.CallCreate); c.Conn == 0 {
		t.Errorf("the call names no connection: %+v", c)
	}
}

func TestOverTLSLinksAreHTTPS(t *testing.T) {
	t.Parallel()
	b := setup(t, sandbox.Config{}, sandbox.ServeConfig{TLS: true})
	for range 4 {
		if _, err := b.sb.Plant(instagram.Name, []byte(`{"account":"`+b.acct.ID+`","caption":"x","ago":"1h"}`)); err != nil {
			t.Fatal(err)
		}
	}
	for range 500 {
		_, out, err := b.graph("GET", "/me/media", nil)
		if err != nil {
			t.Fatal(err)
		}
		p, _ := out["paging"].(map[string]any)
		if next, ok := p["next"].(string); ok {
			if !strings.HasPrefix(next, b.srv.URL+"/instagram/v25.0/me/media?") {
				t.Errorf("next %s", next)
			}
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
	t.Error("no second page")
}

func TestAConfigThatMakesNoSenseIsRefused(t *testing.T) {
	t.Parallel()
	for _, cfg := range []sandbox.Config{
		{Profile: "kind"}, {Factor: -1}, {Accounts: []stage.Account{{Provider: "nonsense", Username: "x"}}}, {Accounts: []stage.Account{{Provider: "instagram"}}},
	} {
		if _, err := sandbox.New(cfg); err == nil {
			t.Errorf("%+v was taken", cfg)
		}
	}
	sb, err := sandbox.New(sandbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sb.Serve(sandbox.ServeConfig{Addr: "256.0.0.1:1"}); err == nil {
		t.Error("served at an address that is none")
	}
}
