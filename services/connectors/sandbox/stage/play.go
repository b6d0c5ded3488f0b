package stage

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Answer is what a stand-in says to a call.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	Code   string // the provider's error code, for the call log
	Repeat int    // instead of Body: so many spaces
}

// Act is one call as a stand-in understood it.
type Act struct {
	Provider string
	Call     string // the short name that faults and the log use
	Account  string // "" when the caller is unknown
	Params   []string
	Unknown  []string // names of parameters that the provider does not have
	// Do carries the call out. n is its number in the call log.
	Do func(n int64) Answer
}

// Origin is where a request came in.
type Origin struct {
	Conn   int64  // number in the connection log; 0 when there is none
	Scheme string // http or https
}

type originKey struct{}

// WithOrigin tells where the requests of a connection come in.
func WithOrigin(ctx context.Context, o Origin) context.Context {
	return context.WithValue(ctx, originKey{}, o)
}

// OriginOf returns where a request came in.
func OriginOf(r *http.Request) Origin {
	o, ok := r.Context().Value(originKey{}).(Origin)
	if !ok {
		o.Scheme = "http"
		if r.TLS != nil {
			o.Scheme = "https"
		}
	}
	return o
}

// Play carries a call out and answers it, as the faults say. The request's body
// must have been read.
func (s *Stage) Play(w http.ResponseWriter, r *http.Request, a Act) {
	slices.Sort(a.Params)
	entry := s.Calls.begin(Call{
		Provider: a.Provider, Name: a.Call, Account: a.Account, Method: r.Method, Path: r.URL.Path,
		Params: a.Params, Unknown: a.Unknown, Conn: OriginOf(r).Conn,
	})
	var plan Plan
	hit := s.Faults.play(a.Provider, a.Call, a.Account)
	if hit != nil {
		plan = hit.sw.Plan(hit.Fault, a)
		s.Calls.update(entry, func(c *Call) { c.Switch, c.Fault = hit.Switch, hit.ID })
	}
	answer, answered := s.perform(r.Context(), a, plan, hit, entry)
	s.Calls.end(entry, func(c *Call) {
		if answered {
			c.Status, c.Code = answer.Status, answer.Code
		}
	})
	s.Logger.Debug("call", "provider", a.Provider, "name", a.Call, "account", a.Account, "status", answer.Status, "code", answer.Code)
	s.deliver(w, r, answer, answered, plan)
}

// perform does what the plan says up to the answer; it is false when there is none.
func (s *Stage) perform(ctx context.Context, a Act, plan Plan, hit *live, entry *Call) (Answer, bool) {
	// A caller that has gone does not stop a provider: it has the request.
	if !s.sleep(s.Scale(plan.Before), nil) || plan.HoldBefore && !s.hold(nil, hit) {
		return Answer{}, false
	}
	var answer Answer
	if !plan.Skip {
		answer = a.Do(entry.N)
		s.changes.Add(1)
		s.Calls.update(entry, func(c *Call) { c.Executed = true })
	}
	if !s.sleep(s.Scale(plan.After), ctx.Done()) || plan.HoldAfter && !s.hold(ctx.Done(), hit) {
		return Answer{}, false
	}
	if plan.Answer != nil {
		answer = *plan.Answer
	}
	return answer, plan.Cut == NoCut
}

// hold waits until the fault is cleared.
func (s *Stage) hold(gone <-chan struct{}, hit *live) bool {
	s.Faults.waiting(hit.ID, 1)
	defer s.Faults.waiting(hit.ID, -1)
	select {
	case <-hit.cleared:
		return true
	case <-gone:
		return false
	case <-s.done:
		return false
	}
}

func (s *Stage) deliver(w http.ResponseWriter, r *http.Request, answer Answer, answered bool, plan Plan) {
	switch {
	case !answered && plan.Cut == Hangup:
		cut(w, false)
	case !answered:
		cut(w, true)
	case plan.Truncate:
		truncate(w, answer, plan.Bytes)
	case plan.Trickle > 0:
		s.trickle(w, r, answer, s.Scale(plan.Trickle))
	default:
		head(w, answer)
		body(w, answer)
	}
}

func head(w http.ResponseWriter, a Answer) {
	for name, values := range a.Header {
		w.Header()[name] = values
	}
	size := len(a.Body)
	if a.Repeat > 0 {
		size = a.Repeat
	}
	w.Header().Set("Content-Length", strconv.Itoa(size))
	w.WriteHeader(a.Status)
}

func body(w http.ResponseWriter, a Answer) {
	if a.Repeat == 0 {
		_, _ = w.Write(a.Body)
		return
	}
	chunk := bytes.Repeat([]byte(" "), 32<<10)
	for left := a.Repeat; left > 0; left -= len(chunk) {
		if _, err := w.Write(chunk[:min(left, len(chunk))]); err != nil {
			return
		}
	}
}

// truncate sends a part of the body and resets the connection.
func truncate(w http.ResponseWriter, a Answer, n int) {
	head(w, a)
	if n == 0 {
		n = len(a.Body) / 2
	}
	_, _ = w.Write(a.Body[:min(n, len(a.Body))])
	rc := http.NewResponseController(w)
	_ = rc.Flush()
	cut(w, false)
}

// trickle sends the body byte by byte.
func (s *Stage) trickle(w http.ResponseWriter, r *http.Request, a Answer, over time.Duration) {
	head(w, a)
	rc := http.NewResponseController(w)
	pause := over / time.Duration(max(len(a.Body), 1))
	for i := range a.Body {
		_ = rc.Flush()
		if !s.sleep(pause, r.Context().Done()) {
			return
		}
		if _, err := w.Write(a.Body[i : i+1]); err != nil {
			return
		}
	}
}

// cut ends the connection without an answer: with a reset, or in order.
func cut(w http.ResponseWriter, reset bool) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // net/http closes the connection, the best that is left
	}
	if tcp, ok := underlying(conn).(*net.TCPConn); ok && reset {
		_ = tcp.SetLinger(0)
		_ = tcp.Close()
	}
	_ = conn.Close()
}

// underlying is the TCP connection below TLS and the byte log.
func underlying(c net.Conn) net.Conn {
	for {
		inner, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return c
		}
		c = inner.NetConn()
	}
}
