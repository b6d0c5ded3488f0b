package postgres

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// detach keeps a Ctrl-C in the terminal from reaching the server before its
// owner, and has the kernel stop the server (fast shutdown) when its owner dies.
func detach(attr *syscall.SysProcAttr) {
	attr.Setpgid = true
	attr.Pdeathsig = syscall.SIGINT
}

// serves tells whether a process is a PostgreSQL server on a data directory:
// each of them, and nothing else, has that as its working directory.
func serves(pid int, dataDir string) bool {
	cwd, err1 := os.Stat(fmt.Sprintf("/proc/%d/cwd", pid))
	data, err2 := os.Stat(dataDir)
	return err1 == nil && err2 == nil && os.SameFile(cwd, data)
}

// children are the processes that a process started and that are alive.
func children(pid int) (found []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range stats {
		b, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		// pid (name) state parent ...; the name may hold anything.
		fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		if len(fields) < 2 || fields[1] != strconv.Itoa(pid) {
			continue
		}
		if child, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil {
			found = append(found, child)
		}
	}
	return found
}

// removeSegment frees the small System V shared memory segment by which
// PostgreSQL knows that processes of it are alive. A killed server leaves it.
func removeSegment(id int) {
	const rmid = 0
	_, _, _ = syscall.Syscall(syscall.SYS_SHMCTL, uintptr(id), rmid, 0)
}
