package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"postbus.dev/deploy/testbed"
)

// build starts build.sh with a compiler that is the given script.
func build(t *testing.T, compiler string) *child {
	t.Helper()
	bin := testbed.Dir(t)
	if _, err := os.Stat("build.sh"); err != nil { // a change of it makes Go run the test again
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, "go"), []byte("#!/usr/bin/env bash\n"+compiler), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("./build.sh", filepath.Join(bin, "postbus"))
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	return start(t, bin, cmd)
}

func TestABuildIsNeverSilent(t *testing.T) {
	t.Parallel()
	c := build(t, `echo go: downloading example.com/x; echo example.com/one; echo example.com/two; sleep 5`)
	c.await(`(?m)^postbus: building$`, 10*time.Second)
	c.await(`(?m)^postbus: building, [1-9] s, compiled: 2, last: example.com/two$`, 10*time.Second)
	if code := c.code(startWait); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if n := strings.Count(c.out.String(), "\n"); n < 3 {
		t.Errorf("%d lines in 5 s, want one every 2 s", n)
	}
}

func TestABuildThatFailsShowsWhy(t *testing.T) {
	t.Parallel()
	c := build(t, `echo "x.go:1:1: no such thing"; exit 1`)
	if code := c.code(startWait); code != 1 || !strings.Contains(c.out.String(), "x.go:1:1: no such thing") || !strings.Contains(c.out.String(), "the build failed") {
		t.Errorf("exit code %d", code)
	}
}

func TestCtrlCEndsABuild(t *testing.T) {
	t.Parallel()
	c := build(t, `trap 'exit 1' INT; echo started; while :; do sleep 0.1; done`)
	c.await(`building, [0-9]+ s, compiled: 1`, 20*time.Second)
	c.signal(syscall.SIGINT)
	if code := c.code(stopWait); code != 130 {
		t.Errorf("exit code %d", code)
	}
	if strings.Contains(c.out.String(), "failed") {
		t.Error("a Ctrl-C is told as a failure")
	}
	if left := c.processes(c.dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
