package connectortest

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"time"
)

// Trouble is what the wire does to the request of a Commit.
type Trouble string

// The troubles. After each but the first two the stand-in has carried the call
// out.
const (
	RequestLost        Trouble = "request lost"               // reset before the stand-in sees it
	ErrorBefore        Trouble = "503 instead of the call"    // not carried out
	AnswerLost         Trouble = "answer lost"                // reset after it
	AnswerCut          Trouble = "answer cut in the middle"   //
	AnswerEmpty        Trouble = "connection closed after it" // without a byte
	ErrorAfter         Trouble = "500 after the call"
	AnswerUnreadable   Trouble = "HTML instead of the answer"
	AnswerBare         Trouble = "{} instead of the answer"
	AnswerWithoutToken Trouble = "an empty access_token in the answer"
	Silence            Trouble = "no answer at all"
	InformationBefore  Trouble = "103 before the answer" // no trouble at all
)

func (t Trouble) executes() bool { return t != RequestLost && t != ErrorBefore }

// Wire stands between a connector and a stand-in, and breaks once, for a
// Commit or for a certain request, when told to.
type Wire struct {
	next http.Handler
	done chan struct{}

	mu         sync.Mutex
	trouble    Trouble // of the next Commit
	breakIn    int     // or of so many requests from now on the last; 0: of none
	committing bool
	armed      bool
	during     int // requests of this Commit
	spent      time.Duration
	requests   []request
	faults     []string
}

type request struct {
	r    *http.Request
	body []byte
}

// NewWire returns a wire to a stand-in, to be served by an HTTP server. Close it
// before the server.
func NewWire(next http.Handler) *Wire { return &Wire{next: next, done: make(chan struct{})} }

// Close ends what is kept waiting.
func (w *Wire) Close() { close(w.done) }

// Break makes the next Commit run into trouble.
func (w *Wire) Break(t Trouble) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trouble = t
}

// BreakIn makes the n-th request from now on run into trouble, 1 the next.
func (w *Wire) BreakIn(n int, t Trouble) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.breakIn, w.trouble = n, t
}

// begin, arm and end tell where a Commit stands.
func (w *Wire) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.committing, w.armed, w.during = true, false, 0
}

func (w *Wire) arm() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.armed = true
	if w.during > 0 {
		w.faults = append(w.faults, "a request was sent before the arm hook was called")
	}
}

func (w *Wire) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.committing = false
	if w.during > 1 {
		w.faults = append(w.faults, fmt.Sprintf("a commit made %d calls", w.during))
	}
}

// busy is the time spent in calls since it was last asked.
func (w *Wire) busy() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := w.spent
	w.spent = 0
	return d
}

// ServeHTTP passes a call on, or breaks.
func (w *Wire) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	start := time.Now()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.spent += time.Since(start)
	}()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	trouble := w.note(r, body)
	if trouble == "" {
		w.next.ServeHTTP(rw, r)
		return
	}
	answer := httptest.NewRecorder()
	if trouble.executes() {
		w.next.ServeHTTP(answer, r)
	}
	w.spoil(rw, r, trouble, answer.Result())
}

// note writes a request down and takes the trouble that is meant for it.
func (w *Wire) note(r *http.Request, body []byte) Trouble {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests = append(w.requests, request{r.Clone(r.Context()), body})
	switch {
	case w.committing:
		w.during++
	case w.breakIn == 0:
		return ""
	default:
		if w.breakIn--; w.breakIn > 0 {
			return ""
		}
	}
	t := w.trouble
	w.trouble = ""
	return t
}

func (w *Wire) spoil(rw http.ResponseWriter, r *http.Request, t Trouble, answer *http.Response) {
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		panic(err) // memory
	}
	switch t {
	case ErrorBefore:
		http.Error(rw, "upstream unavailable", http.StatusServiceUnavailable)
	case ErrorAfter:
		http.Error(rw, "internal error", http.StatusInternalServerError)
	case AnswerUnreadable:
		_, _ = io.WriteString(rw, "<html>Sorry, something went wrong.</html>")
	case AnswerBare:
		_, _ = io.WriteString(rw, "{}")
	case AnswerWithoutToken:
		_, _ = rw.Write(regexp.MustCompile(`"access_token":\s*"[^"]*"`).ReplaceAll(body, []byte(`"access_token":""`)))
	case InformationBefore:
		rw.WriteHeader(http.StatusEarlyHints)
		rw.WriteHeader(answer.StatusCode)
		_, _ = rw.Write(body)
	case AnswerCut:
		whole := fmt.Sprintf("HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", answer.Status, len(body), body)
		hangUp(rw, whole[:len(whole)-len(body)/2-1], false)
	case AnswerEmpty:
		hangUp(rw, "", false)
	case Silence:
		select {
		case <-w.done:
		case <-r.Context().Done():
		}
		hangUp(rw, "", true)
	default:
		hangUp(rw, "", true)
	}
}

// hangUp writes what is left to write and ends the connection.
func hangUp(rw http.ResponseWriter, last string, reset bool) {
	conn, _, err := http.NewResponseController(rw).Hijack()
	if err != nil {
		return
	}
	_, _ = io.WriteString(conn, last)
	if tcp, ok := conn.(*net.TCPConn); ok && reset {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// seen lists the requests, as method and path.
func (w *Wire) seen() (list []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, q := range w.requests {
		list = append(list, q.r.Method+" "+q.r.URL.Path)
	}
	return list
}

// wrong lists what no provider may get to see, and what this one asks for. With
// token "" it is not looked for: some providers take it nowhere but in the URL.
func (w *Wire) wrong(token string, own func(*http.Request, []byte) error) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	faults := w.faults
	for _, q := range w.requests {
		name := q.r.Method + " " + q.r.URL.Path
		if token != "" && strings.Contains(q.r.RequestURI, token) {
			faults = append(faults, name+": the token is in the URL")
		}
		for _, header := range []string{"Traceparent", "Tracestate", "Baggage"} {
			if q.r.Header.Get(header) != "" {
				faults = append(faults, name+": tells the provider our "+header)
			}
		}
		if own != nil {
			if err := own(q.r, q.body); err != nil {
				faults = append(faults, fmt.Sprintf("%s: %v", name, err))
			}
		}
	}
	return faults
}
