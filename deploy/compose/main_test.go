// Package compose holds compose.yaml, the Dockerfile and the NATS server's
// configuration to what they are for. No container runs here: the files are read
// as Docker reads them, what the images are built with is run, and one test starts
// every command of compose.yaml as a process.
package compose

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"

	"postbus.dev/deploy/testbed"
	// The programs are built of these: with another one of them nothing counts that
	// go test has kept of an earlier run.
	_ "postbus.dev/services/account"
	_ "postbus.dev/services/publisher"
	_ "postbus.dev/services/token-refresher"
)

func TestMain(m *testing.M) {
	programs.build = sync.OnceValue(buildPrograms)
	code := testbed.Main(m)
	_ = os.RemoveAll(programs.dir)
	os.Exit(code)
}

// programs are those of the images, for all tests.
var programs struct { //nolint:gochecknoglobals // built once
	dir   string
	build func() error
}

// buildPrograms compiles as the tests were compiled: what they share is there
// already.
func buildPrograms() (err error) {
	if programs.dir, err = os.MkdirTemp("", "postbus-compose-"); err != nil {
		return err
	}
	args := []string{"build", "-buildvcs=false", "-ldflags=-s", "-o", programs.dir}
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		args = append(args, "-race")
	}
	p, err := read(nil)
	if err != nil {
		return err
	}
	args = append(args, "./"+probe)
	for _, s := range p.Services {
		if folder := command(s); folder != "" {
			args = append(args, "./"+folder)
		}
	}
	cmd := exec.Command("go", args...)
	cmd.Dir = root
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the programs: %w\n%s", err, said)
	}
	return nil
}

// build returns the path of a program that is in an image.
func build(t *testing.T, folder string) string {
	t.Helper()
	if err := programs.build(); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(programs.dir, filepath.Base(folder))
}

// load reads compose.yaml as docker compose does, with settings as name=value.
func load(t *testing.T, settings ...string) *types.Project {
	t.Helper()
	p, err := read(settings)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func read(settings []string) (*types.Project, error) {
	o, err := cli.NewProjectOptions([]string{"../compose.yaml"}, cli.WithEnv(settings))
	if err != nil {
		return nil, err
	}
	return o.LoadProject(context.Background())
}

// command is the folder of the program that a service runs; "" for an image of
// others.
func command(s types.ServiceConfig) string {
	if s.Build == nil || s.Build.Args["COMMAND"] == nil {
		return ""
	}
	return *s.Build.Args["COMMAND"]
}

// settings are a service's environment.
func settings(s types.ServiceConfig) map[string]string {
	out := map[string]string{}
	for name, value := range s.Environment {
		if value != nil {
			out[name] = *value
		}
	}
	return out
}

// oneShot: it does its work and ends.
func oneShot(s types.ServiceConfig) bool { return s.Restart == "" }
