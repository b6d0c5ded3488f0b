package stage

import (
	"sync"
	"sync/atomic"
	"time"
)

// Post is one post that really went up at a stand-in.
type Post struct {
	Seq         int64             `json:"seq"` // order of posting, over all providers, from 1
	Provider    string            `json:"provider"`
	Account     string            `json:"account"` // the provider's account id
	Username    string            `json:"username"`
	MediaType   string            `json:"mediaType"` // IMAGE, VIDEO, CAROUSEL, STORY, TEXT, LINK
	Product     string            `json:"product,omitempty"`
	Text        string            `json:"text"`
	Time        time.Time         `json:"time"`
	ID          string            `json:"id"`
	Permalink   string            `json:"permalink"`
	ContainerID string            `json:"containerId,omitempty"`
	Children    int               `json:"children"`
	Media       []string          `json:"media,omitempty"`  // URLs, never fetched
	Params      map[string]string `json:"params,omitempty"` // as the caller gave them, without tokens
	Call        int64             `json:"call,omitempty"`   // number in the call log
	Foreign     bool              `json:"foreign,omitempty"`
}

// Ledger lists what was really posted, in the order of posting.
type Ledger struct {
	changes *atomic.Int64

	mu      sync.Mutex
	posts   ring[Post]
	seq     int64
	own     int64
	foreign int64
}

func newLedger(keep int, changes *atomic.Int64) *Ledger {
	return &Ledger{changes: changes, posts: ring[Post]{keep: keep}}
}

// Add writes p down and returns it with its number.
func (l *Ledger) Add(p Post) Post {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seq++
	p.Seq = l.seq
	if p.Foreign {
		l.foreign++
	} else {
		l.own++
	}
	l.posts.add(p)
	l.changes.Add(1)
	return p
}

// PostFilter selects posts; empty fields select all.
type PostFilter struct {
	Provider string
	Account  string
	Text     string // exact
	After    int64  // only those with a higher Seq
	Limit    int    // at most the newest Limit
	Foreign  bool   // also those of others
}

func (f PostFilter) match(p Post) bool {
	return (f.Provider == "" || f.Provider == p.Provider) &&
		(f.Account == "" || f.Account == p.Account) &&
		(f.Text == "" || f.Text == p.Text) &&
		p.Seq > f.After && (f.Foreign || !p.Foreign)
}

// List returns the posts that match, oldest first.
func (l *Ledger) List(f PostFilter) []Post {
	l.mu.Lock()
	defer l.mu.Unlock()
	found := []Post{}
	l.posts.each(func(p Post) bool {
		if f.match(p) {
			found = append(found, p)
		}
		return true
	})
	if f.Limit > 0 && len(found) > f.Limit {
		found = found[len(found)-f.Limit:]
	}
	return found
}

// Total counts all posts ever made through the stand-ins, without those of others.
func (l *Ledger) Total() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.own
}

// Clear forgets the posts; numbers go on.
func (l *Ledger) Clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.posts.clear()
	l.own, l.foreign = 0, 0
	l.changes.Add(1)
}
