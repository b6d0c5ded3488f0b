package world

import (
	"bytes"
	"io"
	"net/http"
	"sync"

	"postbus.dev/deploy/e2e/contract"
)

// watch keeps everything that passes the door: what callers, browsers and the
// provider ask, and what they are answered.
type watch struct {
	mu   sync.Mutex
	seen []contract.Exchange
}

func (w *watch) around(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		asked := newLines() // whoever reads the body may go on after the answer
		x := contract.Exchange{Method: r.Method, URL: r.URL, Asked: r.Header.Clone(), Interrupted: true}
		if r.Body != http.NoBody {
			r.Body = readCloser{io.TeeReader(r.Body, asked), r.Body}
		}
		answer := &copied{ResponseWriter: rw}
		defer func() {
			x.AskedBody, x.Status, x.Header, x.Body = []byte(asked.text()), answer.status, answer.header, answer.body.Bytes()
			w.mu.Lock()
			defer w.mu.Unlock()
			w.seen = append(w.seen, x)
		}()
		next.ServeHTTP(answer, r)
		x.Interrupted = false
	})
}

type readCloser struct {
	io.Reader
	io.Closer
}

// copied is an answer that is kept as it is written.
type copied struct {
	http.ResponseWriter
	status int
	header http.Header
	body   bytes.Buffer
}

func (c *copied) WriteHeader(status int) {
	if c.status == 0 && status >= http.StatusOK {
		c.status, c.header = status, c.Header().Clone()
	}
	c.ResponseWriter.WriteHeader(status)
}

func (c *copied) Write(b []byte) (int, error) {
	if c.status == 0 {
		c.WriteHeader(http.StatusOK)
	}
	c.body.Write(b)
	return c.ResponseWriter.Write(b)
}

// Unwrap lets what flushes find its way.
func (c *copied) Unwrap() http.ResponseWriter { return c.ResponseWriter }
