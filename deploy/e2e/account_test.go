package e2e

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"postbus.dev/deploy/e2e/world"
	"postbus.dev/deploy/visitor"
	"postbus.dev/events"
	"postbus.dev/services/account"
	"postbus.dev/services/connectors/sandbox/stage"
)

// TestTwoAccountServicesAndTwoPublishersAreOne runs everything that people do
// over HTTP through one address with two processes of each service behind it, and
// looks at the end whether anything of it told a secret.
func TestTwoAccountServicesAndTwoPublishersAreOne(t *testing.T) {
	t.Parallel()
	spans := collect(t)
	w := world.New(t, world.Config{Accounts: 12, Factor: 0.02})
	d := w.Open(2, 2, world.ProcessConfig{Recheck: 300 * time.Millisecond, Env: append(spans.env(), "POSTBUS_LOG_LEVEL=debug")})
	h := house{T: t, w: w, d: d, told: &told{}}
	h.person("a person connects, publishes, disconnects and comes back", house.connects)
	h.person("a person denies what publishing needs", house.denies)
	h.person("a person removes the app at the provider", house.removesTheApp)
	h.person("a person has her data deleted by the provider", house.hasDataDeleted)
	t.Run("a limit is one for all processes", func(t *testing.T) { h.on(t).limits() })
	t.Run("a request is the same in every process", func(t *testing.T) { h.on(t).repeats() })
	t.Run("forged ways in are refused", func(t *testing.T) { h.on(t).attacks() })
	t.Run("keys rotate under load", func(t *testing.T) { h.on(t).rotates() })
	t.Run("a user is deleted with publishes in every state", func(t *testing.T) { h.on(t).deletes() })
	h.secrets(spans)
}

// house is a world with an open door.
type house struct {
	*testing.T
	w    *world.World
	d    *world.Door
	told *told
}

// told is what the API answered, and the secrets that it gave out on purpose.
type told struct {
	mu      sync.Mutex
	answers bytes.Buffer
	keys    []string
}

func (h house) on(t *testing.T) house { h.T = t; return h }

// call remembers the answer.
func (h house) call(key, method, path, body string, header ...string) world.Answer {
	h.Helper()
	a := h.d.Call(key, method, path, body, header...)
	h.told.mu.Lock()
	defer h.told.mu.Unlock()
	h.told.answers.WriteString(a.Raw)
	return a
}

func (h house) must(key, method, path, body string, header ...string) world.Answer {
	h.Helper()
	a := h.call(key, method, path, body, header...)
	if !a.Success {
		h.Fatalf("%s %s: %s", method, path, a.Raw)
	}
	return a
}

// somebody is a user with a key and an account at the provider.
type somebody struct {
	house
	key     string
	at      stage.Account
	browser *visitor.Visitor
}

// key makes a user and a key of hers.
func (h house) user(name string) (key string) {
	h.Helper()
	h.must(h.w.APIKey, http.MethodPost, "/api/users", fmt.Sprintf(`{"userId":%q}`, name))
	k := h.d.Must(h.w.APIKey, http.MethodPost, "/api/keys", fmt.Sprintf(`{"userId":%q,"name":"test","scopes":["publish","accounts"]}`, name))
	h.told.mu.Lock()
	defer h.told.mu.Unlock()
	h.told.keys = append(h.told.keys, k.Text("key"))
	return k.Text("key")
}

// person runs f for a user of her own.
func (h house) person(name string, f func(house, somebody)) {
	h.Run(name, func(t *testing.T) {
		h := h.on(t)
		user := strings.ReplaceAll(name, " ", "-")
		at, err := h.w.Sandbox.AddAccounts(stage.Account{Provider: "instagram", Username: user, QuotaTotal: -1}, 0)
		if err != nil {
			t.Fatal(err)
		}
		transport := &http.Transport{}
		t.Cleanup(transport.CloseIdleConnections)
		s := somebody{house: h, at: at[0], browser: visitor.New(transport)}
		s.key = h.user(user)
		f(h, s)
	})
}

// connect is a person's way by a link; it returns the page that she ends on.
func (s somebody) connect(denied ...string) visitor.Page {
	s.Helper()
	page, err := s.browser.Connect(s.Context(), s.d.Link(s.key, "instagram"), s.at.ID, denied...)
	if err != nil {
		s.Fatal(err)
	}
	s.told.mu.Lock()
	defer s.told.mu.Unlock()
	s.told.answers.WriteString(page.Text)
	return page
}

// account is her account as the API shows it; nil where there is none.
func (s somebody) account() map[string]any {
	s.Helper()
	for _, a := range s.must(s.key, http.MethodGet, "/api/accounts", "").Items() {
		return a
	}
	return nil
}

func (s somebody) await(status string) {
	s.Helper()
	s.w.Eventually(30*time.Second, "the account is "+status, func() bool {
		a := s.account()
		return a == nil && status == "gone" || a != nil && a["status"] == status
	})
}

func (s somebody) publish(caption string) world.Answer {
	s.Helper()
	return s.call(s.key, http.MethodPost, "/api/instagram/publish", fmt.Sprintf(image, caption))
}

func (house) connects(s somebody) {
	if page := s.connect(); page.Err() != nil || page.Heading != "Connected" {
		s.Fatalf("%v %q", page.Err(), page.Heading)
	}
	first := s.account()
	if first["status"] != "active" || first["username"] != s.at.Username {
		s.Fatalf("%v", first)
	}
	if a := s.publish("of a connected account"); a.Status != http.StatusOK || a.Text("permalink") == "" {
		s.Fatal(a.Raw)
	}
	path := "/api/accounts/" + fmt.Sprint(first["accountId"])
	if a := s.must(s.key, http.MethodPost, path+"/disconnect", ""); a.Status != http.StatusAccepted {
		s.Error(a.Raw)
	}
	s.await("disconnected")
	if a := s.publish("of none"); a.Error.Code != "ACCOUNT_NOT_CONNECTED" {
		s.Error(a.Raw)
	}
	if page := s.connect(); page.Err() != nil {
		s.Fatal(page.Err())
	}
	if again := s.account(); again["status"] != "active" || again["accountId"] != first["accountId"] {
		s.Errorf("%v", again)
	}
	if a := s.publish("of an account that is back"); a.Status != http.StatusOK {
		s.Error(a.Raw)
	}
	s.w.ExpectAccountEvents(fmt.Sprint(first["accountId"]), events.TypeAccountConnected, events.TypeAccountDisconnecting,
		events.TypeAccountDrained, events.TypeAccountDisconnected, events.TypeAccountConnected)
}

func (house) denies(s somebody) {
	if page := s.connect("instagram_business_content_publish"); page.Status == http.StatusOK || s.account() != nil {
		s.Errorf("%d %q %v", page.Status, page.Heading, s.account())
	}
	for _, token := range s.w.Sandbox.Tokens(stage.TokenFilter{Provider: "instagram", Account: s.at.ID, Kind: "access"}) {
		if token.Client != "" && token.Dead == nil {
			s.Error("what was granted was not given back")
		}
	}
}

func (house) removesTheApp(s somebody) {
	s.connect()
	if _, err := s.w.Sandbox.Call("instagram", "deauthorize", s.at.ID, ""); err != nil {
		s.Fatal(err)
	}
	s.await("disconnected")
	if a := s.account(); a["disconnectReason"] != events.DisconnectRevokedAtProvider {
		s.Errorf("%v", a)
	}
}

func (house) hasDataDeleted(s somebody) {
	s.connect()
	const caption = "to be forgotten"
	s.publish(caption)
	called, err := s.w.Sandbox.Call("instagram", "deletion", s.at.ID, "")
	if err != nil || len(called) != 1 || called[0].StatusURL == "" {
		s.Fatalf("%+v %v", called, err)
	}
	s.await("gone")
	page, err := s.browser.Open(s.Context(), called[0].StatusURL)
	if err != nil || page.Err() != nil {
		s.Errorf("%v %v", err, page)
	}
	if found := s.w.Mentions(caption); len(found) > 0 {
		s.Errorf("its content is still in %v", found)
	}
}

func (h house) limits() {
	key := h.user("limited")
	refused := 0
	for range 25 {
		if a := h.call(key, http.MethodPost, "/api/instagram/publish", `{"mediaType":"IMAGE","mediaUrl":"https://example.com/a.jpg"}`, "Prefer", "wait=0"); a.Status == http.StatusTooManyRequests {
			refused++
			if a.Header.Get("Retry-After") == "" || a.Header.Get("RateLimit") == "" {
				h.Errorf("%v", a.Header)
			}
		}
	}
	if refused != 5 {
		h.Errorf("%d of 25 requests were refused, the limit is 20", refused)
	}
}

func (h house) repeats() {
	const n = 8
	body := fmt.Sprintf(`{"mediaType":"IMAGE","mediaUrl":"https://example.com/a.jpg","caption":"once","accountId":%q}`, h.w.Accounts[0])
	ids := make(chan string, n)
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			a := h.call(h.w.APIKey, http.MethodPost, "/api/instagram/publish", body, "Idempotency-Key", "same-everywhere")
			if a.Status != http.StatusOK {
				h.Error(a.Raw)
			}
			ids <- a.Text("postId")
		})
	}
	all.Wait()
	close(ids)
	first := <-ids
	for id := range ids {
		if id != first {
			h.Errorf("posts %s and %s", first, id)
		}
	}
	if posts := h.w.Sandbox.Posts(stage.PostFilter{Text: "once"}); len(posts) != 1 {
		h.Errorf("%d posts", len(posts))
	}
}

// rotates rotates the keys twice while publishes run.
func (h house) rotates() {
	before := h.w.SealedBy()
	stop := make(chan struct{})
	var load sync.WaitGroup
	sent := 0
	load.Go(func() {
		for ; ; sent++ {
			select {
			case <-stop:
				return
			case <-time.After(30 * time.Millisecond):
			}
			h.w.Request(fmt.Sprintf("rotating-%d", sent), world.Image(h.w.Accounts[sent%12], fmt.Sprintf("rotating %d", sent)))
		}
	})
	for range 2 {
		for _, command := range []string{"rotate", "reseal", "prune"} {
			h.keyset(command)
		}
	}
	close(stop)
	load.Wait()
	h.w.Eventually(60*time.Second, "all of the load is published", func() bool {
		done, failed := h.w.Outcomes("rotating-")
		if failed > 0 {
			h.Fatalf("%d publishes failed", failed)
		}
		return done == sent
	})
	after := h.w.SealedBy()
	if len(before) != 1 || len(after) != 1 || before[0] == after[0] {
		h.Errorf("sealed by %v, then by %v", before, after)
	}
	h.Logf("%d publishes while the keys were rotated twice", sent)
}

func (h house) keyset(command string) {
	h.Helper()
	env := map[string]string{"POSTBUS_KEYSET": h.w.Keyset(), "DATABASE_URL": h.w.DSN}
	var out, errs bytes.Buffer
	if code := account.KeysetCommand(h.Context(), []string{command}, func(n string) string { return env[n] }, &out, &errs); code != 0 {
		h.Fatalf("account keyset %s: %d %s", command, code, &errs)
	}
}

// attacks are what a stranger would try at the door; each package has its own
// list, this one goes through everything.
func (h house) attacks() {
	victim, attacker := h.guest("victim"), h.guest("attacker")
	link := h.d.Link(attacker.key, "instagram")
	asked, err := attacker.browser.Open(h.Context(), link)
	if err != nil || asked.Err() != nil {
		h.Fatal(err, asked.Err())
	}
	callback := h.w.PublicURL + "/api/connect/instagram/callback?code=AQstolen&state=" + asked.URL.Query().Get("state")
	for name, visit := range map[string]struct {
		who     *visitor.Visitor
		address string
	}{
		"another browser's state": {victim.browser, callback},
		"no state":                {attacker.browser, h.w.PublicURL + "/api/connect/instagram/callback?code=AQstolen"},
		"two states":              {attacker.browser, callback + "&state=x"},
		"a code of nobody":        {attacker.browser, callback},
		"a state that was used":   {attacker.browser, callback},
		"an unknown link":         {victim.browser, h.w.PublicURL + "/api/connect/instagram?link=" + strings.Repeat("x", 43)},
	} {
		page, err := visit.who.Open(h.Context(), visit.address)
		if err != nil || page.Status < 400 || page.Status >= 600 {
			h.Errorf("%s: %v %d", name, err, page.Status)
		}
	}
	if victim.account() != nil || attacker.account() != nil {
		h.Error("something was connected")
	}
	h.others(victim)
}

func (h house) guest(name string) somebody {
	h.Helper()
	s := somebody{house: h}
	transport := &http.Transport{}
	h.Cleanup(transport.CloseIdleConnections)
	s.browser = visitor.New(transport)
	s.key = h.user(name)
	return s
}

// others asks for what belongs to somebody else: it does not exist.
func (h house) others(s somebody) {
	const unknown = "01890000-0000-7000-8000-000000000000"
	for _, route := range []struct{ method, path, id, body string }{
		{http.MethodGet, "/api/accounts/%s", h.w.Accounts[0], ""},
		{http.MethodPost, "/api/accounts/%s/refresh", h.w.Accounts[0], ""},
		{http.MethodPost, "/api/accounts/%s/disconnect", h.w.Accounts[0], ""},
		{http.MethodGet, "/api/publishes/%s", events.PublishID("/x", "y").String(), ""},
		{http.MethodPost, "/api/publishes/%s/cancel", events.PublishID("/x", "y").String(), ""},
	} {
		theirs := h.call(s.key, route.method, fmt.Sprintf(route.path, route.id), route.body)
		none := h.call(s.key, route.method, fmt.Sprintf(route.path, unknown), route.body)
		if theirs.Status != http.StatusNotFound || none.Status != theirs.Status || none.Error.Code != theirs.Error.Code || none.Error.Message != theirs.Error.Message {
			h.Errorf("%s %s: %s, of nobody: %s", route.method, route.path, theirs.Raw, none.Raw)
		}
	}
}

// collector takes spans as the exporters send them.
type collector struct {
	url string
	mu  sync.Mutex
	buf bytes.Buffer
}

func (c *collector) env() []string {
	return []string{"OTEL_TRACES_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf", "OTEL_EXPORTER_OTLP_ENDPOINT=" + c.url, "OTEL_BSP_SCHEDULE_DELAY=500"}
}

// secrets looks for every secret of the run in everything that was told.
func (h house) secrets(spans *collector) {
	h.Helper()
	secrets := append([]string{"sandbox-secret-of-instagram", h.w.APIKey}, h.told.keys...)
	for _, token := range h.w.Sandbox.Tokens(stage.TokenFilter{}) {
		secrets = append(secrets, token.Value)
	}
	if len(secrets) < 20 {
		h.Errorf("only %d secrets to look for", len(secrets))
	}
	places := map[string]string{"HTTP answers": h.told.answers.String(), "events": h.w.Spoken(), "database": h.w.Dump()}
	for _, p := range append(h.d.Accounts, h.d.Publishers...) {
		places["metrics"] += h.metrics(p)
		p.Stop() // the last spans are sent
		places["logs"] += p.Log()
	}
	spans.mu.Lock()
	places["spans"] = spans.buf.String()
	spans.mu.Unlock()
	for place, text := range places {
		if len(text) < 1000 {
			h.Errorf("%s: only %d bytes to look at", place, len(text))
		}
		for _, s := range secrets {
			for _, spelling := range spellings(s) {
				if strings.Contains(text, spelling) {
					h.Errorf("%s hold a secret: %s...", place, spelling[:6])
				}
			}
		}
	}
	h.Logf("%d secrets looked for", len(secrets))
}

func spellings(s string) []string {
	return []string{s, fmt.Sprintf("%x", s), base64.StdEncoding.EncodeToString([]byte(s)), url.QueryEscape(s)}
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
