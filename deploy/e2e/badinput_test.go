package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"postbus.dev/deploy/e2e/world"
	"postbus.dev/events"
)

// badData is the data of a request that ends in publish.failed.
type badData struct {
	name string
	data string // ACCOUNT stands for an account that works
	code string // VALIDATION_ERROR where it is empty
	want []string
	says string // part of the message
}

// fields makes data of a good image with these members replaced or added; a
// null takes one away.
func fields(members string) string {
	object := map[string]json.RawMessage{
		"mediaType": json.RawMessage(`"IMAGE"`), "mediaUrl": json.RawMessage(`"https://example.com/image.jpg"`), "accountId": json.RawMessage(`"ACCOUNT"`),
	}
	var change map[string]json.RawMessage
	if err := json.Unmarshal([]byte("{"+members+"}"), &change); err != nil {
		panic(err)
	}
	for name, value := range change {
		if object[name] = value; string(value) == "null" {
			delete(object, name)
		}
	}
	b, err := json.Marshal(object)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func carousel(n int) string {
	child := `{"mediaType":"IMAGE","mediaUrl":"https://example.com/1.jpg"}`
	return fields(`"mediaType":"CAROUSEL","mediaUrl":null,"children":[` + strings.TrimSuffix(strings.Repeat(child+",", n), ",") + `]`)
}

func badRequests() []badData {
	return []badData{
		{name: "not JSON", data: `mediaType=IMAGE`, want: []string{" json"}},
		{name: "no data", data: ``, want: []string{" json"}},
		{name: "an array", data: `[]`, want: []string{" type"}},
		{name: "unknown fields", data: fields(`"captoin":"x","reply":{"to":"me"}`), want: []string{"/captoin additionalProperties", "/reply additionalProperties"}},
		{name: "a field twice", data: `{"mediaType":"IMAGE","mediaUrl":"https://example.com/a.jpg","caption":"a","caption":"b","accountId":"ACCOUNT"}`, want: []string{"/caption duplicate"}},
		{name: "no target", data: fields(`"accountId":null`), want: []string{"/accountId required"}},
		{name: "half a target", data: fields(`"accountId":null,"provider":"instagram"`), want: []string{"/userId required"}},
		{name: "2,201 characters", data: fields(`"caption":"` + strings.Repeat("ä", 2201) + `"`), want: []string{"/caption maxLength"}},
		{name: "900 KB", data: fields(`"caption":"` + strings.Repeat("a", 900_000) + `"`), want: []string{"/caption maxLength"}},
		{name: "a carousel of 1", data: carousel(1), want: []string{"/children minItems"}},
		{name: "a carousel of 11", data: carousel(11), want: []string{"/children maxItems"}},
		{name: "a URL without host", data: fields(`"mediaUrl":"http:///image.jpg"`), want: []string{"/mediaUrl format"}},
		{name: "a URL of another scheme", data: fields(`"mediaUrl":"ftp://example.com/image.jpg"`), want: []string{"/mediaUrl format"}},
		{name: "a naive publishAt", data: fields(`"publishAt":"2026-12-24T18:00:00"`), want: []string{"/publishAt format"}},
		{name: "an expiresAt before publishAt", data: fields(`"publishAt":"2126-12-24T18:00:00Z","expiresAt":"2126-12-24T17:00:00Z"`), want: []string{"/expiresAt after"}},
		{name: "an expiresAt too far", data: fields(`"expiresAt":"2126-12-24T17:00:00Z"`), want: []string{"/expiresAt maximum"}},
		{name: "U+0000", data: fields(`"caption":"a` + `\u` + `0000b"`), want: []string{"/caption characters"}},
		{name: "a lone surrogate", data: rawCaption(`\u` + `d83d`), want: []string{"/caption characters"}},
		{name: "invalid UTF-8", data: rawCaption("\xff"), want: []string{"/caption characters"}},
		{name: "a wrong type", data: fields(`"caption":5,"children":"none"`), want: []string{"/caption type", "/children type"}},
		{name: "an option of nobody", data: fields(`"options":{"subreddit":"go"}`), want: []string{"/options/subreddit unknown"}},
		{name: "a media type of another provider", data: fields(`"mediaType":"TEXT"`), want: []string{"/mediaType unsupported"}},
		{name: "an unknown provider", data: fields(`"accountId":null,"provider":"myspace","userId":"demo"`), want: []string{"/provider enum"}},
		{name: "no provider's name", data: fields(`"accountId":null,"provider":"My Space","userId":"demo"`), want: []string{"/provider pattern"}},
		{name: "no UUID", data: fields(`"accountId":"demo"`), want: []string{"/accountId format"}},
		{name: "an unknown account", data: fields(`"accountId":"018f0000-0000-7000-8000-000000000000"`), code: "ACCOUNT_NOT_CONNECTED"},
		{name: "an unknown user", data: fields(`"accountId":null,"provider":"instagram","userId":"nobody"`), code: "ACCOUNT_NOT_CONNECTED"},
		{name: "a user of several accounts", data: fields(`"accountId":null,"provider":"instagram","userId":"demo"`), code: "CONFLICT", says: "ACCOUNT"},
		{name: "everything at once", data: fields(`"mediaType":"GIF","mediaUrl":"/image.jpg","accountId":"x","publishAt":"tomorrow","userId":7,"x":1`),
			want: []string{"/accountId format", "/mediaType enum", "/mediaUrl format", "/publishAt format", "/userId type", "/x additionalProperties"}},
	}
}

// rawCaption puts bytes into a caption as they are: fields would repair them.
func rawCaption(s string) string {
	return strings.Replace(fields(`"caption":"CAPTION"`), "CAPTION", s, 1)
}

// badMessage is a message that ends in the dead letters.
type badMessage struct {
	name   string
	header nats.Header
	data   string
	says   string // part of the reason
}

func badMessages() []badMessage {
	good := func(change ...string) nats.Header {
		h := nats.Header{"ce-specversion": {"1.0"}, "ce-type": {"publish.requested"}, "ce-source": {"/e2e"}, "ce-id": {"bad"}, "Content-Type": {"application/json"}}
		for i := 0; i < len(change); i += 2 {
			if h[change[i]] = []string{change[i+1]}; change[i+1] == "" {
				delete(h, change[i])
			}
		}
		return h
	}
	two := good()
	two["ce-id"] = []string{"one", "two"}
	structured := nats.Header{"Content-Type": {"application/cloudevents+json"}}
	return []badMessage{
		{name: "nothing", says: "not JSON"},
		{name: "not JSON", data: "publish this, please", says: "not JSON"},
		{name: "not a CloudEvent", data: `{"mediaType":"IMAGE"}`, says: "attribute specversion is missing"},
		{name: "a CloudEvent without id", data: `{"specversion":"1.0","type":"publish.requested","source":"/e2e"}`, says: "id"},
		{name: "a header with two values", header: two, data: `{}`, says: "two values"},
		{name: "a broken escape", header: good("ce-subject", "%zz"), data: `{}`, says: "ce-subject"},
		{name: "another version", header: good("ce-specversion", "0.3"), data: `{}`, says: "specversion"},
		{name: "another type than its subject", header: good("ce-type", "publish.completed"), data: `{}`, says: "subject"},
		{name: "no source", header: good("ce-source", ""), data: `{}`, says: "source"},
		{name: "structured and not JSON", header: structured, data: `<event/>`, says: "not JSON"},
		{name: "structured in another format", header: nats.Header{"Content-Type": {"application/cloudevents+avro"}}, data: `Obj`, says: "not supported"},
		{name: "U+0000 in an attribute", header: structured, data: `{"specversion":"1.0","type":"publish.requested","source":"/e2e","id":"a` + `\u` + `0000"}`, says: "U+0000"},
		{name: "a lone surrogate in an attribute", header: structured, data: `{"specversion":"1.0","type":"publish.requested","source":"/e2e","id":"` + `\u` + `d800"}`, says: "surrogate"},
		{name: "900 KB of nothing", data: strings.Repeat(" ", 900_000), says: "not JSON"},
		{name: "as much as the server takes", data: strings.Repeat("x", 1<<20-64), says: "not JSON"},
	}
}

func TestBadInputAmidGoodRequestsIsNamedAndHarmsNothing(t *testing.T) {
	t.Parallel()
	const good = 500
	w := world.New(t, world.Config{Accounts: 20, Factor: 0.02})
	broken := w.User("broken")
	w.Exec(`UPDATE oauth_accounts SET access_token = '\x00' WHERE id = $1`, broken) // sealed by nobody: its handler fails by itself
	p := w.Publisher(world.ProcessConfig{})

	data, messages := badRequests(), badMessages()
	w.Request("broken", world.Image(broken, "repaired"))
	for i := range good {
		w.Request(fmt.Sprint(i), world.Image(w.Accounts[i%20], fmt.Sprintf("post %d", i)))
		if i < len(data) {
			w.RequestRaw(data[i].name, []byte(strings.ReplaceAll(data[i].data, "ACCOUNT", w.Accounts[0])))
		}
		if j := i - len(data); j >= 0 && j < len(messages) {
			sendBad(t, w, messages[j])
		}
	}
	w.Send(cancelOfNothing(t))
	tooLarge(t, w)

	w.AwaitEnd(120*time.Second, good+len(data))
	w.AwaitConsumer(60 * time.Second)
	checkDeadLetters(t, w, messages)

	// The account is repaired and its dead letter sent back: one request, as it is.
	w.User("broken")
	letter := letterOf(t, w, "broken")
	letter.Subject = strings.TrimPrefix(letter.Subject, events.DeadLetterPrefix)
	if err := w.Send(letter); err != nil {
		t.Fatalf("send a dead letter back: %v", err)
	}
	w.AwaitEnd(60*time.Second, good+len(data)+1)
	w.AwaitConsumer(30 * time.Second)
	if n := len(w.DeadLetters()); n != len(messages)+2 {
		t.Errorf("%d dead letters, want %d", n, len(messages)+2)
	}

	w.Check(good + len(data) + 1)
	if s := w.States(); s["completed"] != good+1 || s["failed"] != len(data) {
		t.Errorf("states: %v", s)
	}
	told := w.Told()
	for _, bad := range data {
		checkFailure(t, bad, told[world.ID(bad.name).String()], w.Accounts)
	}
	select {
	case <-p.Exited():
		t.Error("the publisher has ended")
	default:
	}
}

func sendBad(t *testing.T, w *world.World, bad badMessage) {
	t.Helper()
	m := &nats.Msg{Subject: events.TypePublishRequested, Header: nats.Header{"X-Case": {bad.name}}, Data: []byte(bad.data)}
	for name, values := range bad.header {
		m.Header[name] = values
	}
	if err := w.Send(m); err != nil {
		t.Fatalf("%s: %v", bad.name, err)
	}
}

// cancelOfNothing can be read, but names no publish.
func cancelOfNothing(t *testing.T) *nats.Msg {
	t.Helper()
	return &nats.Msg{Subject: events.TypePublishCancelRequested, Data: []byte(`{}`), Header: nats.Header{
		"X-Case": {"a cancel of nothing"}, "ce-specversion": {"1.0"}, "ce-type": {events.TypePublishCancelRequested}, "ce-source": {"/e2e"}, "ce-id": {"cancel"},
	}}
}

// tooLarge: a body of 2 MB never becomes a message. Its publisher is told by
// its client library, or by a server that then ends the connection.
func tooLarge(t *testing.T, w *world.World) {
	t.Helper()
	body := bytes.Repeat([]byte("x"), 2_000_000)
	if err := w.Send(&nats.Msg{Subject: events.TypePublishRequested, Data: body}); !errors.Is(err, nats.ErrMaxPayload) {
		t.Errorf("the client says to 2 MB: %v", err)
	}
	u, err := url.Parse(w.Bus.URL())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.DialTimeout("tcp", u.Host, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprintf(conn, "CONNECT {\"verbose\":false}\r\nPUB %s %d\r\n", events.TypePublishRequested, len(body))
	var said []byte
	for b := make([]byte, 4096); ; {
		n, err := conn.Read(b)
		if said = append(said, b[:n]...); err != nil {
			break
		}
	}
	if !bytes.Contains(said, []byte("Maximum Payload")) {
		t.Errorf("the server says to 2 MB: %s", said)
	}
}

// letterOf finds the dead letter of a request or a case.
func letterOf(t *testing.T, w *world.World, name string) *nats.Msg {
	t.Helper()
	for _, m := range w.DeadLetters() {
		if m.Header.Get("X-Case") == name || slices.Equal(m.Header["ce-id"], []string{name}) {
			return m
		}
	}
	t.Fatalf("no dead letter of %q", name)
	return nil
}

func checkDeadLetters(t *testing.T, w *world.World, messages []badMessage) {
	t.Helper()
	letters := w.DeadLetters()
	if len(letters) != len(messages)+2 {
		t.Errorf("%d dead letters, want %d", len(letters), len(messages)+2)
	}
	want := append(slices.Clone(messages), badMessage{name: "broken", says: "failed too often"}, badMessage{name: "a cancel of nothing", says: "/publishId"})
	for _, bad := range want {
		m := letterOf(t, w, bad.name)
		h := m.Header
		if !strings.Contains(h.Get("Deadletter-Reason"), bad.says) || h.Get("Deadletter-Consumer") != events.ConsumerPublisher ||
			h.Get("Deadletter-Stream") != events.StreamPublish || h.Get("Deadletter-Time") == "" || h.Get("Deadletter-Deliveries") == "" {
			t.Errorf("%s: dead letter with %v, want a reason with %q", bad.name, h, bad.says)
		}
		if omitted := h.Get("Deadletter-Omitted") == "payload"; bad.data != "" && !omitted && string(m.Data) != bad.data {
			t.Errorf("%s: the dead letter holds %d other bytes", bad.name, len(m.Data))
		} else if omitted && len(bad.data) < 1_000_000 {
			t.Errorf("%s: the dead letter lacks its payload", bad.name)
		}
	}
}

func checkFailure(t *testing.T, bad badData, told world.Told, accounts []string) {
	t.Helper()
	if len(told) != 1 || told.Failure() == nil {
		t.Errorf("%s: was told %v, want failed", bad.name, told.Types())
		return
	}
	f := told.Failure()
	var got []string
	for _, v := range f.Violations {
		got = append(got, v.Field+" "+v.Rule)
		if v.Message == "" {
			t.Errorf("%s: %s has no message", bad.name, v.Field)
		}
	}
	slices.Sort(got)
	code := bad.code
	if code == "" {
		code = "VALIDATION_ERROR"
	}
	if f.Code != code || !slices.Equal(got, bad.want) {
		t.Errorf("%s: %s with %q, want %s with %q", bad.name, f.Code, got, code, bad.want)
	}
	if bad.says == "ACCOUNT" {
		for _, id := range accounts {
			if !strings.Contains(f.Message, id) {
				t.Errorf("%s: %q does not list %s", bad.name, f.Message, id)
			}
		}
	}
}
