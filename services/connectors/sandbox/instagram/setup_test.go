package instagram_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"postbus.dev/services/connectors/sandbox/instagram"
	"postbus.dev/services/connectors/sandbox/stage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bundle is a stand-in with one account, in a bubble of fake time.
type bundle struct {
	t    *testing.T
	st   *stage.Stage
	ig   *instagram.Instagram
	acct stage.Account
}

// inBubble runs a test with fake time, so that a day passes at once.
func inBubble(t *testing.T, b instagram.Behavior, f func(b *bundle)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st, err := stage.New(stage.Config{})
		if err != nil {
			t.Fatal(err)
		}
		ig := instagram.New(st, b)
		st.Faults.Register(ig)
		acct, err := ig.Account(stage.Account{Username: "ada"})
		if err != nil {
			t.Fatal(err)
		}
		f(&bundle{t: t, st: st, ig: ig, acct: acct})
	})
}

// reply is an answer as a client sees it.
type reply struct {
	status int
	header http.Header
	body   map[string]any
}

// id is the id in the answer; the test fails when there is none.
func (b *bundle) id(r reply) string {
	b.t.Helper()
	id, ok := r.body["id"].(string)
	if r.status != http.StatusOK || !ok {
		b.t.Fatalf("no id in the answer: %d %v", r.status, r.body)
	}
	return id
}

// code is "code/subcode" of an error answer, or "".
func (r reply) code() string {
	e, ok := r.body["error"].(map[string]any)
	if !ok {
		return ""
	}
	c, _ := json.Marshal(e["code"])
	if s, ok := e["error_subcode"]; ok {
		text, _ := json.Marshal(s)
		return string(c) + "/" + string(text)
	}
	return string(c)
}

func (b *bundle) serve(r *http.Request) reply {
	b.t.Helper()
	w := httptest.NewRecorder()
	b.ig.Handler().ServeHTTP(w, r)
	out := reply{status: w.Code, header: w.Header()}
	if err := json.Unmarshal(w.Body.Bytes(), &out.body); err != nil {
		b.t.Fatalf("answer is not JSON: %v: %s", err, w.Body)
	}
	return out
}

// call makes a call with the account's token; pairs are parameters.
func (b *bundle) call(method, path string, pairs ...string) reply {
	b.t.Helper()
	v := url.Values{"access_token": {b.acct.Token}}
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	path = strings.Replace("/v25.0"+path, "{ig}", b.acct.ID, 1)
	if method == http.MethodGet || method == http.MethodDelete {
		return b.serve(httptest.NewRequest(method, path+"?"+v.Encode(), nil))
	}
	r := httptest.NewRequest(method, path, strings.NewReader(v.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return b.serve(r)
}

func (b *bundle) create(pairs ...string) string {
	b.t.Helper()
	return b.id(b.call("POST", "/{ig}/media", pairs...))
}

func (b *bundle) image(caption string) string {
	b.t.Helper()
	return b.create("image_url", "https://example.com/a.jpg", "caption", caption)
}

func (b *bundle) state(container string) string {
	b.t.Helper()
	code, _ := b.call("GET", "/"+container, "fields", "status_code,status").body["status_code"].(string)
	return code
}

// ready waits until the container is FINISHED.
func (b *bundle) ready(container string) string {
	b.t.Helper()
	for range 200 {
		if b.state(container) == "FINISHED" {
			return container
		}
		time.Sleep(time.Second)
	}
	b.t.Fatal("container does not become FINISHED")
	return ""
}

func (b *bundle) publish(container string) reply {
	b.t.Helper()
	return b.call("POST", "/{ig}/media_publish", "creation_id", container)
}

// post publishes an image and returns its id.
func (b *bundle) post(caption string) string {
	b.t.Helper()
	return b.id(b.publish(b.ready(b.image(caption))))
}

func (b *bundle) posts() []stage.Post { return b.st.Ledger.List(stage.PostFilter{}) }

// data is the list in an answer.
func (b *bundle) data(r reply) []map[string]any {
	b.t.Helper()
	list, ok := r.body["data"].([]any)
	if !ok {
		b.t.Fatalf("no data in the answer: %d %v", r.status, r.body)
	}
	items := make([]map[string]any, len(list))
	for i, v := range list {
		items[i], _ = v.(map[string]any)
	}
	return items
}

func (b *bundle) fault(f stage.Fault) {
	b.t.Helper()
	if _, err := b.st.Faults.Add(f); err != nil {
		b.t.Fatal(err)
	}
}

func itoa(n int) string { return strconv.Itoa(n) }

func request(method, path string) *http.Request { return httptest.NewRequest(method, path, nil) }
