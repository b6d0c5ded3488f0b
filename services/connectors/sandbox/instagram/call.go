package instagram

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"postbus.dev/services/connectors/sandbox/stage"
)

// operation carries a call out; the lock is held.
type operation func(ig *Instagram, c *call) (any, *apiError)

// call is a request as the stand-in understood it.
type call struct {
	name    string
	op      operation
	open    bool // needs no token, or checks it by itself
	method  string
	path    string
	version string
	base    string // scheme and host, for links
	node    string // the id in the path; "me" when it says so
	params  params
	token   string
	account stage.Account // of the token; zero when it is unknown
	n       int64         // number in the call log
}

// params are the parameters of a call, from query, form or JSON body.
type params map[string]string

func (p params) names() []string { return slices.Sorted(maps.Keys(p)) }

// unknown lists the parameters that the call does not have.
func (p params) unknown(name string) []string {
	var names []string
	for n := range p {
		if !slices.Contains(known(name), n) {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return names
}

const maxBody = 1 << 20

// read understands a request. It fails only where the bytes are no HTTP form or JSON.
func (ig *Instagram) read(w http.ResponseWriter, r *http.Request) (*call, error) {
	p, err := readParams(w, r)
	if err != nil {
		return nil, err
	}
	v, rest := splitVersion(r.URL.Path)
	c := &call{method: r.Method, path: "/" + strings.Join(rest, "/"), version: v, params: p, base: stage.OriginOf(r).Scheme + "://" + r.Host}
	c.route(rest)
	c.token = p["access_token"]
	if bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok && c.token == "" {
		c.token = bearer
	}
	if t, ok := ig.st.Accounts.Token(Name, c.token); ok {
		c.account, _ = ig.st.Accounts.Get(Name, t.Account)
	}
	if c.name == CallDecide {
		c.account, _ = ig.st.Accounts.Find(Name, p["account"])
	}
	if c.op == nil || c.name != "node" {
		return c, nil
	}
	ig.resolve(c)
	return c, nil
}

// route finds the operation that a path and method name.
func (c *call) route(rest []string) {
	set := func(name string, op operation) { c.name, c.op = name, op }
	switch key := c.method + " " + shape(rest); key {
	case "POST oauth/access_token":
		set(CallCode, tokenByCode)
		c.open = true
	case "GET oauth/authorize":
		set(CallAuthorize, showAuthorize)
		c.open = true
	case "POST oauth/authorize":
		set(CallDecide, decide)
		c.open = true
	case "GET access_token":
		set(CallExchange, exchangeToken)
		c.open = true
	case "GET refresh_access_token":
		set(CallRefresh, refreshToken)
	case "DELETE *":
		set(CallDelete, func(*Instagram, *call) (any, *apiError) { return nil, documented(10, 0) })
	case "DELETE me/permissions":
		set(CallDisconnect, disconnect)
	case "GET me":
		set(CallMe, me)
	case "GET *":
		set("node", nil)
		c.op = func(*Instagram, *call) (any, *apiError) { return nil, errUnreadable(c.node) }
	case "POST */media":
		set(CallCreate, createContainer)
	case "POST */media_publish":
		set(CallPublish, publish)
	case "GET */media":
		set(CallList, listMedia)
	case "GET */stories":
		set(CallStories, listStories)
	case "GET */content_publishing_limit":
		set(CallLimit, publishingLimit)
	}
	c.node = rest[0]
}

// shape is the path with its id replaced by *.
func shape(rest []string) string {
	switch rest[0] {
	case "oauth", "access_token", "refresh_access_token":
		return strings.Join(rest, "/")
	case "me":
		if len(rest) == 1 || rest[1] == "permissions" {
			return strings.Join(rest, "/")
		}
	}
	return strings.Join(append([]string{"*"}, rest[1:]...), "/")
}

// resolve says what kind of node an id is.
func (ig *Instagram) resolve(c *call) {
	ig.mu.Lock()
	defer ig.mu.Unlock()
	switch {
	case ig.containers[c.node] != nil:
		c.name, c.op = CallContainer, readContainer
	case ig.media[c.node] != nil:
		c.name, c.op = CallMedia, readMedia
	case c.account.ID != "" && (c.node == c.account.ID || c.node == c.account.AppID):
		c.name, c.op = CallMe, me
	case strings.HasPrefix(c.node, mediaPrefix):
		c.name = CallMedia
	default:
		c.name = CallContainer
	}
}

// readParams gathers the parameters of query and body; the body wins.
func readParams(w http.ResponseWriter, r *http.Request) (params, error) {
	p := params{}
	p.take(r.URL.Query())
	if r.Body == nil {
		return p, nil
	}
	kind, opts, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind == "multipart/form-data" && opts["boundary"] != "" {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		if err := r.ParseMultipartForm(maxBody); err != nil {
			return nil, fmt.Errorf("read multipart form: %w", err)
		}
		p.take(r.MultipartForm.Value)
		return p, nil
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return nil, fmt.Errorf("read body: %w", err)
	}
	if len(b) == 0 {
		return p, nil
	}
	if kind == "application/json" {
		return p, p.takeJSON(b)
	}
	form, err := url.ParseQuery(string(b))
	if err != nil {
		return nil, fmt.Errorf("read form: %w", err)
	}
	p.take(form)
	return p, nil
}

func (p params) take(values map[string][]string) {
	for name, v := range values {
		p[name] = v[len(v)-1]
	}
}

// takeJSON reads an object; what is no string keeps its JSON text.
func (p params) takeJSON(b []byte) error {
	var object map[string]json.RawMessage
	if json.Unmarshal(b, &object) != nil {
		return errors.New("body is not a JSON object")
	}
	for name, raw := range object {
		var text string
		if json.Unmarshal(raw, &text) != nil {
			text = string(raw)
		}
		p[name] = text
	}
	return nil
}
