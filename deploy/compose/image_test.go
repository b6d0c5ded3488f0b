package compose

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// dockerfile is its instructions, each with its arguments, in order.
type dockerfile [][2]string

func readDockerfile() (dockerfile, error) {
	raw, err := os.ReadFile("../Dockerfile")
	var d dockerfile
	for line := range strings.Lines(string(raw)) {
		if name, rest, ok := strings.Cut(strings.TrimSpace(line), " "); ok && name != "#" {
			d = append(d, [2]string{name, rest})
		}
	}
	return d, err
}

func (d dockerfile) all(instruction string) (args []string) {
	for _, i := range d {
		if i[0] == instruction {
			args = append(args, i[1])
		}
	}
	return args
}

// buildCommands are what the Dockerfile runs Go with, and their environment but
// for where the image keeps its caches: here they are the ones of everybody.
func (d dockerfile) buildCommands() (run, env []string) {
	for _, args := range d.all("RUN") {
		if mount, cmd, ok := strings.Cut(args, " "); ok && strings.HasPrefix(mount, "--mount=type=cache,") {
			run = append(run, cmd)
		}
	}
	for _, args := range d.all("ENV") {
		for _, v := range strings.Fields(args) {
			if !strings.HasSuffix(strings.SplitN(v, "=", 2)[0], "CACHE") {
				env = append(env, v)
			}
		}
	}
	return run, env
}

// probe is the folder of the health check's program.
const probe = "deploy/probe"

// What an image is built with is asked for its plan (-n) alone: it finds the
// program and all that it imports, by the module's own go.mod and without C. To
// compile it that way takes minutes of two cores, as nothing else here is; make
// verify compiles each module by its own go.mod, and make test all that runs here.
func TestTheDockerfileFindsAllThatEachImageIsBuiltOf(t *testing.T) {
	t.Parallel()
	d, err := readDockerfile()
	if err != nil {
		t.Fatal(err)
	}
	run, env := d.buildCommands()
	if !slices.Contains(env, "GOWORK=off") || !slices.Contains(env, "CGO_ENABLED=0") || len(run) != 2 {
		t.Fatalf("%v, with %v", run, env)
	}
	plan := func(script, command string) string {
		cmd := exec.Command("sh", "-euc", script)
		cmd.Dir = root
		// Git is not asked for a version: the image has none, and in a checkout of another user it refuses.
		cmd.Env = slices.Concat(os.Environ(), env, []string{"COMMAND=" + command, "GOFLAGS=-n -buildvcs=false"})
		said, err := cmd.CombinedOutput()
		if err != nil {
			said = append(said, err.Error()...)
		}
		return string(said)
	}
	linked := regexp.MustCompile(`mv \S+/exe/a.out /out/(command|probe)\n`)
	if got := plan(run[0], ""); !linked.MatchString(got) {
		t.Errorf("the health check: %s", got)
	}
	commands := map[string]bool{"services/publisher/cmd/publishr": false, "services/publisher": false} // is not there, is no program
	for _, s := range load(t).Services {
		if s.Build != nil {
			commands[command(s)] = true
		}
	}
	for command, builds := range commands {
		if got := plan(run[1], command); linked.MatchString(got) != builds {
			t.Errorf("%q: %s", command, got)
		}
	}
}

func TestTheImageIsDistrolessAndItsUserIsNotRoot(t *testing.T) {
	t.Parallel()
	d, err := readDockerfile()
	if err != nil {
		t.Fatal(err)
	}
	from := d.all("FROM")
	if last := from[len(from)-1]; !regexp.MustCompile(`^gcr\.io/distroless/static-debian\d+:nonroot$`).MatchString(last) {
		t.Errorf("it is made from %s", last)
	}
	if user := d.all("USER"); !slices.Equal(user, []string{"nonroot:nonroot"}) {
		t.Errorf("its user is %v", user)
	}
	if got := d.all("ENTRYPOINT"); !slices.Equal(got, []string{`["/command"]`}) {
		t.Errorf("its entry point is %v", got)
	}
	mod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if m := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(mod); m == nil || !strings.HasPrefix(from[0], "golang:"+string(m[1])+"-") {
		t.Errorf("it is built by %s, and go.mod says %s", from[0], m)
	}
	ignored, err := os.ReadFile("../../.dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"**/.env", ".postbus"} {
		if !slices.Contains(strings.Fields(string(ignored)), secret) {
			t.Errorf("%s would get into an image", secret)
		}
	}
}
