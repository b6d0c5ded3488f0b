package e2e

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"postbus.dev/deploy/e2e/contract"
	"postbus.dev/deploy/e2e/world"
	"postbus.dev/deploy/visitor"
	"postbus.dev/events"
	"postbus.dev/services/account"
	"postbus.dev/services/connectors/sandbox/stage"
)

// TestTwoAccountServicesAndTwoPublishersAreOne runs everything that people do
// over HTTP through one address with two processes of each service behind it, and
// looks at the end whether every answer was as documented, and whether anything of
// it told a secret.
func TestTwoAccountServicesAndTwoPublishersAreOne(t *testing.T) {
	t.Parallel()
	spans := collect(t)
	w := world.New(t, world.Config{Accounts: 12, Factor: 0.02})
	d := w.Open(2, 2, world.ProcessConfig{Recheck: 300 * time.Millisecond, Env: append(spans.env(),
		"POSTBUS_LOG_LEVEL=debug", "POSTBUS_RETURN_TO="+returnTo, fmt.Sprint("POSTBUS_CALLS_PER_KEY=", callsPerKey))})
	h := house{T: t, w: w, d: d}
	h.doc = h.document()
	h.canary = newCanary(h)
	h.undecide()
	h.person("a person connects, publishes, disconnects and comes back", house.connects)
	h.person("a person denies what publishing needs", house.denies)
	h.person("a person removes the app at the provider", house.removesTheApp)
	h.person("a person has her data deleted by the provider", house.hasDataDeleted)
	t.Run("a limit is one for all processes", func(t *testing.T) { h.on(t).limits() })
	t.Run("a request is the same in every process", func(t *testing.T) { h.on(t).repeats() })
	t.Run("forged ways in are refused", func(t *testing.T) { h.on(t).attacks() })
	var beside sync.WaitGroup // what follows waits more than it works
	beside.Go(func() { t.Run("keys rotate under load", func(t *testing.T) { h.on(t).rotates() }) })
	beside.Go(func() { t.Run("publishers answer for each other", func(t *testing.T) { h.on(t).neighbors() }) })
	t.Run("every operation is as documented", func(t *testing.T) { h.on(t).contract() })
	beside.Wait()
	t.Run("a user is deleted with publishes in every state", func(t *testing.T) { h.on(t).deletes() })
	letGo := h.onlookers()
	h.canary.sings(spans)
	letGo()
}

const image = `{"mediaType":"IMAGE","mediaUrl":"https://example.com/image.jpg","caption":%q}`

// house is a world with an open door.
type house struct {
	*testing.T
	w      *world.World
	d      *world.Door
	doc    *contract.Document
	canary *canary
}

func (h house) on(t *testing.T) house { h.T = t; return h }

// document is what the door serves of itself.
func (h house) document() *contract.Document {
	h.Helper()
	r, err := http.NewRequestWithContext(h.Context(), http.MethodGet, h.d.URL+"/openapi.json", nil)
	if err != nil {
		h.Fatal(err)
	}
	doc, err := contract.Read(h.d.Send(r).Body)
	if err != nil {
		h.Fatal(err)
	}
	return doc
}

func (h house) must(key, method, path, body string, header ...string) world.Answer {
	h.Helper()
	a := h.d.Call(key, method, path, body, header...)
	if !a.Success {
		h.Fatalf("%s %s: %s", method, path, a.Raw)
	}
	return a
}

func (h house) create(user string) {
	h.Helper()
	h.must(h.w.APIKey, http.MethodPost, "/api/users", fmt.Sprintf(`{"userId":%q}`, user))
}

// keyOf makes a key of a user; one for nothing in particular may publish.
func (h house) keyOf(user string, scopes ...string) string {
	h.Helper()
	if len(scopes) == 0 {
		scopes = []string{"publish"}
	}
	body, _ := json.Marshal(map[string]any{"userId": user, "name": "test", "scopes": scopes})
	return h.must(h.w.APIKey, http.MethodPost, "/api/keys", string(body)).Text("key")
}

// atProvider makes an account at Instagram.
func (h house) atProvider(of string) stage.Account {
	h.Helper()
	made, err := h.w.Sandbox.AddAccounts(stage.Account{Provider: "instagram", Username: of + "-" + rand.Text()[:6], QuotaTotal: -1}, 0)
	if err != nil {
		h.Fatal(err)
	}
	return made[0]
}

// account makes an account at Instagram and imports it.
func (h house) account(user string) (id string, at stage.Account) {
	h.Helper()
	at = h.atProvider(user)
	body := fmt.Sprintf(`{"provider":"instagram","accessToken":%q,"userId":%q}`, at.Token, user)
	return h.must(h.w.APIKey, http.MethodPost, "/api/accounts/import", body).Text("accountId"), at
}

// somebody is a user with a key and an account at the provider.
type somebody struct {
	house
	key     string
	at      stage.Account
	browser *visitor.Visitor
}

// user makes a user and a key of hers.
func (h house) user(name string) (key string) {
	h.Helper()
	h.create(name)
	return h.keyOf(name, "publish", "accounts")
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

// person runs f for a user of her own.
func (h house) person(name string, f func(house, somebody)) {
	h.Run(name, func(t *testing.T) {
		h := h.on(t)
		user := strings.ReplaceAll(name, " ", "-")
		s := h.guest(user)
		s.at = h.atProvider(user)
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
	return s.d.Call(s.key, http.MethodPost, "/api/instagram/publish", fmt.Sprintf(image, caption))
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
		if a := h.d.Call(key, http.MethodPost, "/api/instagram/publish", `{"mediaType":"IMAGE","mediaUrl":"https://example.com/a.jpg"}`, "Prefer", "wait=0"); a.Status == http.StatusTooManyRequests {
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
			a := h.d.Call(h.w.APIKey, http.MethodPost, "/api/instagram/publish", body, "Idempotency-Key", "same-everywhere")
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
	defer h.canary.keyset()
	env := map[string]string{"POSTBUS_KEYSET": h.w.Keyset(), "DATABASE_URL": h.w.DSN}
	var out, errs bytes.Buffer
	if code := account.KeysetCommand(h.Context(), []string{command}, func(n string) string { return env[n] }, &out, &errs); code != 0 {
		h.Fatalf("account keyset %s: %d %s", command, code, &errs)
	}
}
