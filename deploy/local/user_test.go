package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"postbus.dev/deploy/testbed"
)

const nobody = 65534

func TestItRunsBelowADirectoryThatOnlyRootMayEnter(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root becomes another user for PostgreSQL")
	}
	home := testbed.Dir(t)
	if err := os.Chmod(home, 0o700); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(home, "data")
	if code := start(t, dir, systemCommand(dir, "POSTBUS_DEMO=once")).code(startWait); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestItRunsAsAnOrdinaryUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("all other tests do so")
	}
	dir := testbed.Dir(t)
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	self, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(testbed.Dir(t), "postbus") // where every user may run it
	if err := os.WriteFile(program, self, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := systemCommand(dir, "POSTBUS_DEMO=once", "HOME=/nonexistent")
	cmd.Path, cmd.Dir = program, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if code := start(t, dir, cmd).code(startWait); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
