package api

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"postbus.dev/events"
)

type ctx = context.Context

func canceled(t *testing.T) context.Context {
	c, cancel := context.WithCancel(t.Context())
	cancel()
	return c
}

// following is a caller of the stream of one publish.
type following struct {
	http.ResponseWriter
	mu   sync.Mutex
	text strings.Builder
	done chan struct{}
}

func (f *following) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.text.Write(p)
}

func (f *following) Flush() {}

// got returns what came since the last call.
func (f *following) got() string {
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	defer f.text.Reset()
	return f.text.String()
}

func (f *following) ended() bool {
	synctest.Wait()
	select {
	case <-f.done:
		return true
	default:
		return false
	}
}

func (b *bundle) follow(c context.Context, id uuid.UUID, headers ...string) *following {
	f := &following{ResponseWriter: httptest.NewRecorder(), done: make(chan struct{})}
	r := httptest.NewRequestWithContext(c, http.MethodGet, "/api/publishes/"+id.String()+"/events", nil)
	r.Header.Set("Authorization", "Bearer pb_alice")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	go func() {
		defer close(f.done)
		b.api.ServeHTTP(f, r)
	}()
	synctest.Wait()
	return f
}

// followed is a bundle with one publish in version 3.
func followed(t *testing.T) (*bundle, Publish) {
	b := setup(t)
	p := publishOf(alice, "/upstream")
	p.Version = 3
	b.store.put(p)
	return b, p
}

func names(text string) string {
	var out []string
	for line := range strings.Lines(text) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "event: "); ok {
			out = append(out, name)
		}
	}
	return strings.Join(out, " ")
}

func TestAStreamBeginsWithTheStateAndEndsWithTheFinalEvent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, p := followed(t)
		f := b.follow(t.Context(), p.ID)
		if got := f.got(); !strings.HasPrefix(got, "retry: 2000\n\nid: 3\nevent: snapshot\ndata: {\"publishId\":\""+p.ID.String()) || !strings.HasSuffix(got, "}\n\n") {
			t.Errorf("begins with %q", got)
		}
		b.wire.tell(events.TypePublishDelayed, p.ID, 5)
		if got, want := f.got(), "id: 5\nevent: publish.delayed\ndata: {\"publishId\":\""+p.ID.String()+"\",\"says\":\"line\\nbreak\"}\n\n"; got != want {
			t.Errorf("goes on with %q, want %q", got, want)
		}
		b.wire.tell(events.TypePublishUnconfirmed, p.ID, 6)
		if f.ended() {
			t.Error("ended although something may follow")
		}
		b.wire.tell(events.TypePublishCompleted, p.ID, 7)
		if got := names(f.got()); got != "publish.unconfirmed publish.completed" || !f.ended() {
			t.Errorf("ends with %q, ended %v", got, f.ended())
		}
		h := f.Header()
		if h.Get("Content-Type") != "text/event-stream" || h.Get("Cache-Control") != "no-store" || h.Get("X-Accel-Buffering") != "no" || h.Get("RateLimit") == "" {
			t.Errorf("headers are %v", h)
		}
	})
}

func TestWhatTheCallerKnowsIsNotSentAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, p := followed(t)
		f := b.follow(t.Context(), p.ID)
		f.got()
		b.wire.tell(events.TypePublishScheduled, p.ID, 3) // was in the snapshot
		b.wire.tell(events.TypePublishDelayed, p.ID, 5)
		b.wire.tell(events.TypePublishDelayed, p.ID, 5)         // came twice
		b.wire.tell(events.TypePublishScheduled, p.ID, 4)       // was overtaken
		b.wire.tell(events.TypePublishCompleted, uuid.New(), 9) // of another publish
		if got := f.got(); strings.Count(got, "event:") != 1 || !strings.Contains(got, "id: 5\n") {
			t.Errorf("sent %q", got)
		}
		b.api.Drain()
		<-f.done
	})
}

func TestAPublishThatHasEndedIsOneSnapshot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, p := followed(t)
		complete(&p)
		b.store.put(p)
		f := b.follow(t.Context(), p.ID)
		if got := names(f.got()); got != "snapshot" || !f.ended() {
			t.Errorf("sent %q, ended %v", got, f.ended())
		}
		seen := b.send(t.Context(), http.MethodGet, "/api/publishes/"+p.ID.String()+"/events", "", "Last-Event-ID", "3")
		if seen.status != http.StatusNoContent || seen.raw != "" {
			t.Errorf("who has seen the end gets %d %q", seen.status, seen.raw)
		}
	})
}

func TestACallerWhoComesBackGetsASnapshotIfSomethingHasChanged(t *testing.T) {
	t.Parallel()
	for last, want := range map[string]string{"3": "", "2": "snapshot", "99": "snapshot", "": "snapshot", "x\x01": "snapshot"} {
		synctest.Test(t, func(t *testing.T) {
			b, p := followed(t)
			f := b.follow(t.Context(), p.ID, "Last-Event-ID", last)
			if got := names(f.got()); got != want {
				t.Errorf("after %q: %q, want %q", last, got, want)
			}
			b.wire.tell(events.TypePublishFailed, p.ID, 4)
			if got := names(f.got()); got != "publish.failed" || !f.ended() {
				t.Errorf("after %q: then %q", last, got)
			}
		})
	}
}

func TestAMissedEventIsMadeUpForByASnapshotWhenTheBusIsBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, p := followed(t)
		f := b.follow(t.Context(), p.ID)
		f.got()
		b.wire.reconnected()
		if got := f.got(); got != "" {
			t.Errorf("nothing had changed, sent %q", got)
		}
		p.Version = 8
		complete(&p)
		b.store.put(p)
		b.wire.reconnected()
		if got := names(f.got()); got != "snapshot" || !f.ended() {
			t.Errorf("sent %q, ended %v", got, f.ended())
		}
	})
}

func TestAStreamIsKeptAliveAndEndsAfterItsTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, p := followed(t)
		f := b.follow(t.Context(), p.ID)
		f.got()
		time.Sleep(heartbeat)
		if got := f.got(); got != ":\n\n" {
			t.Errorf("after %v: %q", heartbeat, got)
		}
		time.Sleep(streamLimit - heartbeat)
		if !f.ended() {
			t.Errorf("open after %v", streamLimit)
		}
	})
}

func TestAStreamEndsWhenTheProcessStopsAndWhenTheCallerLeaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, p := followed(t)
		c, leave := context.WithCancel(t.Context())
		one, two := b.follow(c, p.ID), b.follow(t.Context(), p.ID)
		leave()
		if !one.ended() || two.ended() {
			t.Errorf("ended: %v and %v", one.ended(), two.ended())
		}
		b.api.Drain()
		if !two.ended() {
			t.Error("open while the process stops")
		}
	})
}

func TestAKeyHasABoundedNumberOfStreams(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, p := followed(t)
		var all []*following
		for range streamsPerKey {
			all = append(all, b.follow(t.Context(), p.ID))
		}
		a := b.send(t.Context(), http.MethodGet, "/api/publishes/"+p.ID.String()+"/events", "")
		a.wants(t, 429, "RATE_LIMIT_EXCEEDED")
		if a.header.Get("Retry-After") == "" {
			t.Errorf("headers are %v", a.header)
		}
		b.api.Drain()
		for _, f := range all {
			<-f.done
		}
		complete(&p)
		b.store.put(p)
		if a := b.send(t.Context(), http.MethodGet, "/api/publishes/"+p.ID.String()+"/events", ""); a.status != http.StatusOK {
			t.Errorf("after they were closed: %d %s", a.status, a.raw)
		}
	})
}

func TestAUserHasABoundedNumberOfStreamsHoweverManyKeys(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, p := followed(t)
		var all []*following
		for i := range streamsPerUser {
			all = append(all, b.follow(t.Context(), p.ID, "Authorization", []string{"Bearer pb_alice", "Bearer pb_alice_2"}[i%2]))
		}
		b.send(t.Context(), http.MethodGet, "/api/publishes/"+p.ID.String()+"/events", "", "Authorization", "Bearer pb_alice_3").wants(t, 429, "RATE_LIMIT_EXCEEDED")
		b.api.Drain()
		for _, f := range all {
			<-f.done
		}
	})
}

func TestAStreamEndsSoonAfterItsKeyWasRevoked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, p := followed(t)
		f := b.follow(t.Context(), p.ID)
		time.Sleep(heartbeat)
		if f.ended() {
			t.Fatal("ended although its key is valid")
		}
		b.keys.revoked.Store(true)
		time.Sleep(heartbeat)
		if !f.ended() {
			t.Error("goes on without a valid key")
		}
	})
}

func TestAStreamIsRefusedLikeAnyOtherCall(t *testing.T) {
	t.Parallel()
	b, p := followed(t)
	path := "/api/publishes/" + p.ID.String() + "/events"
	for query, want := range map[string]string{
		"?x=1": "query.x additionalProperties", "?userId=" + strings.Repeat("x", 256): "query.userId maxLength", "?userId=%zz": "query format",
	} {
		a := b.send(t.Context(), http.MethodGet, path+query, "")
		a.wants(t, 400, "VALIDATION_ERROR")
		if got := a.faults(); got != want {
			t.Errorf("%s: %s", query, got)
		}
	}
	b.send(t.Context(), http.MethodGet, "/api/publishes/7/events", "").wants(t, 400, "VALIDATION_ERROR")
	b.send(t.Context(), http.MethodGet, path, "", "Authorization", "Bearer pb_accounts").wants(t, 403, "MISSING_SCOPE")
	b.send(t.Context(), http.MethodGet, path, "", "Authorization", "").wants(t, 401, "UNAUTHORIZED")
}

// A caller who reads nothing fills its connection and its queue; the others
// notice nothing, and it is let go.
func TestASlowCallerBlocksNobody(t *testing.T) {
	t.Parallel()
	b, p := followed(t)
	srv := httptest.NewServer(b.api)
	defer srv.Close()
	slow, quick := open(t, srv.URL, p.ID), open(t, srv.URL, p.ID)
	defer slow.Close()
	defer quick.Close()
	read := bufio.NewScanner(quick)
	version := int64(3)
	long := strings.Repeat("x", 16<<10)
	for range 800 { // more than a connection holds
		version++
		b.wire.send(events.TypePublishDelayed, p.ID, version, long)
		for read.Scan() && !strings.HasPrefix(read.Text(), "event: publish.delayed") {
			continue
		}
	}
	if err := read.Err(); err != nil {
		t.Errorf("the quick caller: %v", err)
	}
	b.api.Drain()
}

func open(t *testing.T, base string, id uuid.UUID) io.ReadCloser {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/api/publishes/"+id.String()+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer pb_alice")
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK {
		t.Fatalf("answered %d", res.StatusCode)
	}
	return res.Body
}

func TestAStreamComesThroughAReverseProxyAtOnce(t *testing.T) {
	t.Parallel()
	b, p := followed(t)
	srv := httptest.NewServer(b.api)
	defer srv.Close()
	behind, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(behind) },
		Transport: &http.Transport{DisableKeepAlives: true},
	})
	defer proxy.Close()
	body := open(t, proxy.URL, p.ID)
	defer body.Close()
	read := bufio.NewScanner(body)
	for _, want := range []string{"event: snapshot", "event: publish.completed"} {
		for read.Scan() && read.Text() != want {
			continue
		}
		if read.Text() != want { // the next event is said only when this one has come
			t.Fatalf("no %s: %v", want, read.Err())
		}
		b.wire.tell(events.TypePublishCompleted, p.ID, 4)
	}
}
