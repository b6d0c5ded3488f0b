package main

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"postbus.dev/deploy/testbed"
	"postbus.dev/events"
)

// TestMakeRun goes through the life of a data directory: made, ended by Ctrl-C,
// killed, started again.
func TestMakeRun(t *testing.T) {
	t.Parallel()
	linked(t, "Makefile")
	dir, bin := filepath.Join(testbed.Dir(t), "data"), testbed.Dir(t)
	first := start(t, dir, makeCommand(t, dir, bin, "run"))
	p := first.place()
	checkFirstPosts(t, first.out.String())
	checkWaterfall(t, first.out.String())
	published := first.await(`publish.requested +IMAGE +publish (\S+)`, time.Second)[1]
	permalink := first.await(`publish.completed +IMAGE +(\S+)`, time.Second)[1]
	first.signal(syscall.SIGINT)
	first.code(stopWait)
	first.wantNothingLeft(p)

	second := start(t, dir, childOf(bin, dir))
	again := second.place()
	if again.key != p.key {
		t.Error("the second start has another API key")
	}
	awaitState(t, again, published, "completed")
	if posts := ask(t, again.sandbox+"/_sandbox/posts", ""); !strings.Contains(posts, permalink) {
		t.Errorf("the sandbox has lost %s: %s", permalink, posts)
	}
	prepared := prepare(t, again, dir)
	_ = second.cmd.Process.Kill()
	second.code(stopWait)

	third := start(t, dir, childOf(bin, dir))
	last := third.place()
	awaitState(t, last, prepared, "completed")
	third.signal(syscall.SIGTERM)
	if code := third.code(stopWait); code != 0 {
		t.Errorf("after SIGTERM: exit code %d", code)
	}
	checkFirstPosts(t, third.out.String())
	third.wantNothingLeft(again)
	third.wantNothingLeft(last)
}

// prepare has a post prepared that is due a little later, waits until the sandbox
// would still know it after a kill, and returns its publish.
func prepare(t *testing.T, p place, dir string) string {
	t.Helper()
	post := firstPosts()[0]
	post.Caption = "Prepared before the end"
	post.PublishAt = time.Now().Add(10 * time.Second).Format(time.RFC3339)
	send(t, p, "/me", "prepared-1", post)
	id := events.PublishID("/me", "prepared-1").String()
	awaitState(t, p, id, "ready|completed")
	for deadline := time.Now().Add(startWait); ; time.Sleep(20 * time.Millisecond) {
		state, err := os.ReadFile(filepath.Join(dir, "sandbox.json"))
		if err == nil && strings.Contains(string(state), post.Caption) {
			return id
		}
		if time.Now().After(deadline) {
			t.Fatalf("the sandbox did not write down what was prepared: %v", err)
		}
	}
}

// send does what an upstream system does.
func send(t *testing.T, p place, source, id string, post events.PublishRequested) {
	t.Helper()
	e, err := events.New(events.Meta{ID: id, Source: source}, post)
	if err != nil {
		t.Fatal(err)
	}
	m, err := events.Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	publish(t, p, m)
}

// publish stores a message in its stream and returns its number there.
func publish(t *testing.T, p place, m *nats.Msg) uint64 {
	t.Helper()
	nc, err := nats.Connect(p.nats)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ack, err := js.PublishMsg(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return ack.Sequence
}

// awaitState waits until the API says that a publish is in one of the states.
func awaitState(t *testing.T, p place, publish, states string) {
	t.Helper()
	re := regexp.MustCompile(`"state":"(` + states + `)"`)
	for deadline := time.Now().Add(startWait); ; time.Sleep(100 * time.Millisecond) {
		got := get(t, p, "/api/publishes/"+publish)
		if re.MatchString(got) {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("want %s, got %s", states, got)
			return
		}
	}
}

// linked reads a file of the top of the tree through a link in testdata: Go
// takes an earlier result for good unless a file that was read in the module
// has changed.
func linked(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// flags is the setting that makes Go build as the tests are built.
func flags(t *testing.T) string {
	t.Helper()
	set, err := exec.Command("go", "env", "GOFLAGS").Output()
	if err != nil {
		t.Fatal(err)
	}
	return "GOFLAGS=" + strings.Join(append(strings.Fields(string(set)), goFlags), " ")
}

// makeCommand makes a target as in a new terminal, with programs in bin.
func makeCommand(t *testing.T, dir, bin, target string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("make", target, "BIN="+bin)
	cmd.Dir = root()
	cmd.Env = environment(dir, flags(t))
	return cmd
}

// childOf runs what make has built.
func childOf(bin, dir string, env ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(bin, "postbus"))
	cmd.Env = append(environment(dir), env...)
	return cmd
}

// root is the top of the tree.
func root() string { return filepath.Join("..", "..") }

func checkFirstPosts(t *testing.T, out string) {
	t.Helper()
	for _, media := range []string{"IMAGE", "VIDEO", "CAROUSEL"} {
		if !regexp.MustCompile(`(?m)^publish.completed +` + media + ` +https://www\.instagram\.com/(p|reel)/\S+$`).MatchString(out) {
			t.Errorf("no publish.completed of the first %s", media)
		}
	}
}

func checkWaterfall(t *testing.T, out string) {
	t.Helper()
	_, fall, _ := strings.Cut(out, "\ntrace ")
	if id, _, _ := strings.Cut(fall, ":"); !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(id) || strings.Contains(fall, "\ntrace ") {
		t.Errorf("want one trace, got %q", id)
	}
	last := 0
	for _, want := range []string{
		`upstream +producer +send publish.requested`, `publisher +consumer +process publish.requested`,
		`publisher +client +POST \S+/media 200`, `publisher +client +GET \S+ 200`, `publisher +client +POST \S+/media_publish 200`,
		`publisher +producer +send publish.completed`,
	} {
		at := regexp.MustCompile(want).FindStringIndex(fall[last:])
		if at == nil {
			t.Fatalf("the waterfall lacks %s, or has it earlier", want)
		}
		last += at[1]
	}
}

// get reads from the API with the printed key.
func get(t *testing.T, p place, path string) string {
	t.Helper()
	return ask(t, p.api+path, p.key)
}

// ask reads JSON from an address, with a key unless it is "".
func ask(t *testing.T, url, key string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var body json.RawMessage
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	return string(body)
}
