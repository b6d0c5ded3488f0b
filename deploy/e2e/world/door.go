package world

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"time"

	"postbus.dev/deploy/gateway"
	"postbus.dev/migrations"
	"postbus.dev/services/connectors/sandbox"
)

// Door is several processes of both services behind one address.
type Door struct {
	URL        string
	Accounts   []*Process
	Publishers []*Process

	w      *World
	client *http.Client
}

// Open starts so many account services and publishers behind one address, which
// is registered with the stand-ins.
func (w *World) Open(accounts, publishers int, c ProcessConfig) *Door {
	w.T.Helper()
	var handler atomic.Pointer[gateway.Gateway]
	front := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { handler.Load().ServeHTTP(rw, r) }))
	w.PublicURL = front.URL
	if err := w.Sandbox.AddClient(sandbox.LocalClient("instagram", front.URL)); err != nil {
		w.T.Fatal(err)
	}
	d := &Door{URL: front.URL, w: w, client: &http.Client{Transport: &http.Transport{}, Timeout: time.Minute}}
	w.T.Cleanup(func() { d.client.CloseIdleConnections(); front.Close(); handler.Load().Close() }) // after the processes
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
	resp, err := d.client.Do(req)
	if err != nil {
		d.w.T.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		d.w.T.Fatalf("%s %s: %v", method, path, err)
	}
	a := Answer{Status: resp.StatusCode, Header: resp.Header, Raw: string(raw)}
	if err := json.Unmarshal(raw, &a); err != nil {
		d.w.T.Fatalf("%s %s answered %d: %s", method, path, resp.StatusCode, raw)
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
