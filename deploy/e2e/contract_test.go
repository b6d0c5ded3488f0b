package e2e

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"postbus.dev/deploy/e2e/contract"
)

// callsPerKey is more than the run makes with the key that may do everything, and
// few enough to be used up.
const callsPerKey = 500

// operation is what the document does not tell of one.
type operation struct {
	user   string   // whose calls they are; "": one of its own
	scopes []string // that it needs, or what has to be there for it
	// good makes a valid call, and what there has to be for it.
	good func(p *party) contract.Call
	// more makes calls that follow from each other, the valid ones among them. Each
	// success that is documented has to be met. nil makes the good one.
	more func(p *party, good contract.Call)
	// lenient ones are opened by browsers and providers, who add to the query what
	// is nobody's business.
	lenient bool
}

// party is whom an operation is called by: a user for it alone, and a key with
// just the scopes that it needs.
type party struct {
	house
	op        *contract.Operation
	user, key string
	met       map[string]bool // statuses that were answered
}

// contract calls every operation of the document as it has to be refused and as
// it is valid, and holds each answer to the document.
func (h house) contract() {
	known := operations()
	exhausted := h.exhaust()
	for _, op := range h.doc.Operations {
		o, ok := known[op.ID]
		if delete(known, op.ID); !ok {
			h.Errorf("%s %s (%s): nobody knows a valid call", op.Method, op.Path, op.ID)
			continue
		}
		h.Run(op.ID, func(t *testing.T) {
			p := &party{house: h.on(t), op: op, user: cmp.Or(o.user, "caller-of-"+op.ID), met: map[string]bool{}}
			p.create(p.user)
			p.key = p.keyOf(p.user, o.scopes...)
			p.calls(o, exhausted)
		})
	}
	for id := range known {
		h.Errorf("%s is not in the document", id)
	}
}

func (p *party) calls(o operation, exhausted string) {
	good := o.good(p)
	for _, r := range contract.Refusals(good) {
		p.refused(r.Name, r.Call, r.Status...)
	}
	if !o.lenient {
		p.refused("a query parameter that nobody knows", good.With(func(c *contract.Call) { c.Query.Set("surprise", "1") }), 400)
	}
	p.scoped(o, good)
	if p.op.Key != contract.NoKey && p.op.ID != "publish" { // that counts its own: see limits
		p.limited(good.With(func(c *contract.Call) { c.Key = exhausted }))
	}
	if o.more == nil {
		p.answers(good, 200)
	} else {
		o.more(p, good)
	}
	for _, status := range p.op.Statuses() {
		if status < "400" && !p.met[status] {
			p.Errorf("no call was answered %s", status)
		}
	}
}

func scopes() []string { return []string{"publish", "on_behalf", "accounts", "admin"} }

// scoped: each scope is needed, and on_behalf for whatever is another user's.
func (p *party) scoped(o operation, good contract.Call) {
	if p.op.Key == contract.NoKey {
		return
	}
	for _, scope := range o.scopes {
		without := p.keyOf(p.user, slices.DeleteFunc(scopes(), func(s string) bool { return s == scope })...)
		p.refused("a key without "+scope, good.With(func(c *contract.Call) { c.Key = without }), 403)
	}
	if slices.Contains(o.scopes, "on_behalf") {
		return
	}
	if p.op.Parameter("query", "userId") != nil {
		p.refused("another user's, by the query", good.With(func(c *contract.Call) { c.Query.Set("userId", "somebody-else") }), 403)
	}
	if body := p.op.Body["application/json"]; body != nil && body.Properties["userId"] != nil {
		p.refused("another user's, by the body", good.With(func(c *contract.Call) {
			c.Body = strings.Replace(c.Body, "{", `{"userId":"somebody-else",`, 1)
		}), 403)
	}
}

// limited: a key that has no call left is told so. Some may come free meanwhile.
func (p *party) limited(over contract.Call) {
	for range callsPerKey {
		if p.send(over).Status == http.StatusTooManyRequests {
			return
		}
	}
	p.Error("there is no end to the calls of a key")
}

// exhaust uses up the calls of a key, which has them once for all processes of
// both services.
func (h house) exhaust() (key string) {
	h.create("exhausted")
	key = h.keyOf("exhausted", "publish")
	var allowed, refused atomic.Int64
	var callers sync.WaitGroup
	for _, path := range []string{"/api/publishes?limit=1", "/api/keys?limit=1", "/api/publishes?limit=1", "/api/keys?limit=1"} {
		callers.Go(func() {
			for i, mine := 0, 0; i < callsPerKey && mine < 4; i++ {
				switch a := h.d.Call(key, http.MethodGet, path, ""); {
				case a.Status == http.StatusOK:
					allowed.Add(1)
				case a.Status == http.StatusTooManyRequests && strings.Contains(a.Header.Get("RateLimit"), `"key";r=0`):
					refused.Add(1)
					mine++
				default:
					h.Errorf("%v %s", a.Header, a.Raw)
				}
			}
		})
	}
	callers.Wait()
	if a := allowed.Load(); refused.Load() != 16 || a > callsPerKey || a < callsPerKey/4 {
		h.Errorf("%d calls allowed of %d a minute, %d refused", a, callsPerKey, refused.Load())
	}
	return key
}

// send makes a call and holds the answer to the document.
func (p *party) send(c contract.Call) contract.Exchange {
	p.Helper()
	r, err := c.Request(p.Context(), p.d.URL)
	if err != nil {
		p.Fatal(err)
	}
	x := p.d.Send(r)
	for _, fault := range p.doc.Check(x) {
		p.Errorf("%v\n%s", x, fault)
	}
	if c.Operation == p.op {
		p.met[fmt.Sprint(x.Status)] = true
	}
	return x
}

// answers makes a call that has to be answered with this status.
func (p *party) answers(c contract.Call, status int) contract.Exchange {
	p.Helper()
	x := p.send(c)
	if x.Status != status {
		p.Errorf("not %d but %v", status, x)
	}
	return x
}

// data is the data of an answer with this status.
func (p *party) data(c contract.Call, status int) map[string]any {
	p.Helper()
	var body struct{ Data map[string]any }
	if x := p.answers(c, status); x.JSON(&body) != nil {
		p.Fatal(x)
	}
	return body.Data
}

// refused makes a call that has to be refused with one of these statuses, or any
// 4xx.
func (p *party) refused(name string, c contract.Call, status ...int) {
	p.Helper()
	x := p.send(c)
	if len(status) == 0 && (x.Status < 400 || x.Status >= 500) || len(status) > 0 && !slices.Contains(status, x.Status) {
		p.Errorf("%s: not %d but %v", name, status, x)
	}
}

// call is a call of the operation, of an id if its path has one.
func (p *party) call(id, body string) contract.Call { return p.of(p.op.ID, id, body) }

// of is a call of any operation.
func (p *party) of(operation, id, body string) contract.Call {
	p.Helper()
	c := contract.Call{Operation: p.doc.Operation(operation), Key: p.key, Body: body, Path: map[string]string{}, Query: url.Values{}, Header: http.Header{}}
	if c.Operation == nil {
		p.Fatalf("%s is not in the document", operation)
	}
	for name, value := range map[string]string{"id": id, "provider": "instagram"} {
		if c.Operation.Parameter("path", name) != nil {
			c.Path[name] = value
		}
	}
	return c
}
