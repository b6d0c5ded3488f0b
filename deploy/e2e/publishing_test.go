package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"postbus.dev/deploy/e2e/contract"
	"postbus.dev/services/connectors/sandbox/stage"
)

// connected sees to it that the user has one account.
func (p *party) connected() {
	items, _ := p.data(p.of("list-accounts", "", "").With(key(p.keyOf(p.user, "accounts"))), 200)["items"].([]any)
	if len(items) == 0 {
		p.account(p.user)
	}
}

// published makes a post and returns its publish.
func (p *party) published() string {
	p.connected()
	return fmt.Sprint(p.data(p.of("publish", "", fmt.Sprintf(image, "of "+p.op.ID)), 200)["publishId"])
}

// scheduled asks for one that is due long after this test.
func (p *party) scheduled() string {
	p.connected()
	return fmt.Sprint(p.data(p.of("publish", "", dueLater), 202)["publishId"])
}

const dueLater = `{"mediaType":"IMAGE","mediaUrl":"https://example.com/image.jpg","publishAt":"2098-01-01T00:00:00Z"}`

func (p *party) publishes(good contract.Call) {
	first := p.data(good, 200)
	if again := p.data(good, 200); again["postId"] != first["postId"] {
		p.Errorf("the same request made %v and %v", first["postId"], again["postId"])
	}
	p.refused("a key with another body", good.With(body(fmt.Sprintf(image, "something else"))), 422)
	p.refused("a key that is too long", good.With(header("Idempotency-Key", strings.Repeat("k", 256))), 400)
	p.answers(good.With(header("Idempotency-Key", "later")).With(body(dueLater)), 202)
	p.refused("media that the provider refuses", p.rejected(), 422)
	one := `{"mediaType":"IMAGE","mediaUrl":"https://example.com/image.jpg","accountId":"01890000-0000-7000-8000-000000000000"}`
	p.refused("an account of nobody", good.With(header("Idempotency-Key", "nobody")).With(body(one)), 404)
	p.refused("one of two accounts", good.With(header("Idempotency-Key", "which")), 409)
}

// rejected is a request for media that the provider takes no pleasure in.
func (p *party) rejected() contract.Call {
	id, at := p.account(p.user)
	p.fault(stage.Fault{Provider: at.Provider, Account: at.ID, Switch: "container_error", Subcode: 2207026, Count: 1})
	return p.of("publish", "", fmt.Sprintf(`{"mediaType":"IMAGE","mediaUrl":"https://example.com/image.jpg","accountId":%q}`, id))
}

func (p *party) reschedules(good contract.Call) {
	p.answers(good, 200)
	p.refused("a time that is over", good.With(body(`{"publishAt":"2020-01-01T00:00:00Z"}`)), 400)
	p.answers(p.of("cancel-publish", good.Path["id"], ""), 200)
	p.refused("a canceled publish", good, 409)
}

func (p *party) cancels(good contract.Call) {
	p.answers(good, 200)
	p.answers(good, 200)
	p.refused("a publish that is live", p.call(p.published(), ""), 409)
}

// follows a publish that has ended: its stream ends too, and a caller who has seen
// that is told that there is nothing more.
func (p *party) follows(good contract.Call) {
	x := p.answers(good, 200)
	id := regexp.MustCompile(`(?m)^id: (.+)$`).FindSubmatch(x.Body)
	if id == nil || !strings.Contains(string(x.Body), "event: snapshot\n") {
		p.Fatal(x)
	}
	p.answers(good.With(header("Last-Event-ID", string(id[1]))), 204)
}

// undecide makes a post of which nobody will be able to tell whether it is live.
func (h house) undecide() {
	h.create(undecided)
	_, at := h.account(undecided)
	lost := h.fault(stage.Fault{Provider: at.Provider, Account: at.ID, Switch: "lost_after", Call: "media_publish", Count: 1})
	for _, call := range []string{"container_read", "media_list"} {
		h.fault(stage.Fault{Provider: at.Provider, Account: at.ID, Switch: "http_before", Status: 503, Call: call, Behind: lost.ID})
	}
	h.must(h.keyOf(undecided, "publish"), "POST", "/api/instagram/publish", fmt.Sprintf(image, "is it there?"), "Prefer", "respond-async")
}

func (p *party) awaitUnconfirmed() (id string) {
	reader := p.of("list-publishes", "", "").With(query("state", "unconfirmed")).With(key(p.keyOf(undecided, "publish")))
	p.w.Eventually(60*time.Second, "a publish is unconfirmed", func() bool {
		items, _ := p.data(reader, 200)["items"].([]any)
		if len(items) > 0 {
			first, _ := items[0].(map[string]any)
			id = fmt.Sprint(first["publishId"])
		}
		return id != ""
	})
	return id
}

func (p *party) resolves(good contract.Call) {
	p.answers(good, 200)
	p.refused("a publish that is resolved", good, 409)
}

func (h house) fault(f stage.Fault) stage.Fault {
	h.Helper()
	set, err := h.w.Sandbox.SetFault(f)
	if err != nil {
		h.Fatal(err)
	}
	return set
}
