package stage

import (
	"cmp"
	"fmt"
	"net/http"
	"time"
)

// Cut is how a connection ends without an answer.
type Cut int

// The ways to end a connection.
const (
	NoCut  Cut = iota
	Reset      // RST
	Hangup     // FIN
)

// Plan is what happens to one call. The zero Plan is a call that all goes well
// with.
type Plan struct {
	Before     time.Duration // provider time before the call is carried out, whether or not the caller still waits
	HoldBefore bool          // until the fault is cleared
	Skip       bool          // it is not carried out
	After      time.Duration // provider time between carrying out and answering
	HoldAfter  bool          // until the fault is cleared
	Answer     *Answer       // in place of the true answer
	Cut        Cut           // no answer
	Truncate   bool          // the body breaks off and the connection is closed
	Bytes      int           // with Truncate: so many bytes of it come; 0: half
	Trickle    time.Duration // the answer comes byte by byte within this provider time
}

// common are the switches that every stand-in has: what a network and a
// provider's front end can do to a call.
func common() []Switch {
	delay := map[string]string{"delay": "provider time, such as 30s"}
	status := map[string]string{"status": "HTTP status, default 500", "body": "body, default a page of HTML"}
	return []Switch{
		{Name: "lost_before", About: "the request is read and the connection reset; nothing is carried out",
			Plan: func(Fault, Act) Plan { return Plan{Skip: true, Cut: Reset} }},
		{Name: "lost_after", About: "the call is carried out, then the connection is reset without an answer",
			Plan: func(Fault, Act) Plan { return Plan{Cut: Reset} }},
		{Name: "closed_before", About: "the request is read and the connection closed in order; nothing is carried out",
			Plan: func(Fault, Act) Plan { return Plan{Skip: true, Cut: Hangup} }},
		{Name: "closed_after", About: "the call is carried out, then the connection is closed in order without an answer",
			Plan: func(Fault, Act) Plan { return Plan{Cut: Hangup} }},
		{Name: "hang_before", Params: delay, About: "the call is carried out late, even when the caller has gone by then, and answered",
			Plan: func(f Fault, _ Act) Plan { return Plan{Before: time.Duration(f.Delay)} }},
		{Name: "hang_after", Params: delay, About: "the call is carried out at once and answered late",
			Plan: func(f Fault, _ Act) Plan { return Plan{After: time.Duration(f.Delay)} }},
		{Name: "hold_before", About: "the call waits until the fault is cleared, is then carried out, even when the caller has gone, and answered",
			Plan: func(Fault, Act) Plan { return Plan{HoldBefore: true} }},
		{Name: "hold_after", About: "the call is carried out at once and answered when the fault is cleared",
			Plan: func(Fault, Act) Plan { return Plan{HoldAfter: true} }},
		{Name: "hold_drop", About: "the call waits until the fault is cleared, is then not carried out, and the connection is reset",
			Plan: func(Fault, Act) Plan { return Plan{HoldBefore: true, Skip: true, Cut: Reset} }},
		{Name: "http_before", Params: status, About: "an HTTP error of the front end; nothing is carried out",
			Plan: func(f Fault, _ Act) Plan { return Plan{Skip: true, Answer: frontEnd(f)} }},
		{Name: "http_after", Params: status, About: "the call is carried out and answered with an HTTP error of the front end",
			Plan: func(f Fault, _ Act) Plan { return Plan{Answer: frontEnd(f)} }},
		{Name: "garbage_body", Params: map[string]string{"body": "default: bytes that are no JSON"},
			About: "the call is carried out and answered 200 with a body that is not JSON",
			Plan:  func(f Fault, _ Act) Plan { return Plan{Answer: garbage(f)} }},
		{Name: "empty_body", About: "the call is carried out and answered 200 with no body",
			Plan: func(Fault, Act) Plan { return Plan{Answer: &Answer{Status: http.StatusOK}} }},
		{Name: "empty_object", About: "the call is carried out and answered 200 with {}",
			Plan: func(Fault, Act) Plan { return Plan{Answer: &Answer{Status: http.StatusOK, Body: []byte("{}")}} }},
		{Name: "truncated_body", Params: map[string]string{"bytes": "how many bytes of the body come, default half"},
			About: "the call is carried out; the answer breaks off in its body",
			Plan:  func(f Fault, _ Act) Plan { return Plan{Truncate: true, Bytes: f.Bytes} }},
		{Name: "huge_body", Params: map[string]string{"bytes": "size of the body, default 64 MiB"},
			About: "the call is carried out and answered 200 with a body that is far too long",
			Plan:  func(f Fault, _ Act) Plan { return Plan{Answer: huge(f)} }},
		{Name: "redirect", Params: map[string]string{"body": "the Location, default /elsewhere", "status": "default 302"},
			About: "a redirect; nothing is carried out",
			Plan:  func(f Fault, _ Act) Plan { return Plan{Skip: true, Answer: redirect(f)} }},
		{Name: "trickle", Params: delay, About: "the call is carried out and the answer comes byte by byte over the delay, default 30s",
			Plan: func(f Fault, _ Act) Plan { return Plan{Trickle: orDefault(f.Delay, 30*time.Second)} }},
	}
}

func orDefault(d Duration, other time.Duration) time.Duration {
	return cmp.Or(time.Duration(d), other)
}

// frontEnd is what a load balancer says when the provider behind it is away.
func frontEnd(f Fault) *Answer {
	status := cmp.Or(f.Status, http.StatusInternalServerError)
	page := fmt.Sprintf("<!DOCTYPE html><html><title>%d %s</title><p>Sorry, something went wrong.</html>", status, http.StatusText(status))
	return &Answer{Status: status, Header: header("text/html; charset=utf-8"), Body: []byte(cmp.Or(f.Body, page))}
}

func garbage(f Fault) *Answer {
	return &Answer{Status: http.StatusOK, Header: header("application/json"), Body: []byte(cmp.Or(f.Body, "\x00\xff{\"id\":<\x1b"))}
}

func huge(f Fault) *Answer {
	size := cmp.Or(f.Bytes, 64<<20)
	return &Answer{Status: http.StatusOK, Header: header("application/json"), Repeat: size}
}

func redirect(f Fault) *Answer {
	h := http.Header{"Location": {cmp.Or(f.Body, "/elsewhere")}}
	return &Answer{Status: cmp.Or(f.Status, http.StatusFound), Header: h}
}

func header(contentType string) http.Header {
	return http.Header{"Content-Type": {contentType}}
}
