package instagram

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postbus.dev/services/connectors"
)

func TestMain(m *testing.M) {
	// These tests wait, they do not compute: more of them at a time than there
	// are processors.
	if err := flag.Set("test.parallel", "32"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

const (
	testUser  = "17841400000000001"
	testToken = "IGAAtoken-nobody-may-see"
	mediaPath = "/v25.0/" + testUser + "/media"
	pubPath   = "/v25.0/" + testUser + "/media_publish"
	quotaPath = "/v25.0/" + testUser + "/content_publishing_limit"
	storyPath = "/v25.0/" + testUser + "/stories"
)

// reply is an answer of the fake: 200 unless told otherwise.
type reply struct {
	status int
	header http.Header
	body   string
}

// asked is a request that the fake got.
type asked struct {
	method, path string
	query, form  url.Values
}

// fake answers each method and path with its replies in order; the last one
// stays. A request that the provider would not understand fails the test.
type fake struct {
	t       *testing.T
	check   func(*http.Request) // of every request; none for nil
	mu      sync.Mutex
	replies map[string][]reply
	seen    []asked
	headers []http.Header // of each of them
}

func (f *fake) on(key string, replies ...reply) *fake {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.replies[key] = replies
	return f
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		f.t.Error(err)
	}
	if f.check != nil {
		f.check(r)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen = append(f.seen, asked{r.Method, r.URL.Path, r.URL.Query(), r.PostForm})
	f.headers = append(f.headers, r.Header)
	key := r.Method + " " + r.URL.Path
	queue := f.replies[key]
	if len(queue) == 0 {
		f.t.Errorf("nobody expected %s", key)
		http.Error(w, "unexpected", http.StatusNotImplemented)
		return
	}
	if len(queue) > 1 {
		f.replies[key] = queue[1:]
	}
	for k, v := range queue[0].header {
		w.Header()[k] = v
	}
	w.WriteHeader(max(queue[0].status, 200))
	_, _ = fmt.Fprint(w, queue[0].body)
}

// publishes is what every request of a publish has to be.
func (f *fake) publishes(r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer "+testToken {
		f.t.Errorf("%s: Authorization is %q", r.URL.Path, r.Header.Get("Authorization"))
	}
	if strings.Contains(r.URL.RawQuery, testToken) || r.Form.Has("access_token") {
		f.t.Errorf("%s: the token is in a parameter", r.URL.Path)
	}
	if r.Method == http.MethodPost && (r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || r.URL.RawQuery != "") {
		f.t.Errorf("%s: parameters are not the form: %v %q", r.URL.Path, r.Header, r.URL.RawQuery)
	}
}

func (f *fake) requests() []asked {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.seen)
}

// bench is one connector on a fake.
type bench struct {
	*fake
	t       *testing.T
	c       *Connector
	account connectors.Account
	now     time.Time
}

func setup(t *testing.T) *bench {
	t.Helper()
	f := newFake(t)
	f.check = f.publishes
	return f.bench(Config{})
}

// setupWith is a connector of that configuration on a fake that takes every
// request.
func setupWith(t *testing.T, cfg Config) *bench {
	t.Helper()
	return newFake(t).bench(cfg)
}

func newFake(t *testing.T) *fake { return &fake{t: t, replies: map[string][]reply{}} }

// bench serves f to a connector. From here on f belongs to its handlers: that a
// request comes after a change of f is no order, since a Commit's bytes are
// written past what the race detector knows of sockets.
func (f *fake) bench(cfg Config) *bench {
	t := f.t
	t.Helper()
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	client := connectors.NewClient(connectors.ClientConfig{})
	t.Cleanup(client.Close)
	b := &bench{
		fake: f, t: t, now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC),
		account: connectors.Account{ProviderAccountID: testUser, AccessToken: connectors.NewSecret(testToken)},
	}
	cfg.Client, cfg.BaseURL, cfg.Now = client, server.URL, func() time.Time { return b.now }
	cfg.AuthorizeURL, cfg.TokenURL = server.URL+"/oauth/authorize?enable_fb_login=false", server.URL+"/oauth/access_token"
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.c = c
	return b
}

func (b *bench) prepare(p connectors.Post, cp checkpoint) (connectors.Step, checkpoint, error) {
	b.t.Helper()
	step, err := b.c.Prepare(context.Background(), b.account, p, encode(cp))
	return step, decode(b.t, step.Checkpoint, cp), err
}

// armed is a context in which one Commit may go out.
func armed() context.Context {
	return connectors.WithArm(context.Background(), func(context.Context) (connectors.Window, error) {
		return connectors.Window{SendBy: time.Now().Add(10 * time.Second), UserTimeout: time.Second}, nil
	})
}

func (b *bench) commit(p connectors.Post, cp checkpoint) (connectors.Step, checkpoint, error) {
	b.t.Helper()
	step, err := b.c.Commit(armed(), b.account, p, encode(cp))
	return step, decode(b.t, step.Checkpoint, cp), err
}

func (b *bench) confirm(p connectors.Post, cp checkpoint) (connectors.Step, checkpoint, error) {
	b.t.Helper()
	step, err := b.c.Confirm(context.Background(), b.account, p, encode(cp))
	return step, decode(b.t, step.Checkpoint, cp), err
}

func (b *bench) find(p connectors.Post, at connectors.Attempt, cp checkpoint) (connectors.Found, checkpoint, error) {
	b.t.Helper()
	found, err := b.c.Find(context.Background(), b.account, p, at, encode(cp))
	return found, decode(b.t, found.Checkpoint, cp), err
}

func encode(cp checkpoint) connectors.Checkpoint {
	cp.Version = checkpointVersion
	b, err := json.Marshal(cp)
	if err != nil {
		panic(err)
	}
	return b
}

func decode(t *testing.T, raw connectors.Checkpoint, last checkpoint) checkpoint {
	t.Helper()
	if raw == nil {
		return last
	}
	if strings.Contains(string(raw), testToken) {
		t.Errorf("the checkpoint holds the token: %s", raw)
	}
	var cp checkpoint
	if err := json.Unmarshal(raw, &cp); err != nil {
		t.Fatal(err)
	}
	return cp
}

func wantError(t *testing.T, err error, kind connectors.Kind) *connectors.Error {
	t.Helper()
	var e *connectors.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want an *Error", err)
	}
	if e.Kind != kind {
		t.Fatalf("got %v, want %v", e, kind)
	}
	if strings.Contains(e.Error(), testToken) {
		t.Errorf("the error holds the token: %v", e)
	}
	return e
}

// prepared is a checkpoint of a post whose container c1 is ready.
func (b *bench) prepared() checkpoint {
	return checkpoint{Main: container{ID: "c1", CreatedAt: b.now}, QuotaAt: b.now}
}

func graphError(code, subcode int) reply {
	return reply{status: 400, body: fmt.Sprintf(`{"error":{"message":"localized","type":"IGApiException","code":%d,"error_subcode":%d,"is_transient":false,"fbtrace_id":"AbC"}}`, code, subcode)}
}

func statusReply(code string) reply {
	return reply{body: fmt.Sprintf(`{"status_code":%q,"id":"c1"}`, code)}
}

var (
	image = connectors.Post{MediaType: connectors.Image, MediaURL: "https://example.com/image.jpg", Caption: "Hello"}
	video = connectors.Post{MediaType: connectors.Video, MediaURL: "https://example.com/video.mp4", Caption: "Hello"}
)
