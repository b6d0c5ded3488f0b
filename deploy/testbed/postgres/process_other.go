//go:build unix && !linux

package postgres

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// detach keeps a Ctrl-C in the terminal from reaching the server before its
// owner.
func detach(attr *syscall.SysProcAttr) { attr.Setpgid = true }

// serves tells whether a process is a PostgreSQL server on a data directory,
// which is an argument of it.
func serves(pid int, dataDir string) bool {
	out, err := exec.Command("ps", "-o", "args=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && strings.Contains(string(out), "postgres") && strings.Contains(string(out), dataDir)
}

// children are found on Linux only; elsewhere they end by themselves, soon
// after the server that started them.
func children(int) []int { return nil }

func removeSegment(int) {}
