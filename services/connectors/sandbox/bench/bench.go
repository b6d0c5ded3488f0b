// Package bench is a provider of one plain call, for benchmarks: what a publish
// costs with it is what the publisher itself costs. It keeps a count for each
// key and knows no account, token or fault.
package bench

import (
	"encoding/json"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const shards = 64

// Bench counts posts.
type Bench struct {
	total  atomic.Int64
	last   atomic.Int64
	shards [shards]shard
}

type shard struct {
	mu   sync.Mutex
	keys map[string]Entry
}

// Entry is what is kept of one key.
type Entry struct {
	Count int       `json:"count"` // posts made with the key; more than 1 is a duplicate
	First time.Time `json:"first"`
}

// New makes an empty one.
func New() *Bench {
	b := &Bench{}
	b.Clear()
	return b
}

// Post counts a post with the key; an empty key makes a new one.
func (b *Bench) Post(key string) (id string, n int) {
	b.total.Add(1)
	if key == "" {
		key = strconv.FormatInt(b.last.Add(1), 10)
	}
	s := b.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.keys[key]
	if e.Count++; e.Count == 1 {
		e.First = time.Now()
	}
	s.keys[key] = e
	return key, e.Count
}

// Get returns what is kept of a key; Count 0 when there is nothing.
func (b *Bench) Get(key string) Entry {
	s := b.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys[key]
}

// Totals are the counters.
type Totals struct {
	Posts      int64 `json:"posts"`
	Keys       int64 `json:"keys"`
	Duplicates int64 `json:"duplicates"` // posts beyond the first of their key
}

// Totals returns the counters.
func (b *Bench) Totals() Totals {
	var t Totals
	t.Posts = b.total.Load()
	for i := range b.shards {
		s := &b.shards[i]
		s.mu.Lock()
		t.Keys += int64(len(s.keys))
		for _, e := range s.keys {
			t.Duplicates += int64(e.Count - 1)
		}
		s.mu.Unlock()
	}
	return t
}

// Clear forgets everything.
func (b *Bench) Clear() {
	b.total.Store(0)
	for i := range b.shards {
		s := &b.shards[i]
		s.mu.Lock()
		s.keys = map[string]Entry{}
		s.mu.Unlock()
	}
}

func (b *Bench) shard(key string) *shard {
	h := uint32(2166136261)
	for i := range len(key) {
		h = (h ^ uint32(key[i])) * 16777619
	}
	return &b.shards[h%shards]
}

// Handler serves POST /bench/post and /bench/post/{key} -> {"id":...}, GET
// /bench/get/{key} -> {"count","first"}, GET /bench/totals, DELETE /bench.
func (b *Bench) Handler() http.Handler {
	mux := http.NewServeMux()
	post := func(w http.ResponseWriter, r *http.Request) {
		id, n := b.Post(r.PathValue("key"))
		write(w, []byte(`{"id":`+strconv.Quote(id)+`,"count":`+strconv.Itoa(n)+`}`))
	}
	mux.HandleFunc("POST /bench/post", post)
	mux.HandleFunc("POST /bench/post/{key}", post)
	mux.HandleFunc("GET /bench/get/{key}", func(w http.ResponseWriter, r *http.Request) { show(w, b.Get(r.PathValue("key"))) })
	mux.HandleFunc("GET /bench/totals", func(w http.ResponseWriter, _ *http.Request) { show(w, b.Totals()) })
	mux.HandleFunc("DELETE /bench/", func(w http.ResponseWriter, _ *http.Request) {
		b.Clear()
		show(w, b.Totals())
	})
	return mux
}

func show(w http.ResponseWriter, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	write(w, body)
}

func write(w http.ResponseWriter, body []byte) {
	h := w.Header()
	h["Content-Type"] = []string{"application/json"}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	_, _ = w.Write(body)
}
