package world

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"postbus.dev/deploy/e2e/contract"
	"postbus.dev/deploy/gateway"
	"postbus.dev/migrations"
	"postbus.dev/services/connectors/sandbox"
)

// Door is several processes of both services behind one address.
type Door struct {
	URL        string
	Accounts   []*Process
	Publishers []*Process
	Chirp      *Chirp

	w      *World
	client *http.Client
	front  *httptest.Server
	watch  watch
}

// Open starts so many account services and publishers behind one address, which
// is registered with the stand-ins.
func (w *World) Open(accounts, publishers int, c ProcessConfig) *Door {
	w.T.Helper()
	var handler atomic.Pointer[gateway.Gateway]
	// A redirect is an answer like others.
	d := &Door{w: w, Chirp: newChirp(), client: &http.Client{Transport: &http.Transport{}, Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}}
	d.front = httptest.NewServer(d.watch.around(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { handler.Load().ServeHTTP(rw, r) })))
	d.URL, w.PublicURL = d.front.URL, d.front.URL
	if err := w.Sandbox.AddClient(sandbox.LocalClient("instagram", d.URL)); err != nil {
		w.T.Fatal(err)
	}
	w.T.Cleanup(func() { // after the processes
		d.client.CloseIdleConnections()
		d.front.Close()
		handler.Load().Close()
		d.Chirp.server.Close()
	})
	c.Env = append(slices.Clone(c.Env), chirpVariable+"="+d.Chirp.server.URL)
	for range accounts {
		d.Accounts = append(d.Accounts, w.start(accountService, migrations.RoleAccount, c))
	}
	for range publishers {
		d.Publishers = append(d.Publishers, w.Publisher(c))
	}
	g, err := gateway.New(gateway.Config{Backends: map[string][]string{
		gateway.Account: urls(d.Accounts), gateway.Publisher: urls(d.Publishers),
	}})
	if err != nil {
		w.T.Fatal(err)
	}
	handler.Store(g)
	return d
}

func urls(ps []*Process) (out []string) {
	for _, p := range ps {
		out = append(out, "http://"+p.API())
	}
	return out
}

// providers are the settings that lead to the stand-ins.
func (w *World) providers() (env []string) {
	for name, value := range w.Sandbox.Settings(w.Server.URL, w.PublicURL) {
		env = append(env, name+"="+value)
	}
	return env
}

// Answer is the envelope of the HTTP API.
type Answer struct {
	Status  int         `json:"-"`
	Header  http.Header `json:"-"`
	Raw     string      `json:"-"`
	Success bool
	Data    map[string]any
	Error   struct {
		Code, Message string
		Details       map[string]any
	}
	Meta struct{ RequestID, TraceID string }
}

// Seen closes the door and returns everything that has passed it.
func (d *Door) Seen() []contract.Exchange {
	d.client.CloseIdleConnections()
	d.front.Close() // it waits for what is being answered
	return d.watch.seen
}

// Send sends a request that is one of the door's, and follows no redirect.
func (d *Door) Send(r *http.Request) contract.Exchange {
	d.w.T.Helper()
	resp, err := d.client.Do(r)
	if err != nil {
		d.w.T.Fatalf("%s %s: %v", r.Method, r.URL, err)
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		d.w.T.Fatalf("%s %s: %v", r.Method, r.URL, err)
	}
	return contract.Exchange{Method: r.Method, URL: r.URL, Asked: r.Header, Status: resp.StatusCode, Header: resp.Header, Body: body}
}

// Call calls the API with a key; header holds names and values in turn.
func (d *Door) Call(key, method, path, body string, header ...string) Answer {
	d.w.T.Helper()
	req, err := http.NewRequestWithContext(context.WithoutCancel(d.w.T.Context()), method, d.URL+path, strings.NewReader(body))
	if err != nil {
		d.w.T.Fatal(err)
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	x := d.Send(req)
	a := Answer{Status: x.Status, Header: x.Header, Raw: string(x.Body)}
	if err := x.JSON(&a); err != nil {
		d.w.T.Fatalf("%s %s answered %d: %s", method, path, x.Status, x.Body)
	}
	return a
}

// Must is Call for what has to succeed.
func (d *Door) Must(key, method, path, body string, header ...string) Answer {
	d.w.T.Helper()
	a := d.Call(key, method, path, body, header...)
	if !a.Success {
		d.w.T.Fatalf("%s %s: %s", method, path, a.Raw)
	}
	return a
}

// Link makes a link that connects an account for the key's user.
func (d *Door) Link(key, provider string) string {
	d.w.T.Helper()
	url, _ := d.Must(key, http.MethodPost, "/api/connect/"+provider+"/links", "{}").Data["url"].(string)
	if url == "" {
		d.w.T.Fatal("no link")
	}
	return url
}

// Items are the items of a page of the API.
func (a Answer) Items() (out []map[string]any) {
	list, _ := a.Data["items"].([]any)
	for _, i := range list {
		if m, ok := i.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

// Text is a field of the data, as text.
func (a Answer) Text(field string) string { return fmt.Sprint(a.Data[field]) }
