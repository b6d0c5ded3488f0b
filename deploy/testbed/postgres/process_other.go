//go:build unix && !linux

package postgres

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// detach keeps a Ctrl-C in the terminal from reaching the server before its
// owner.
func detach(attr *syscall.SysProcAttr) { attr.Setpgid = true }

// isPostgres tells whether a process is a PostgreSQL server.
func isPostgres(pid int) bool {
	out, err := exec.Command("ps", "-o", "comm=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && strings.HasPrefix(filepath.Base(strings.TrimSpace(string(out))), "postgres")
}

// children are found on Linux only; elsewhere they end by themselves, soon
// after the server that started them.
func children(int) []int { return nil }

func removeSegment(int) {}
