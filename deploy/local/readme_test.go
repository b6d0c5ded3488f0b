//go:build linux

package main

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"postbus.dev/deploy/testbed"
	"postbus.dev/events"
)

// TestTheReadmeIsTrue runs the blocks of shell commands of README.md, each in a
// terminal, against a running system. A comment below a block says what it
// prints.
func TestTheReadmeIsTrue(t *testing.T) {
	t.Parallel()
	blocks := readBlocks(t)
	bin := natsCLI(t)
	dir := filepath.Join(testbed.Dir(t), "data")
	system := start(t, dir, systemCommand(dir))
	r := &reader{t: t, p: system.place(), dir: dir, bin: bin, blocks: blocks}
	r.places, r.vars = r.elsewhere(), []string{"TOKEN=" + r.p.key}
	r.window = openBrowser(t, r.p.api, r.p.sandbox)
	for _, b := range blocks {
		r.do(b)
	}
	for _, b := range r.behind {
		if b.block.prints != nil {
			b.run.await(b.block.prints.String(), startWait)
		}
	}
	for _, id := range []string{"hello-1", "hello-2", "curly-1"} {
		awaitState(t, r.p, events.PublishID("/me", id).String(), "completed")
	}
	system.await(`token-refresher +client +GET /refresh_access_token 200`, startWait) // why one of them took longer
	r.sendBack()
	t.Run("in a browser", r.visits)
}

// block is a block of shell commands.
type block struct {
	line   string // of its first command
	script string
	how    string // "", "soon", "background" or inBrowser
	prints *regexp.Regexp
	skip   bool
}

// inBrowser is how a block is used whose output has a link.
const inBrowser = "opened in a browser"

var (
	shellBlock = regexp.MustCompile("(?s)```sh\n(.*?)```\n((?:<!-- [^\n]* -->)?)")
	directive  = regexp.MustCompile(`^<!-- (?:(not run): .+|(background)|(soon |background, |` + inBrowser + `, )?prints: (.+)) -->$`)
)

func readBlocks(t *testing.T) (blocks []block) {
	t.Helper()
	text := linked(t, "README.md")
	for _, m := range shellBlock.FindAllStringSubmatch(string(text), -1) {
		d := directive.FindStringSubmatch(m[2])
		if d == nil {
			t.Fatalf("no comment says what this prints, or why it is not run:\n%s", m[1])
		}
		first, _, _ := strings.Cut(m[1], "\n")
		b := block{line: first, script: m[1], skip: d[1] != "", how: d[2] + strings.Trim(d[3], ", ")}
		if d[4] != "" {
			b.prints = regexp.MustCompile(d[4])
		}
		blocks = append(blocks, b)
	}
	if n := bytes.Count(text, []byte("```sh\n")); n == 0 || n != len(blocks) {
		t.Fatalf("%d blocks, %d read", n, len(blocks))
	}
	return blocks
}

// natsCLI is the directory of the nats CLI, which is built unless it is there.
func natsCLI(t *testing.T) string {
	t.Helper()
	built, err := filepath.Abs(filepath.Join(root(), "bin"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(built, "nats")); err == nil {
		return built
	}
	bin := testbed.Dir(t)
	if code := start(t, bin, makeCommand(t, bin, bin, "nats")).code(10 * time.Minute); code != 0 {
		t.Fatalf("make nats: exit code %d", code)
	}
	return bin
}

// reader is somebody who follows README.md.
type reader struct {
	t        *testing.T
	p        place
	dir, bin string
	blocks   []block
	window   *window  // nil where there is no browser
	places   []string // and words of README.md, each with what it stands for here
	vars     []string // of her shell: each block has one of its own
	behind   []running
}

type running struct {
	block block
	run   *child
}

// elsewhere puts the places of the test in place of those of README.md.
func (r *reader) elsewhere() []string {
	hostPort := func(url string) string { _, a, _ := strings.Cut(url, "://"); return a }
	second, sandbox := freePort(r.t), freePort(r.t)
	return []string{
		"localhost:3000", hostPort(r.p.api), "localhost:4010", hostPort(r.p.sandbox),
		"127.0.0.1:3001", second, "localhost:3001", second, "127.0.0.1:4011", sandbox, "localhost:4011", sandbox,
		".postbus/", r.dir + "/", "Bearer TOKEN", "Bearer " + r.p.key,
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// do runs a block.
func (r *reader) do(b block) {
	r.t.Helper()
	switch {
	case b.skip:
	case b.how == "background":
		run := r.run(b.script)
		run.await(`\S`, startWait) // a command that waits says so first
		r.behind = append(r.behind, running{b, run})
	case b.how == inBrowser:
		r.connect(r.check(b, r.result(b)))
	case b.how == "soon":
		for deadline := time.Now().Add(startWait); ; time.Sleep(100 * time.Millisecond) {
			out := r.result(b)
			if b.prints.MatchString(out) {
				return
			}
			if time.Now().After(deadline) {
				r.check(b, out)
				return
			}
		}
	default:
		r.check(b, r.result(b))
	}
}

// result runs a block to its end and returns what it printed.
func (r *reader) result(b block) string {
	r.t.Helper()
	run := r.run(b.script)
	if code := run.code(startWait); code != 0 && b.how != "soon" {
		r.t.Errorf("exit code %d: %s", code, b.line)
	}
	return run.out.String()
}

// check wants the output that README.md promises. A group of it with a name is
// what that name stands for from here on, as a word and as a variable of the shell; check returns the last group.
func (r *reader) check(b block, out string) (last string) {
	r.t.Helper()
	if b.prints == nil {
		return ""
	}
	found := b.prints.FindStringSubmatch(out)
	if found == nil {
		r.t.Fatalf("%s\nprinted\n%s\nwant %s", b.line, out, b.prints)
	}
	for i, name := range b.prints.SubexpNames() {
		if name != "" {
			r.vars = append(r.vars, name+"="+found[i])
			r.places = append(r.places, "$"+name, "$"+name, name, found[i])
		}
	}
	return found[len(found)-1]
}

func (r *reader) run(script string) *child {
	r.t.Helper()
	cmd := exec.Command("bash", "-euo", "pipefail", "-c", strings.NewReplacer(r.places...).Replace(script))
	cmd.Dir = root()
	cmd.Env = append(environment(r.dir, "PATH="+r.bin+":"+os.Getenv("PATH"), "NATS_URL="+r.p.nats, flags(r.t), "TERM=dumb"), r.vars...)
	return startInTerminal(r.t, r.dir, cmd)
}

// sendBack sends a dead letter back that is whole: body and headers survive.
func (r *reader) sendBack() {
	r.t.Helper()
	e, err := events.New(events.Meta{ID: "back-1", Source: "/it's/me"}, firstPosts()[0])
	if err != nil {
		r.t.Fatal(err)
	}
	m, err := events.Encode(e)
	if err != nil {
		r.t.Fatal(err)
	}
	m.Subject = "deadletter." + m.Subject
	m.Header.Set("Deadletter-Reason", "a bug that is mended")
	m.Header.Del(jetstream.MsgIDHeader)
	number := strconv.FormatUint(publish(r.t, r.p, m), 10)
	for _, b := range r.blocks {
		if strings.Contains(b.script, "--translate") {
			r.run(strings.ReplaceAll(b.script, "DEADLETTER 1 ", "DEADLETTER "+number+" ")).code(startWait)
			awaitState(r.t, r.p, events.PublishID(e.Source(), e.ID()).String(), "completed")
			return
		}
	}
	r.t.Error("README.md does not tell how to send a dead letter back")
}
