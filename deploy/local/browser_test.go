//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"postbus.dev/deploy/testbed"
)

const noBrowser = "there is no chromium, chromium-browser or google-chrome here: install one (Debian: apt-get install --no-install-recommends chromium)"

// window is one of a Chromium without a screen. It is as narrow as the smallest
// telephone, and lets no script run.
type window struct {
	t    *testing.T
	ctx  context.Context
	ours []string // where pages may load from
	seen *seen
}

// seen is what was heard of the pages of a window.
type seen struct {
	mu      sync.Mutex
	status  int64 // of the page that it shows
	address string
	faults  []string // what a page did that it should not
}

const narrow = 320 // CSS pixels

// openBrowser opens a window of somebody who was nowhere yet, in the machine's
// browser, which ends with the test. It is nil where there is no browser.
func openBrowser(t *testing.T, ours ...string) *window {
	t.Helper()
	path := browserPath()
	if path == "" {
		return nil
	}
	dir := testbed.Dir(t)
	alloc, free := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.UserDataDir(dir), chromedp.Env("HOME="+dir, "TMPDIR="+dir),
		chromedp.NoSandbox, // it needs what containers do not have, and only our own pages are opened
		chromedp.Flag("disable-gpu", true), chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("no-proxy-server", true), chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1"))...)
	t.Cleanup(func() { free(); wantNoProcess(t, dir) })
	return openWindow(alloc, t, ours)
}

func browserPath() string {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// wantNoProcess waits a moment for all processes of a directory to be gone.
func wantNoProcess(t *testing.T, dir string) {
	t.Helper()
	for deadline := time.Now().Add(stopWait); ; time.Sleep(20 * time.Millisecond) {
		left := processesOf(dir)
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("left: %s", strings.Join(left, "\n"))
			return
		}
	}
}

// stranger opens a window of somebody else, whose cookies are others.
func (w *window) stranger() *window {
	w.t.Helper()
	return openWindow(w.ctx, w.t, w.ours, chromedp.WithNewBrowserContext())
}

func openWindow(parent context.Context, t *testing.T, ours []string, opts ...chromedp.ContextOption) *window {
	t.Helper()
	w := &window{t: t, ours: ours, seen: &seen{}}
	var closeIt context.CancelFunc
	w.ctx, closeIt = chromedp.NewContext(parent, append(opts, chromedp.WithListener(w.note))...)
	t.Cleanup(closeIt)
	late := time.AfterFunc(startWait, closeIt) // a time limit of this context would be that of the window
	if err := chromedp.Do(w.ctx); err != nil {
		t.Fatalf("open a window: %v", err)
	}
	late.Stop()
	call(w, network.Enable, network.EnableParams{})
	call(w, audits.Enable, cdp.Empty{})
	w.letScriptsRun(false)
	do(w, "make the window narrow", chromedp.EmulateViewport(narrow, 640))
	return w
}

// as is the window in another test.
func (w *window) as(t *testing.T) *window {
	other := *w
	other.t = t
	return &other
}

func (w *window) letScriptsRun(may bool) {
	call(w, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !may})
}

// do does something in the window.
func do[T any](w *window, what string, a chromedp.Action[T]) T {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, startWait)
	defer cancel()
	result, err := chromedp.Run(ctx, a)
	if err != nil {
		w.t.Fatalf("%s: %v", what, err)
	}
	return result
}

// call has the browser do something to the window.
func call[P, R any](w *window, c cdp.Command[P, R], params P) R {
	w.t.Helper()
	return do(w, c.Method, func(ctx context.Context, s *chromedp.Target) (R, error) { return cdp.Call(ctx, s, c, params) })
}

// note keeps what is heard of the pages.
func (w *window) note(event any) {
	w.seen.mu.Lock()
	defer w.seen.mu.Unlock()
	fault := func(format string, args ...any) { w.seen.faults = append(w.seen.faults, fmt.Sprintf(format, args...)) }
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		if !slices.ContainsFunc(w.ours, func(place string) bool { return strings.HasPrefix(e.Request.URL, place+"/") }) {
			fault("a page asked for %s", e.Request.URL)
		}
	case *network.EventResponseReceived:
		if e.Type == network.ResourceTypeDocument {
			w.seen.status, w.seen.address = e.Response.Status, e.Response.URL
		}
	case *runtime.EventConsoleAPICalled:
		fault("a page wrote to the console: %s", e.Type)
	case *runtime.EventExceptionThrown:
		fault("a script failed: %s", e.ExceptionDetails.Text)
	case *audits.EventIssueAdded: // such as a breach of the page's own policy
		raw, _ := json.Marshal(e.Issue.Details)
		fault("%s: %s", e.Issue.Code, raw)
	case *log.EventEntryAdded:
		if e.Entry.Source != log.EntrySourceNetwork { // the status of a page, which is looked at
			fault("%s: %s", e.Entry.Source, e.Entry.Text)
		}
	}
}

// page returns the status and the address of the page that the window shows.
func (w *window) page() (status int64, address string) {
	w.seen.mu.Lock()
	defer w.seen.mu.Unlock()
	return w.seen.status, w.seen.address
}

// open goes to an address and waits for the page, wherever that leads.
func (w *window) open(address string) {
	w.t.Helper()
	do(w, "open "+address, chromedp.Navigate(address))
}

// part is a part of a page as a screen reader knows it.
type part struct {
	role, name string
	level      float64 // of a heading
	id         cdp.BackendNodeID
}

// parts are all of the page that somebody may come upon.
func (w *window) parts() (found []part) {
	w.t.Helper()
	tree := call(w, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	for _, n := range tree.Nodes {
		if n.Ignored {
			continue
		}
		p := part{id: n.BackendDOMNodeID}
		p.role, _ = valueOf(n.Role).(string)
		p.name, _ = valueOf(n.Name).(string)
		for _, property := range n.Properties {
			if property.Name == accessibility.PropertyNameLevel {
				p.level, _ = valueOf(property.Value).(float64)
			}
		}
		found = append(found, p)
	}
	return found
}

func valueOf(v *accessibility.Value) (value any) {
	if v != nil {
		_ = json.Unmarshal(v.Value, &value) // what is no JSON is no value
	}
	return value
}

// find returns the only part with this role and name.
func (w *window) find(all []part, role, name string) part {
	w.t.Helper()
	var found []part
	for _, p := range all {
		if p.role == role && p.name == name {
			found = append(found, p)
		}
	}
	if len(found) != 1 {
		w.t.Fatalf("%d times %s %q on the page %v", len(found), role, name, all)
	}
	return found[0]
}

// click puts the mouse on a part and presses it.
func (w *window) click(role, name string) {
	w.t.Helper()
	do(w, "click "+name, w.press(role, name))
}

// follow clicks on what leads to another page, and waits for that.
func (w *window) follow(role, name string) {
	w.t.Helper()
	press := w.press(role, name)
	do(w, "follow "+name, func(ctx context.Context, _ *chromedp.Target) (*network.Response, error) {
		return chromedp.RunResponse(ctx, press)
	})
}

func (w *window) press(role, name string) chromedp.Action[chromedp.Void] {
	w.t.Helper()
	id := w.find(w.parts(), role, name).id
	call(w, dom.ScrollIntoViewIfNeeded, dom.ScrollIntoViewIfNeededParams{BackendNodeID: id})
	at := call(w, dom.GetContentQuads, dom.GetContentQuadsParams{BackendNodeID: id})
	if len(at.Quads) == 0 {
		w.t.Fatalf("%s %q is nowhere", role, name)
	}
	q := at.Quads[0] // its corners, clockwise
	return chromedp.MouseClickXY((q[0]+q[4])/2, (q[1]+q[5])/2)
}

// choose goes to a list and types what it is to say.
func (w *window) choose(list, what string) {
	w.t.Helper()
	call(w, dom.Focus, dom.FocusParams{BackendNodeID: w.find(w.parts(), "combobox", list).id})
	do(w, "choose "+what, chromedp.KeyEvent(what))
}
