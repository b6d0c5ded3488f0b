package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"postbus.dev/deploy/e2e/contract"
	"postbus.dev/deploy/e2e/world"
	"postbus.dev/services/connectors/sandbox"
	"postbus.dev/services/connectors/sandbox/stage"
)

// canary knows every secret of a run. What is secret is told by its name: of a
// header field, a parameter, a member.
type canary struct {
	house
	secrets map[string]string // each with its kind
}

// shortest is how long a secret is at the least. Something shorter stands
// everywhere by chance.
const shortest = 16

func newCanary(h house) *canary {
	c := &canary{house: h, secrets: map[string]string{}}
	c.add("client secret", sandbox.LocalClient("instagram", h.d.URL).Secret)
	c.add("API key", h.w.APIKey)
	c.add("what stands for a secret", contract.Marker)
	c.keyset()
	return c
}

func (c *canary) add(kind, secret string) {
	if _, known := c.secrets[secret]; !known && len(secret) >= shortest {
		c.secrets[secret] = kind
	}
}

// keyset adds the keys that seal tokens now: as they stand in the file, and the
// bytes that are the key itself.
func (c *canary) keyset() {
	c.Helper()
	raw, err := os.ReadFile(c.w.Keyset())
	var file struct {
		Key []struct{ KeyData struct{ Value string } }
	}
	if err != nil || json.Unmarshal(raw, &file) != nil || len(file.Key) == 0 {
		c.Fatalf("read the keyset: %v", err)
	}
	for _, k := range file.Key {
		value, err := base64.StdEncoding.DecodeString(k.KeyData.Value)
		if err != nil || len(value) < 32 {
			c.Fatalf("a key of %d bytes: %v", len(value), err)
		}
		c.add("key that seals", k.KeyData.Value)
		c.add("key that seals", string(value[len(value)-32:]))
	}
}

// learn adds the secrets of an exchange, and takes those out of the answer that
// it is there to give: a new key, a new link, the way to the provider.
func (c *canary) learn(x *contract.Exchange) {
	op := c.doc.Find(x.Method, x.URL.EscapedPath())
	_, credentials, _ := strings.Cut(x.Asked.Get("Authorization"), " ")
	c.add("API key", credentials)
	c.add("signature", x.Asked.Get("Chirp-Signature"))
	for _, cookie := range (&http.Request{Header: x.Asked}).Cookies() {
		c.add("cookie", cookie.Value)
	}
	for _, name := range []string{"link", "state", "code", "token"} {
		c.add(name, x.URL.Query().Get(name))
	}
	if op == nil {
		return
	}
	c.learnBody(op, x)
	switch op.ID {
	case "create-key":
		c.shown("API key", x, "key")
	case "make-connect-link":
		c.shown("link", x, "url")
	case "connect":
		c.sent(x)
	}
}

// learnBody adds what is secret of a request's body.
func (c *canary) learnBody(op *contract.Operation, x *contract.Exchange) {
	if form, err := url.ParseQuery(string(x.AskedBody)); err == nil && form.Has("signed_request") {
		signature, _, _ := strings.Cut(form.Get("signed_request"), ".")
		c.add("signature", signature)
		c.add("signed request", form.Get("signed_request"))
	}
	var members map[string]any
	schema := op.Body["application/json"]
	if schema == nil || json.Unmarshal(x.AskedBody, &members) != nil {
		return
	}
	for name, s := range schema.Properties {
		if text, ok := members[name].(string); ok && s.Format == "password" {
			c.add(name, text)
		}
	}
}

// shown takes the one secret out of an answer that shows it once.
func (c *canary) shown(kind string, x *contract.Exchange, member string) {
	var body struct{ Data map[string]any }
	if x.JSON(&body) != nil || body.Data[member] == nil {
		return
	}
	secret := fmt.Sprint(body.Data[member])
	if _, link, ok := strings.Cut(secret, "?link="); ok {
		secret = link
	}
	c.add(kind, secret)
	x.Body = bytes.Replace(x.Body, []byte(secret), nil, 1)
}

// sent takes state and cookie out of the answer that sends a browser to the
// provider.
func (c *canary) sent(x *contract.Exchange) {
	take := func(kind, field, secret string) {
		c.add(kind, secret)
		x.Header.Set(field, strings.Replace(x.Header.Get(field), secret, "", 1))
	}
	if to, err := url.Parse(x.Header.Get("Location")); err == nil && to.Query().Has("state") {
		take("state", "Location", to.Query().Get("state"))
	}
	for _, cookie := range (&http.Response{Header: x.Header}).Cookies() {
		take("cookie", "Set-Cookie", cookie.Value)
	}
}

// sings ends the services and looks whether everything that passed the door was
// as documented, and whether anything of the whole run told a secret.
func (c *canary) sings(spans *collector) {
	c.Helper()
	places := map[string]string{}
	all := append(c.d.Accounts, c.d.Publishers...)
	var ends sync.WaitGroup
	for _, p := range all {
		places["metrics"] += c.metrics(p)
		ends.Go(p.Stop) // the last spans are sent
	}
	places["events"], places["database"] = c.w.Spoken(), c.w.Dump()
	ends.Wait()
	for _, p := range all {
		places["logs"] += p.Log()
	}
	places["spans"] = spans.text()
	places["HTTP answers"] = c.passed()
	for _, token := range c.w.Sandbox.Tokens(stage.TokenFilter{}) {
		c.add(token.Kind+" of Instagram", token.Value)
	}
	for secret, kind := range c.d.Chirp.Secrets() {
		c.add(kind, secret)
	}
	// Events, database and spans; HTTP answers; logs; metrics.
	f := newFinder(c.secrets, c.w.Accounts[0], "caller-of-list-accounts", "connecting an account ended", "postbus_connect_")
	for place, text := range places {
		found := f.in(text)
		for _, kind := range found {
			if kind != sought {
				c.Errorf("%s tell a secret: %s", place, kind)
			}
		}
		if !slices.Contains(found, sought) {
			c.Errorf("nothing was found in %d bytes of %s: they cannot be read", len(text), place)
		}
	}
	c.kinds()
}

// kinds: of every kind there was at least one.
func (c *canary) kinds() {
	c.Helper()
	n := map[string]int{}
	for _, kind := range c.secrets {
		n[kind]++
	}
	c.Logf("%d secrets looked for: %v", len(c.secrets), n)
	for _, kind := range []string{
		"client secret", "API key", "key that seals", "link", "state", "cookie", "code", "PKCE verifier", "signature", "signed request",
		"accessToken", "access token", "refresh token", "access of Instagram", "code of Instagram",
	} {
		if n[kind] == 0 {
			c.Errorf("there was no %s to look for", kind)
		}
	}
}

// passed returns all answers as text, without what they had to tell, and checks
// each.
func (c *canary) passed() string {
	var all strings.Builder
	for _, x := range c.d.Seen() {
		if !x.Interrupted {
			for _, fault := range c.doc.Check(x) {
				c.Errorf("%v\n%s", x, fault)
			}
		}
		c.learn(&x)
		fmt.Fprintf(&all, "%d %v\n%s\n", x.Status, x.Header, x.Body)
	}
	return all.String()
}

// finder looks for many texts at once: by how they begin, which few places of a
// text do.
type finder struct {
	heads [1 << 16]bool // two bytes
	by    map[string][]spelling
}

type spelling struct{ text, kind string }

// sought is the kind of what every place does hold, so that nothing passes for
// clean which cannot be read.
const sought = "no secret"

// newFinder looks for secrets, each with its kind, and for what is no secret.
func newFinder(secrets map[string]string, others ...string) *finder {
	f := &finder{by: map[string][]spelling{}}
	for secret, kind := range secrets {
		for _, text := range spellings(secret) {
			f.add(text, kind)
		}
	}
	for _, text := range others {
		f.add(text, sought)
	}
	return f
}

// spellings are the ways in which a text is written on the way to where somebody
// reads it: as it is or in JSON, and either of them in a URL, as a bytea, within
// something in base64.
func spellings(secret string) (all []string) {
	inJSON := func(escape bool) string {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(escape)
		_ = e.Encode(secret)
		return strings.Trim(b.String(), "\n\"")
	}
	forms := []string{secret, inJSON(false), inJSON(true)}
	slices.Sort(forms)
	for _, form := range slices.Compact(forms) {
		all = append(all, encoded(form)...)
	}
	return all
}

func encoded(text string) []string {
	raw := []byte(text)
	inHex := hex.EncodeToString(raw)
	all := []string{text, url.QueryEscape(text), url.PathEscape(text), inHex, strings.ToUpper(inHex)}
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for before := range 3 { // what stands before it moves its bits, as with a user name
			moved := encoding.EncodeToString(append(make([]byte, before), raw...))
			whole := (before + len(raw)) / 3 * 4 // the rest depends on what follows
			all = append(all, moved[(before*4+2)/3:whole])
		}
	}
	return all
}

func (f *finder) add(text, kind string) {
	if len(text) < shortest {
		return
	}
	f.heads[int(text[0])<<8|int(text[1])] = true
	f.by[text[:shortest]] = append(f.by[text[:shortest]], spelling{text, kind})
}

// in returns the kinds of what is in a text.
func (f *finder) in(text string) (kinds []string) {
	for i := 0; i+shortest <= len(text); i++ {
		if !f.heads[int(text[i])<<8|int(text[i+1])] {
			continue
		}
		for _, s := range f.by[text[i:i+shortest]] {
			if strings.HasPrefix(text[i:], s.text) && !slices.Contains(kinds, s.kind) {
				kinds = append(kinds, s.kind)
			}
		}
	}
	return kinds
}

// collector takes spans as the exporters send them.
type collector struct {
	url string
	mu  sync.Mutex
	buf bytes.Buffer
}

// env has every span sent: a queue that is full drops some.
func (c *collector) env() []string {
	return []string{
		"OTEL_TRACES_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf", "OTEL_EXPORTER_OTLP_ENDPOINT=" + c.url,
		"OTEL_BSP_SCHEDULE_DELAY=500", "OTEL_BSP_MAX_QUEUE_SIZE=100000",
	}
}

// collect serves what takes spans.
func collect(t *testing.T) *collector {
	t.Helper()
	c := &collector{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, _ = c.buf.ReadFrom(r.Body)
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(s.Close)
	c.url = s.URL
	return c
}

func (c *collector) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.buf.String()
}

func (h house) metrics(p *world.Process) string {
	h.Helper()
	req, err := http.NewRequestWithContext(h.Context(), http.MethodGet, "http://"+p.API()+"/metrics", nil)
	if err != nil {
		h.Fatal(err)
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		h.Fatal(err)
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil {
		h.Fatal(err)
	}
	return b.String()
}
