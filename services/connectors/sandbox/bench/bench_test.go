package bench_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"postbus.dev/services/connectors/sandbox/bench"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func call(h http.Handler, method, path string) string {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w.Body.String()
}

func TestPostsAreCountedByKey(t *testing.T) {
	t.Parallel()
	h := bench.New().Handler()
	if got := call(h, "POST", "/bench/post/a"); got != `{"id":"a","count":1}` {
		t.Error(got)
	}
	call(h, "POST", "/bench/post/a")
	call(h, "POST", "/bench/post")
	if got := call(h, "GET", "/bench/get/a"); !strings.HasPrefix(got, `{"count":2,"first":"2`) {
		t.Error(got)
	}
	if got := call(h, "GET", "/bench/get/b"); !strings.HasPrefix(got, `{"count":0`) {
		t.Error(got)
	}
	if got := call(h, "GET", "/bench/totals"); got != `{"posts":3,"keys":2,"duplicates":1}` {
		t.Error(got)
	}
	call(h, "DELETE", "/bench/")
	if got := call(h, "GET", "/bench/totals"); got != `{"posts":0,"keys":0,"duplicates":0}` {
		t.Error(got)
	}
}

func TestNoPostIsLostUnderLoad(t *testing.T) {
	t.Parallel()
	b := bench.New()
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 1000 {
				b.Post(fmt.Sprint(i))
				b.Post(fmt.Sprint(w, "-", i))
			}
		})
	}
	wg.Wait()
	if got := b.Totals(); got != (bench.Totals{Posts: 16_000, Keys: 9_000, Duplicates: 7_000}) {
		t.Errorf("%+v", got)
	}
}
